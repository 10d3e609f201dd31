"""One case on its way through a run that is answered by batch.

A case runs until it asks something that no batch has answered. Then it is left (``Parked``), and done again from its
beginning when the reply has come: what it had asked before, the run's journal tells at once. So no case is kept in memory
while a batch takes its hours, a run that was killed goes on as every round does, and a reply is judged like any other: it is
retried, mended, priced and kept by the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeGuard

from conscience._base.files import digest
from conscience.backends.limits.payers import Payers
from conscience.backends.transports import Answer, Transport
from conscience.backends.wire.connection import Reply
from conscience.backends.wire.transport import Account, OpenAIWireTransport
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Message

BATCHED = ("openai", "azure", "hosted_vllm")
"""Providers whose batch files LiteLLM offers in OpenAI's form: files, batches, and a list to find a batch again."""

_KEY_DIGITS = 64


class Parked(BaseException):
    """A case waits for a batch. It is no error, and no policy for errors may take it for one."""


class Mailbox(Protocol):
    """Where a case's questions go, see ``Outbox``."""

    is_open: bool

    def reply(self, key: str) -> Reply | None: ...

    def add(self, transport: OpenAIWireTransport, account: Account, key: str, content: bytes) -> None: ...


class Posting:
    """The questions of one case on one way from its beginning.

    Attributes:
        is_parked: whether one of them is still without a reply.
        used: the keys of the replies that it was given.
        is_open: whether further questions are taken.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.is_parked = False
        self.used: list[str] = []
        self.is_open = mailbox.is_open
        self._mailbox = mailbox
        self._asked: Counter[str] = Counter()
        self._waiting: set[str] = set()

    def sender(
        self, transport: Transport, key: str | None, messages: Sequence[Message], sent: Mapping[str, Any]
    ) -> Transport:
        """What makes one attempt: a reply that has come, or the transport itself where nothing is asked by batch.

        Args:
            key: the call's, under which the run keeps its answer.
            sent: the parameters as they are sent.

        Raises:
            Parked: the reply has not come yet.
            LMError: the model does not take these parameters.
        """
        if not has_batches(transport) or (account := transport.account()) is None:
            return transport
        if (content := transport.content(messages, sent)) is None:
            return transport  # only LiteLLM can shape it
        question = digest([transport.name, key, content.decode()], _KEY_DIGITS)
        if question in self._waiting:  # asked beside itself: one reply is for both
            raise Parked
        self._asked[question] += 1  # more than one is a further attempt, and another question to the provider
        asked = digest([question, self._asked[question]], _KEY_DIGITS)
        if (reply := self._mailbox.reply(asked)) is not None:
            self.used.append(asked)
            return _Posted(transport, reply)
        if not self.is_open:
            return transport
        self._mailbox.add(transport, account, asked, content)
        self._waiting.add(question)
        self.is_parked = True
        raise Parked


def has_batches(transport: Transport) -> TypeGuard[OpenAIWireTransport]:
    """Whether a model's provider takes its questions in files, as far as is known."""
    return isinstance(transport, OpenAIWireTransport) and transport.provider in BATCHED


class _Posted:
    """A reply that came by batch, where a backend expects who makes an attempt."""

    def __init__(self, transport: OpenAIWireTransport, reply: Reply) -> None:
        self.name = transport.name
        self._transport, self._reply = transport, reply

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        return self._transport.batched(self._reply)

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        return self._transport.batched(self._reply)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


_posting: ContextVar[Posting | None] = ContextVar("conscience_posting", default=None)


def asks_live(transport: Transport) -> bool:
    """Whether a model's questions go out at once here, and do not wait for a batch."""
    posting = _posting.get()
    return posting is None or not posting.is_open or not has_batches(transport)


def begin_attempt(
    payers: Payers, transport: Transport, key: str | None, messages: Sequence[Message], sent: Mapping[str, Any]
) -> tuple[Transport, float]:
    """One attempt, claimed from its payers: who makes it, and the seconds that they leave it.

    Args:
        key, sent: see ``Posting.sender``.

    Raises:
        Parked: its reply has not come yet.
        BudgetExceeded: a budget is spent.
        LMError: the model does not take these parameters.
    """
    left = payers.claim()
    if (posting := _posting.get()) is None:
        return transport, left
    try:
        return posting.sender(transport, key, messages, sent), left
    except Parked:
        payers.take_back()
        raise


@contextmanager
def posting_to(mailbox: Mailbox) -> Iterator[Posting]:
    """What is asked inside, one case's, is answered by batch."""
    posting = Posting(mailbox)
    token = _posting.set(posting)
    try:
        yield posting
    finally:
        _posting.reset(token)
