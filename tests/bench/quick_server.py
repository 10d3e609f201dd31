"""A loopback backend, as a process of its own so that it shares no interpreter with the client.

It answers at once, or after the seconds in its argument. GET tells how many calls it has answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.support.loopback import chat

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
ANSWER = json.dumps(chat("Paris is the capital of France.")).encode()
VERDICT = json.dumps(chat("No", yes=0.05)).encode()
calls = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep-alive HTTP, just enough of it."""
    global calls
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                told = str(calls).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(told) + told)
                continue
            calls += 1
            length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
            body = await reader.readexactly(length)
            data = VERDICT if b'"logprobs"' in body or b"Answer Yes or No" in body else ANSWER
            if SECONDS:
                await asyncio.sleep(SECONDS)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
