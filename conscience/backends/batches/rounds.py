"""What happens between two rounds of a run: its questions go out, and the first replies come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from conscience.backends.batches.allowance import Allowance, Estimate
from conscience.backends.batches.endpoint import ClientEndpoint, Endpoint
from conscience.backends.batches.inputs import ASSUMED_ANSWER, Draft, Question, split, write_job
from conscience.backends.batches.jobs import Job
from conscience.backends.batches.outbox import Outbox
from conscience.backends.batches.patience import Waiting
from conscience.backends.batches.polling import look
from conscience.backends.batches.sending import find_again, send
from conscience.backends.wire.transport import Account, OpenAIWireTransport
from conscience.errors import BackendError

Endpoints = Callable[[Account, str], Endpoint]
"""From an account and a model's name."""


class Round:
    """Sends what the cases of a run ask, and waits for replies.

    Args:
        outbox: the run's.
        waiting: how long to wait, and for whom.
        tell: is told in a line of each batch that was sent or has ended.
        show: is told, at each look, how far the batches are.
        endpoints: the ways to the providers' batches.
    """

    def __init__(
        self,
        outbox: Outbox,
        waiting: Waiting,
        tell: Callable[[str], None],
        show: Callable[[str], None],
        endpoints: Endpoints | None = None,
    ) -> None:
        self._outbox = outbox
        self._waiting = waiting
        self._tell, self._show = tell, show
        self._made = endpoints or ClientEndpoint
        self._endpoints: dict[str, Endpoint] = {}
        self._most: dict[str, int] = {}  # requests of one batch of a model that met the limit of what may be enqueued
        self._cancelled: list[Job] = []

    async def settle(self, left: Allowance) -> bool:
        """Sends what waits and is affordable, and waits until a batch has ended.

        Args:
            left: what may be spent, with what is under way.

        Returns:
            Whether one has; nothing is under way otherwise.

        Raises:
            BackendError: a provider refuses a file or is away for long, or somebody has cancelled a batch.
            Interrupted: while waiting.
        """
        if self._cancelled:
            names = ", ".join(job.batch_id for job in self._cancelled)
            raise BackendError(f"{names} was cancelled at the provider", hint="the same command asks what is left anew")
        self._waiting.check()
        for job in self._outbox.open_jobs:
            if job.state == "creating":  # an earlier process was told to begin it, and not whether it had
                await self._send(job)
        for job in self._outbox.open_jobs:
            left.take(job.requests, job.tokens, job.dollars)
        for draft in self._outbox.take_drafts():
            try:
                await self._send_draft(draft, left)
            finally:
                draft.close()
        return await self._first_end()

    async def end(self) -> None:
        """Cancels what is under way, and takes what was answered by then.

        Raises:
            BackendError: a provider is away for long.
            Interrupted: while waiting; what was cancelled stays so.
        """
        for job in self._outbox.open_jobs:
            transport, endpoint = self._way(job)
            if job.state == "creating" and not await find_again(job, transport, endpoint, self._waiting):
                self._outbox.give_up(job)
                continue
            with suppress(BackendError):  # it has ended meanwhile, as the next look shows
                await self._waiting.patiently(transport, partial(endpoint.cancel, job.batch_id))
        while await self._first_end():
            pass

    async def _first_end(self) -> bool:
        """Looks at the batches until a look finds one that has ended; those that end with it are taken too."""
        wait = 0.0
        while jobs := self._outbox.open_jobs:
            ended = [job for job in jobs if await look(job, *self._way(job), self._waiting, self._outbox)]
            self._show(_progress(jobs))
            for job in ended:
                self._note(job)
            if ended:
                return True
            wait = self._waiting.pace.after(wait)
            await self._waiting.pause(wait)
        return False

    def _note(self, job: Job) -> None:
        self._tell(
            f"{job.batch_id} of {job.model} {job.status}: {job.completed} of {job.requests} answered, {job.failed} failed"
        )
        if job.status == "cancelled":
            self._cancelled.append(job)
        if job.over_limit and not any(other.model == job.model for other in self._outbox.open_jobs):
            if job.requests == 1:
                hint = "wait until the account's other batches have ended, or ask live"
                raise BackendError(f"{job.model}: more tokens are enqueued than the account may", hint=hint, gone=True)
            self._most[job.model] = job.requests // 2
        elif job.over_limit:
            self._most.setdefault(job.model, job.requests)

    async def _send_draft(self, draft: Draft, left: Allowance) -> None:
        """Sends the files of one model."""
        name = draft.transport.name
        if name in self._most and any(job.model == name for job in self._outbox.open_jobs):
            return  # one at a time
        for part in split(draft.questions(), self._most.get(name) or len(draft.keys)):
            estimates = [self._estimate(draft.transport, question) for question in part]
            count = left.take_first(estimates)
            if count:
                job = write_job(self._outbox.folder, name, part[:count], *_sum(estimates[:count]))
                self._outbox.sent(job, (question.key for question in part[:count]))
                self._tell(f"{job.requests} requests to {name}{_about(job.dollars)}")
                await self._send(job)
            if count < len(part):
                rest = _sum(estimates[count:])
                self._tell(f"{len(part) - count} requests{_about(rest.dollars)}, are more than the budget leaves")
                break
            if name in self._most:
                break

    async def _send(self, job: Job) -> None:
        await send(job, *self._way(job), self._waiting)

    def _way(self, job: Job) -> tuple[OpenAIWireTransport, Endpoint]:
        """Who asks a batch's model, and where.

        Raises:
            BackendError: nobody does any more.
        """
        known = self._outbox.accounts.get(job.model)
        if known is None:
            hint = f"end it, or fetch it with the program that began it ({job.batch_id or job.token})"
            raise BackendError(f"a batch of {job.model} is under way, which this run no longer asks", hint=hint)
        if job.model not in self._endpoints:
            self._endpoints[job.model] = self._made(known[1], job.model)
        return known[0], self._endpoints[job.model]

    def _estimate(self, transport: OpenAIWireTransport, question: Question) -> Estimate:
        """What a request may cost: by its length, and by its limit or the length of the run's other answers."""
        output = question.output if question.output is not None else self._expected(transport.name)
        dollars = transport.batch_price({"prompt_tokens": question.input, "completion_tokens": output})
        return Estimate(question.input + output, dollars)

    def _expected(self, model: str) -> int:
        """The tokens of an answer without a limit."""
        jobs = [job for job in self._outbox.jobs if job.model == model]
        answers, tokens = sum(job.open_answers for job in jobs), sum(job.open_tokens for job in jobs)
        return round(tokens / answers) if answers else ASSUMED_ANSWER


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    prices = [estimate.dollars for estimate in estimates]
    known = None if None in prices else sum(price or 0.0 for price in prices)
    return Estimate(sum(estimate.tokens for estimate in estimates), known)


def _about(dollars: float | None) -> str:
    return "" if dollars is None else f", about ${dollars:.4f}"


def _progress(jobs: Sequence[Job]) -> str:
    """How far batches are, such as ``812 of 1204 requests answered, 3 failed (1 in_progress, 1 validating)``."""
    done, failed = sum(job.completed for job in jobs), sum(job.failed for job in jobs)
    words: Mapping[str, int] = Counter(job.status for job in jobs)
    status = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    return f"{done} of {sum(job.requests for job in jobs)} requests answered, {failed} failed ({status})"
