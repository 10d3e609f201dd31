"""OpenAI, AsyncOpenAI and their Azure kin, whose replies are reviewed before the caller sees them.

The package builds a request, sends it, retries it, and makes an object of what comes back. Two of these steps are met here:
a request for a model's text is sent without ``stream``, and its response is exchanged for the reviewed one before anything
is made of it. So ``create``, ``parse``, ``stream``, raw and streaming responses, and ``post`` all work as they always do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import openai

from conscience._types import ReleaseMode
from conscience.chat.given import acorrected, corrected
from conscience.errors import ConfigurationError
from conscience.integrations.openai.doors import INSTEAD, Door, api_of, asked_of, beside_of, door
from conscience.integrations.openai.guard import KEY, Guard, Programs, ProgramSpec, check_reviewed, rebuilt
from conscience.integrations.openai.report import reported, with_reports
from conscience.integrations.openai.transport import LOOP, going_with
from conscience.integrations.openai.windows import aopened, opened, streamed_request

if TYPE_CHECKING:
    from openai.resources.responses import AsyncResponses, Responses


class _Reviewed:
    """What the sync and the async client share."""

    _guard: Guard | None

    def __init__(
        self,
        *,
        program: ProgramSpec | Programs | Unreviewed | None = None,
        release: ReleaseMode = "hold",
        **options: Any,
    ) -> None:
        self._guard = None
        super().__init__(**options)
        if not isinstance(program, Unreviewed):
            programs = program if isinstance(program, Programs) else Programs(program)
            self._guard = Guard(programs, self._unreviewed, release)

    def copy(self, *, program: ProgramSpec | None = None, release: ReleaseMode | None = None, **options: Any) -> Self:
        """A client with other options, as the package's own ``copy`` makes it.

        Args:
            program: another program; by default this client's.
            release: another way to let out streams; by default this client's.
            options: those of the package.
        """
        if self._guard is None:
            return self._copied(Unreviewed(), "hold", options)
        return self._copied(program or self._guard.programs, release or self._guard.release, options)

    with_options = copy

    def _copied(self, program: Any, release: ReleaseMode, options: Mapping[str, Any]) -> Self:
        more = {**options.get("_extra_kwargs", {}), "program": program, "release": release}
        made: Self = super().copy(**{**options, "_extra_kwargs": more})  # type: ignore[misc]
        return made

    def _unreviewed(self) -> Self:
        """The client with which the review itself asks: it retries by itself."""
        return self._copied(Unreviewed(), "hold", {"max_retries": 0})

    def _build_request(self, options: Any, **more: Any) -> Any:
        guard = self._guard
        api = None if guard is None else api_of(options.method, options.url)
        if guard is None or api is None:
            return super()._build_request(options, **more)  # type: ignore[misc]
        found = door(api, asked_of(options.json_data, options.extra_json, options.content))
        sent = {k: v for k, v in guard.programs.prompted(found).items() if k not in ("stream", "stream_options")}
        options.json_data, options.extra_json, options.content = sent, None, None
        request = super()._build_request(options, **more)  # type: ignore[misc]
        asked = json.loads(request.content)
        request.extensions[KEY] = Door(api, asked, found.stream, found.include_usage, beside_of(options))
        return request

    def _parsed(self, options: Any) -> Any:
        """The options of a request, by which what is parsed out of its reply has its report too."""
        if callable(parse := options.post_parser):
            options.post_parser = lambda reply: reported(parse(reply))
        return options

    def _process_response_data(self, *, data: Any, response: Any, **more: Any) -> Any:
        if self._guard is not None:
            check_reviewed(response)
            data = with_reports(data)
        return super()._process_response_data(data=data, response=response, **more)  # type: ignore[misc]

    @property
    def realtime(self) -> Any:
        """Closed: what a model says in a session is heard before it could be reviewed."""
        return Closed("realtime")

    @property
    def live(self) -> Any:
        """Closed, as ``realtime`` is."""
        return Closed("live")


def _streaming(more: Mapping[str, Any]) -> dict[str, Any]:
    return {"stream": False, "stream_cls": None, "retries_taken": 0, **more}


def _without_sessions(resource: Any) -> Any:
    resource.connect = Closed("responses.connect")
    return resource


class Unreviewed:
    """Stands for a program: the client reviews nothing."""


class Closed:
    """A part of the package that is not to be used.

    Args:
        name: what it is called.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # whoever only looks at it
            raise AttributeError(name)
        return self()

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise ConfigurationError(f"{self._name}: what a model says in a session is not reviewed", hint=INSTEAD)


