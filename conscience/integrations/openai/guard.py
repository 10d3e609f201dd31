"""What a client with a conscience does about one request: the program that reviews it, what it reviews, what comes back."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import openai

from conscience._base.forks import ForkLock
from conscience._types import ReleaseMode
from conscience.backends.backend import Backend
from conscience.backends.roles import Roles
from conscience.chat.given import Given, GivenCompletion
from conscience.chat.given_response import GivenResponse
from conscience.chat.replies import chunks
from conscience.chat.response_replies import response_events
from conscience.errors import BackendError, ConfigurationError
from conscience.integrations.openai.doors import Door, api_of
from conscience.integrations.openai.transport import ClientTransport, dumped
from conscience.messages.completion import Body, clean
from conscience.modules.task import own_instructions, plain_messages
from conscience.program import Conscience, load
from conscience.usage import ROLES

KEY = "conscience.door"
"""Of a request's extensions: the door that it goes through."""

REVIEWED = "conscience.reviewed"
"""Of a response's extensions: it holds only what was reviewed."""

ProgramSpec = Conscience | str | Path


class Programs:
    """The program as it is for each model that a client asks; shared by a client and its copies.

    Args:
        program: reviews and revises what the client generates; a file that a program was saved to, or a program. One
            without models of its own takes the client's.

    Raises:
        ConfigurationError: it answers in another form than a chat turn.
        ArtifactError: the file holds no program.
    """

    def __init__(self, program: ProgramSpec | None) -> None:
        self._given = program
        self.base = _opened(program, None)
        if not self.base.generate.plain:
            raise ConfigurationError(
                "program= answers in a form of its own, and a client generates a chat turn",
                hint='give a program of "request -> response", or leave it out',
            )
        self._by_model: dict[str, Conscience] = {}
        self._lock = ForkLock()

    def reviewing(self, model: str, backend: Callable[[], Backend]) -> Conscience:
        """The program for answers of a model.

        Args:
            model: the model.
            backend: makes the client's backend for it, which takes each role that the program has no model for.
        """
        if self.base.roles.own("generate") is not None:
            return self.base
        backends: dict[str, Backend] = {"generate": backend()}
        backends |= {role: own for role in ROLES if (own := self.base.roles.own(role)) is not None}
        roles = Roles(backends)
        with self._lock:
            if model not in self._by_model:
                self._by_model[model] = _for_roles(self._given, self.base, roles)
            program = copy.copy(self._by_model[model])
        program.roles = roles
        return program

    def prompted(self, door: Door) -> Mapping[str, Any]:
        """The body of a request with the program's own prompts before the conversation: instructions and demos that it was
        written or compiled with."""
        predict, asked = self.base.generate.predict, door.asked
        if not own_instructions(predict.signature) and not predict.demos:
            return asked
        where = "messages" if door.api == "chat" else "input"
        given = asked.get(where)
        turns = [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())
        (name,) = predict.signature.input_fields
        before = plain_messages(predict.signature, predict.demos, {name: "?"})[:-1]
        return {**asked, where: [*before, *turns]}


