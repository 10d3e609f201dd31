"""A provider's files and batches, in OpenAI's form.

LiteLLM's own functions for them pass each call on to the ``openai`` client, but read its answers by a closed list of states
(a new word fails the poll), lose Azure's pages of a list, and print. So the client is used here as it is, without its
retries: one of a call that begins a batch would begin, and bill, a second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from conscience._base.files import write_atomic
from conscience._dspy.lm import lm_errors
from conscience.backends.wire.connection import Reply, tls_context
from conscience.backends.wire.replies import reply_error
from conscience.backends.wire.transport import Account
from conscience.errors import InputError

SECONDS = 120.0
"""For one call."""

UPLOAD_SECONDS = 1800.0
"""For a whole file."""

PAGE = 100

METADATA = "conscience"
"""The name under which a batch carries its token."""

Batch = Mapping[str, Any]
"""A batch as its provider describes it: id, status, output_file_id, error_file_id, request_counts, errors, metadata."""


class Endpoint(Protocol):
    """A provider's files and batches, for one account. Every method may raise an ``LMError``."""

    def upload(self, path: Path) -> str:
        """Sends a file; its id."""

    def create(self, file_id: str, url: str, token: str) -> Batch:
        """Begins a batch; it is not to be repeated blindly."""

    def retrieve(self, batch_id: str) -> Batch: ...

    def cancel(self, batch_id: str) -> Batch: ...

    def batches(self) -> Iterator[Batch]:
        """Every batch of the account, newest first."""

    def download(self, file_id: str, path: Path) -> None:
        """Writes a file, whole or not at all."""


class ClientEndpoint:
    """An account's files and batches through the ``openai`` client.

    Args:
        account: where they are, and who asks.
        model: for errors.
    """

    def __init__(self, account: Account, model: str) -> None:
        import openai

        self._model = model
        common: dict[str, Any] = {"api_key": account.key, "max_retries": 0, "timeout": SECONDS}
        common["default_headers"] = {**account.headers, "user-agent": "dspy-conscience"}
        common["http_client"] = openai.DefaultHttpxClient(verify=tls_context())  # the certificates of every other call
        self._client: Any
        if account.provider == "azure":
            self._client = openai.AzureOpenAI(azure_endpoint=account.base, api_version=account.version, **common)
        else:
            self._client = openai.OpenAI(base_url=account.base, **common)

    def upload(self, path: Path) -> str:
        with _errors(self._model), path.open("rb") as file:
            client = self._client.with_options(timeout=UPLOAD_SECONDS)
            return str(client.files.create(file=(path.name, file), purpose="batch").id)

    def create(self, file_id: str, url: str, token: str) -> Batch:
        body = {"input_file_id": file_id, "endpoint": url, "completion_window": "24h", "metadata": {METADATA: token}}
        with _errors(self._model):
            return _batch(self._client.post("/batches", body=body, cast_to=object), self._model)

    def retrieve(self, batch_id: str) -> Batch:
        with _errors(self._model):
            return _batch(self._client.get(f"/batches/{batch_id}", cast_to=object), self._model)

    def cancel(self, batch_id: str) -> Batch:
        with _errors(self._model):
            return _batch(self._client.post(f"/batches/{batch_id}/cancel", cast_to=object), self._model)

    def batches(self) -> Iterator[Batch]:
        after: dict[str, Any] = {}
        while True:
            with _errors(self._model):
                page = self._client.get("/batches", options={"params": {"limit": PAGE, **after}}, cast_to=object)
            rows = [row for row in page.get("data") or () if isinstance(row, dict)] if isinstance(page, dict) else []
            yield from rows
            if not rows or not page.get("has_more") or after.get("after") == rows[-1].get("id"):
                return
            after = {"after": rows[-1].get("id")}

    def download(self, file_id: str, path: Path) -> None:
        with _errors(self._model):
            content = self._client.with_options(timeout=UPLOAD_SECONDS).files.content(file_id).content
        try:
            write_atomic(path, content, private=True)
        except OSError as error:
            hint = "make room; the same command fetches it again"
            raise InputError(f"{path}: cannot be written: {error.strerror}", hint=hint) from None


def _batch(answer: Any, model: str) -> Batch:
    if isinstance(answer, dict) and isinstance(answer.get("id"), str) and answer["id"]:
        return answer
    raise lm_errors.LMServerError("the provider described no batch", model=model)


@contextmanager
def _errors(model: str) -> Iterator[None]:
    """The client's errors as those of any other call."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        raise reply_error(Reply(error.status_code, headers, error.response.content), model) from None
    except openai.APITimeoutError:
        raise lm_errors.LMTimeoutError("the provider's batches did not answer in time", model=model) from None
    except openai.APIConnectionError as error:
        raise lm_errors.LMTransportError(f"Connection error: {error.__cause__ or error}", model=model) from None
    except openai.OpenAIError as error:  # what cannot be read
        raise lm_errors.LMServerError(f"the provider's batches: {error}", model=model) from None