class _Sync(_Reviewed):
    @property
    def responses(self) -> Responses:
        """The package's own, less its sessions."""
        resource: Responses = _without_sessions(super().responses)  # type: ignore[misc]
        return resource

    def request(self, cast_to: Any, options: Any, **more: Any) -> Any:
        asked = streamed_request(self._guard, options)
        if self._guard is None or asked is None:
            return super().request(cast_to, options, **more)  # type: ignore[misc]
        cast_to = self._maybe_override_cast_to(cast_to, options)  # type: ignore[attr-defined]
        with going_with(beside_of(options)):
            response = opened(self, self._guard.program(asked.model), asked, options)
        return self._process_response(cast_to=cast_to, options=options, response=response, **_streaming(more))

    def _process_response(self, *, response: Any, options: Any, **more: Any) -> Any:
        if self._guard is not None and (through := response.request.extensions.get(KEY)) is not None:
            response.read()
            with going_with(through.beside):
                response = rebuilt(response, through, corrected(*self._guard.given(through, response)))
            options = self._parsed(options)
        if self._guard is not None:
            check_reviewed(response)
        return super()._process_response(response=response, options=options, **more)  # type: ignore[misc]


class _Async(_Reviewed):
    @property
    def responses(self) -> AsyncResponses:
        """The package's own, less its sessions."""
        resource: AsyncResponses = _without_sessions(super().responses)  # type: ignore[misc]
        return resource

    async def request(self, cast_to: Any, options: Any, **more: Any) -> Any:
        asked = streamed_request(self._guard, options)
        if self._guard is None or asked is None:
            return await super().request(cast_to, options, **more)  # type: ignore[misc]
        LOOP.set(asyncio.get_running_loop())
        cast_to = self._maybe_override_cast_to(cast_to, options)  # type: ignore[attr-defined]
        with going_with(beside_of(options)):
            response = await aopened(self, self._guard.program(asked.model), asked, options)
        return await self._process_response(cast_to=cast_to, options=options, response=response, **_streaming(more))

    async def _process_response(self, *, response: Any, options: Any, **more: Any) -> Any:
        if self._guard is not None and (through := response.request.extensions.get(KEY)) is not None:
            await response.aread()
            LOOP.set(asyncio.get_running_loop())
            with going_with(through.beside):
                response = rebuilt(response, through, await acorrected(*self._guard.given(through, response)))
            options = self._parsed(options)
        if self._guard is not None:
            check_reviewed(response)
        return await super()._process_response(response=response, options=options, **more)  # type: ignore[misc]


class OpenAI(_Sync, openai.OpenAI):
    """``openai.OpenAI`` with a conscience.

    Args:
        program: what reviews and revises: a ``Conscience``, or a file that one was saved to; by default one with the general
            constitution. What it has no model for is asked of the model of the request, over this client. Its instructions
            and demos, where it has some, go before the conversation.
        release: when the text of a stream is let out: "hold", when all of it was reviewed; "window", about sentence by
            sentence as it passes, see ``Conscience.stream``. Responses, several answers, structured answers and
            log-probabilities are held all the same.
        options: those of ``openai.OpenAI``.

    Raises:
        ConfigurationError: the program answers in another form than a chat turn.
        ArtifactError: the file holds no program.
    """


class AsyncOpenAI(_Async, openai.AsyncOpenAI):
    """``openai.AsyncOpenAI`` with a conscience; see ``OpenAI``."""


class AzureOpenAI(_Sync, openai.AzureOpenAI):
    """``openai.AzureOpenAI`` with a conscience; see ``OpenAI``."""


class AsyncAzureOpenAI(_Async, openai.AsyncAzureOpenAI):
    """``openai.AsyncAzureOpenAI`` with a conscience; see ``OpenAI``."""