class Guard:
    """A client's part in the review: the programs, and the way to the models over the client itself.

    Args:
        programs: shared with the client's copies.
        plain: makes a client like it that reviews nothing and does not retry.
        release: when the text of a stream is let out, see ``Conscience.stream``.
    """

    def __init__(self, programs: Programs, plain: Callable[[], Any], release: ReleaseMode = "hold") -> None:
        if release not in get_args(ReleaseMode):
            raise ConfigurationError(f"release={release!r} does not exist", hint="choose among hold, window")
        self.programs = programs
        self.release: ReleaseMode = release
        self._plain = plain
        self._backends: dict[str, Backend] = {}
        self._lock = ForkLock()

    def given(self, door: Door, response: Any) -> tuple[Conscience, Given]:
        """The program, and what it is to review of a response that was read.

        Raises:
            openai.APIResponseValidationError: the response cannot be read; it holds not a word of it.
        """
        body = _json(response)
        program = self.program(str(door.asked.get("model") or body.get("model") or "model"))
        of = GivenCompletion.of if door.api == "chat" else GivenResponse.of
        try:
            return program, of(program.generate, door.asked, body)
        except BackendError as error:
            raise _unreadable(response, error.message) from None

    def program(self, model: str) -> Conscience:
        """The program for answers of a model, which asks over the client whatever it has no model for."""
        return self.programs.reviewing(model, lambda: self._backend(model))

    def _backend(self, model: str) -> Backend:
        with self._lock:
            if model not in self._backends:
                # Nothing is kept on disk: what comes over a client of somebody's is theirs.
                client = self._plain()
                seconds = getattr(client.timeout, "read", client.timeout) or math.inf
                self._backends[model] = Backend(ClientTransport(client, model), cache=False, timeout=seconds)
            return self._backends[model]


def rebuilt(response: Any, door: Door, body: Body) -> Any:
    """The response with the body that was reviewed, as a stream where one was asked for."""
    if not door.stream:
        content, kind = dumped(body), "application/json"
    else:
        content, kind = _events(door, body), "text/event-stream; charset=utf-8"
    hidden = ("content-length", "content-encoding", "transfer-encoding", "content-type")
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in hidden]
    new = type(response)(
        status_code=response.status_code,
        headers=[*headers, ("content-type", kind)],
        content=content,
        request=response.request,
        extensions={**response.extensions, REVIEWED: True},
    )
    try:
        new.elapsed = response.elapsed
    except RuntimeError:  # a transport of a test's tells no time
        pass
    return new


def check_reviewed(response: Any) -> None:
    """Fails closed where a version of the openai package handed on a reply past the review.

    Raises:
        ConfigurationError: it did.
    """
    request = response.request
    if not response.extensions.get(REVIEWED) and api_of(request.method, request.url.path) is not None:
        raise ConfigurationError(
            f"openai {openai.__version__} handed on a reply that was not reviewed",
            hint="install a version of openai that this version of conscience knows",
        )


def _events(door: Door, body: Body) -> bytes:
    if door.api == "chat":
        lines = [b"data: %b\n\n" % dumped(chunk) for chunk in chunks(body, include_usage=door.include_usage)]
        return b"".join([*lines, b"data: [DONE]\n\n"])
    events = response_events(body)
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dumped(event)) for event in events)


def _json(response: Any) -> Body:
    try:
        body = clean(json.loads(response.content))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _unreadable(response, "the reply is no JSON object")
    return body


def _unreadable(response: Any, why: str) -> openai.APIResponseValidationError:
    """The package's own error, with a response that holds not a word."""
    empty = type(response)(response.status_code, headers={}, content=b"", request=response.request)
    return openai.APIResponseValidationError(empty, None, message=why)


def _opened(program: ProgramSpec | None, roles: Roles | None) -> Conscience:
    if program is None:
        return Conscience(lm=roles)
    if isinstance(program, Conscience):
        return program
    if isinstance(program, str | Path):
        return load(program, lm=roles)
    raise ConfigurationError(f"program= is a {type(program).__name__}", hint="give a Conscience, or the file of one")


def _for_roles(given: ProgramSpec | None, base: Conscience, roles: Roles) -> Conscience:
    """The program with the gate that belongs to the models of these roles: calibrated for them, or their default."""
    if not isinstance(given, Conscience):
        return _opened(given, roles)
    program = copy.deepcopy(base)
    program.roles = roles
    program.review.set_lm(roles)
    program.set_constitution(program.constitution)
    reviewer = roles.backend("review").name
    calibrated = next((settings for settings in program.calibrations if settings.backend == reviewer), None)
    if calibrated is not None and program.chosen_threshold is None:
        program.review.gate_settings = calibrated
    return program
