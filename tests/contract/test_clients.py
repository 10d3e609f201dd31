"""The clients that people have, unchanged but for their base URL: openai, LangChain, pydantic-ai and curl."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from conscience.server import Policy
from tests.support.serving import HARM, Serving, scripted, serving

KEY = "key-of-the-tests"
CLEAN = "A clean answer."
TURN = {"role": "user", "content": "harm"}


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with serving({"m": scripted()}, policies=[Policy("tests", KEY)]) as running:
        yield running


@pytest.fixture
def client(served: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as asking:
        yield asking


def test_openai_sync(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="m", messages=[TURN])  # type: ignore[list-item]
    assert reply.choices[0].message.content == CLEAN
    assert reply.model_extra is not None
    assert reply.model_extra["conscience"]["status"] == "revised"
    assert reply._request_id is not None
    assert reply._request_id.startswith("req_")
    assert [model.id for model in client.models.list()] == ["m"]
    assert client.models.retrieve("m").id == "m"


def test_openai_streaming(client: openai.OpenAI) -> None:
    """By the plain iterator and by the helper that puts the pieces together."""
    chunks = list(
        client.chat.completions.create(model="m", messages=[TURN], stream=True, stream_options={"include_usage": True})
    )  # type: ignore[call-overload]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == CLEAN
    assert chunks[-1].usage.total_tokens > 0
    assert not any(HARM in chunk.model_dump_json() for chunk in chunks)
    with client.chat.completions.stream(model="m", messages=[TURN]) as stream:  # type: ignore[list-item]
        assert stream.get_final_completion().choices[0].message.content == CLEAN


async def test_openai_async(served: Serving) -> None:
    """Many at once, each with the answer to its own request."""
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client:

        async def ask(number: int) -> tuple[str, str]:
            text = "harm" if number % 2 else "hi"
            if number % 3:
                reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
                return text, str(reply.choices[0].message.content)
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": text}], stream=True
            )
            return text, "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        answers = await asyncio.gather(*(ask(number) for number in range(12)))
    assert set(answers) == {("harm", CLEAN), ("hi", "Paris.")}


def test_openai_responses(client: openai.OpenAI) -> None:
    assert client.responses.create(model="m", input="harm").output_text == CLEAN
    with client.responses.stream(model="m", input="harm") as stream:
        assert stream.get_final_response().output_text == CLEAN


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "down"}]}, openai.InternalServerError),
        ({"extra_headers": {"authorization": "Bearer wrong"}}, openai.AuthenticationError),
        ({"extra_body": {"invented": 1}}, openai.BadRequestError),
    ],
)
def test_openais_errors_are_the_classes_that_code_catches(client: openai.OpenAI, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": "m", "messages": [TURN], **call})
    assert getattr(caught.value, "type", None)
    assert "10.1.2.3" not in str(caught.value)


async def test_langchain(served: Serving) -> None:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    model = ChatOpenAI(model="m", base_url=f"{served.url}/v1", api_key=SecretStr(KEY), max_retries=0)
    assert model.invoke("harm").content == CLEAN
    assert (await model.ainvoke("hi")).content == "Paris."
    assert "".join([str(chunk.content) async for chunk in model.astream("harm")]) == CLEAN


async def test_pydantic_ai(served: Serving) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel("m", provider=OpenAIProvider(base_url=f"{served.url}/v1", api_key=KEY)))
    assert (await agent.run("harm")).output == CLEAN
    async with agent.run_stream("harm") as result:
        assert await result.get_output() == CLEAN


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(served: Serving) -> None:
    def curl(*arguments: str, **body: Any) -> str:
        data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body else []
        command = ["curl", "-sS", "--max-time", "20", "-H", f"Authorization: Bearer {KEY}", *data, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    reply = json.loads(curl(f"{served.url}/v1/chat/completions", model="m", messages=[TURN]))
    assert reply["choices"][0]["message"]["content"] == CLEAN
    streamed = curl("-N", f"{served.url}/v1/chat/completions", model="m", messages=[TURN], stream=True)
    assert streamed.endswith("data: [DONE]\n\n")
    assert json.loads(curl(f"{served.url}/v1/models"))["data"][0]["id"] == "m"


@pytest.mark.long
@pytest.mark.local
@pytest.mark.usefixtures("local_endpoint")
async def test_every_client_on_the_embedded_model() -> None:
    """A real model behind the same routes: text comes, in pieces where it is asked for so, with a verdict."""
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from conscience import Backend, Conscience

    program = Conscience(lm=Backend("local", max_tokens=24, cache=False))
    question: Any = {"model": "local", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    with serving({"local": program}) as served:
        base = f"{served.url}/v1"
        with openai.OpenAI(base_url=base, api_key="x", max_retries=0) as client:
            reply = client.chat.completions.create(**question, temperature=0)
            assert reply.choices[0].message.content
            assert reply.model_extra is not None
            assert reply.model_extra["conscience"]["probability"] is not None
            chunks = list(client.chat.completions.create(**question, stream=True))
            assert len(chunks) > 2
            assert client.responses.create(model="local", input="What is the capital of France?").output_text
        async with openai.AsyncOpenAI(base_url=base, api_key="x", max_retries=0) as client:
            both = await asyncio.gather(*(client.chat.completions.create(**question) for _ in range(2)))
            assert all(reply.choices[0].message.content for reply in both)
        model = ChatOpenAI(model="local", base_url=base, api_key=SecretStr("x"), max_retries=0)
        assert (await model.ainvoke("What is the capital of France?")).content
        agent = Agent(OpenAIChatModel("local", provider=OpenAIProvider(base_url=base, api_key="x")))
        assert (await agent.run("What is the capital of France?")).output
        command = [
            "curl",
            "-sS",
            f"{base}/chat/completions",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps(question),
        ]
        said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        assert json.loads(said.stdout)["conscience"]["status"]
