"""The server's description, and whether the server does what it says of itself whatever comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from conscience import Conscience
from conscience.server import Policy
from tests.support.loopback import Loopback
from tests.support.serving import serving

KEY = "key-of-the-tests"


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("keyed", [False, True])
def test_a_fuzzer_finds_nothing(server: Loopback, tmp_path: Path, keyed: bool) -> None:
    """Requests that fit the description are answered, others refused, no answer is of another shape, none is a fault of the
    server's; and with a key nothing is answered without."""
    pytest.importorskip("schemathesis")
    policies = [Policy("tests", KEY)] if keyed else []
    with serving({"m": Conscience(lm=server.backend())}, policies=policies) as served:
        start = "from schemathesis.cli import schemathesis; schemathesis()"
        command = [sys.executable, "-c", start, "--no-color", "run", f"{served.url}/openapi.json"]
        bounds = ["--max-time", "15", "--max-examples", "25", "--seed", "7", "--request-timeout", "60", "--warnings", "off"]
        headers = ["-H", f"Authorization: Bearer {KEY}"] if keyed else []
        done = subprocess.run([*command, *bounds, *headers], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert done.returncode == 0, done.stdout[-9000:]
