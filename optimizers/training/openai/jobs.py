"""Runs a fine-tuning at OpenAI: uploads, jobs, and what becomes of them, each of which exists once.

An answer can be lost: the file or the job is there, and nobody here knows its id. So that something may have been sent is
written down before it is, and what may be there is looked for before it is made (again): a file by its name, which holds the
run's, a job by its file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conscience.errors import BackendError, ConfigurationError, InputError
from conscience.optimizers.training.openai.files import TrainingFile
from conscience.optimizers.training.openai.state import FineTune, Stage, now, save

if TYPE_CHECKING:
    import openai

ATTEMPTS = 5
"""At an upload or the creation of a job."""

PATIENCE = 10
"""So many times in a row that nobody answers, and the follow-up ends; the job does not."""

FIRST_WAIT = 2.0
"""Seconds before the second attempt; each further one waits twice as long. What was made shows in lists by then."""

DAY = 86_400
"""How much two clocks may differ."""

NOT_YET = ("being processed", "not ready")
"""What is said of a file that was uploaded just now, with the status of a request that is wrong."""

ENDED = frozenset({"failed", "cancelled"})


def client_from_environment() -> openai.OpenAI:
    """OpenAI's client, by ``OPENAI_API_KEY`` and, for another address, ``OPENAI_BASE_URL``.

    Raises:
        ConfigurationError: there is no key.
    """
    import os

    import openai

    if not os.environ.get("OPENAI_API_KEY"):
        raise ConfigurationError("there is no key for OpenAI", hint="set OPENAI_API_KEY")
    address = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or None
    return openai.OpenAI(base_url=address)


class FineTuning:
    """Takes a fine-tuning to its end, from wherever it is.

    Args:
        folder: keeps its state.
        state: how far it is.
        files: one for each stage.
        client: OpenAI's.
        tell: is told what happens, a line each.
        poll: seconds between two looks at a job.
        sleep: waits.
    """

    def __init__(
        self,
        folder: Path,
        state: FineTune,
        files: list[TrainingFile],
        client: openai.OpenAI,
        *,
        tell: Callable[[str], None],
        poll: float = 20.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder, self.state, self.files = folder, state, files
        self._reading = client.with_options(max_retries=2)
        self._making = client.with_options(max_retries=0)  # by itself the client would send once more what may be there
        self._tell, self._poll, self._sleep = tell, poll, sleep

    def run(self) -> str:
        """The name of the model that came of it.

        Raises:
            InputError: OpenAI refuses a file or a parameter, or a job failed.
            BackendError: nobody answers, or the key is refused. The same call goes on later.
        """
        base = self.state.model
        for stage, file in zip(self.state.stages, self.files, strict=True):
            if not stage.model:
                stage.base = base
                self._upload(stage, file)
                self._create(stage)
                self._follow(stage)
            base = stage.model
        return base

    def _upload(self, stage: Stage, file: TrainingFile) -> None:
        if stage.file_id:
            return
        name, data = f"conscience-{self.state.run}-{stage.method}.jsonl", file.text.encode()

        def find() -> str:
            for known in self._reading.files.list(purpose="fine-tune", order="desc"):
                if known.filename == name and known.bytes == len(data):
                    return known.id
                if known.created_at < (stage.upload_begun or 0) - DAY:
                    break
            return ""

        def make() -> str:
            return self._making.files.create(file=(name, data, "application/jsonl"), purpose="fine-tune").id

        begun = stage.upload_begun is not None
        stage.upload_begun = stage.upload_begun or now()
        self._save()
        stage.file_id = self._once(f"the file {name}", begun, find, make)
        self._save()
        self._tell(f"{stage.method}: uploaded {stage.examples} examples as {stage.file_id}")

    def _create(self, stage: Stage) -> None:
        if stage.job_id:
            return

        def find() -> str:
            for job in self._reading.fine_tuning.jobs.list(limit=100):
                if job.training_file == stage.file_id:
                    return job.id
                if job.created_at < (stage.job_begun or 0) - DAY:
                    break
            return ""

        def make() -> str:
            return self._making.fine_tuning.jobs.create(
                model=stage.base,
                training_file=stage.file_id,
                method=_method(stage),
                seed=self.state.seed,
                metadata={"conscience-run": self.state.run, "conscience-method": stage.method},
                suffix=self.state.suffix or None,
            ).id

        begun = stage.job_begun is not None
        stage.job_begun = stage.job_begun or now()
        self._save()
        stage.job_id = self._once(f"the job {stage.method}", begun, find, make)
        self._save()
        self._tell(f"{stage.method}: job {stage.job_id} trains {stage.base}")

    def _once(self, what: str, begun: bool, find: Callable[[], str], make: Callable[[], str]) -> str:
        """The id of what is to be there once.

        Args:
            begun: whether it may be there already.
        """
        last = ""
        for attempt in range(ATTEMPTS):
            try:
                with _told(what):
                    if begun and (known := find()):
                        return known
                    begun = True
                    return make()
            except BackendError as error:
                if error.gone and not error.retryable:
                    raise
                last = error.message
                if attempt < ATTEMPTS - 1:
                    self._sleep(FIRST_WAIT * 2**attempt)
        raise BackendError(last, hint="the same command goes on from here", retryable=True)

    def _follow(self, stage: Stage) -> None:
        """Waits for the job's end, and tells what happens."""
        silent = 0
        while True:
            try:
                with _told(f"the job {stage.job_id}"):
                    job = self._reading.fine_tuning.jobs.retrieve(stage.job_id)
                    self._tell_events(stage)
                silent = 0
            except BackendError as error:
                silent += 1
                if silent >= PATIENCE or not error.retryable:
                    raise BackendError(
                        error.message, hint="the job goes on; the same command follows it", retryable=True
                    ) from None
            else:
                if job.status != stage.status:
                    stage.status = job.status
                    self._tell(f"{stage.method}: {job.status}{_left(job)}")
                    self._save()
                if job.status == "succeeded" and job.fine_tuned_model:
                    stage.model, stage.trained_tokens = job.fine_tuned_model, job.trained_tokens
                    self._save()
                    if stage.trained_tokens:
                        dollars = self.state.price * stage.trained_tokens / 1e6
                        self._tell(f"{stage.method}: {stage.trained_tokens} tokens were trained, ${dollars:.2f}")
                    return
                if job.status in ENDED:
                    raise _failed(stage, job)
            self._sleep(self._poll)

    def _tell_events(self, stage: Stage) -> None:
        """What was not told yet, the oldest first."""
        new = []
        for event in self._reading.fine_tuning.jobs.list_events(stage.job_id, limit=100):
            if event.id == stage.last_event:
                break
            new.append(event)
        for event in _worth_telling(new):
            self._tell(f"{stage.method}: {event.message}")
        if new:
            stage.last_event = new[0].id
            self._save()

    def _save(self) -> None:
        save(self.folder, self.state)


def _method(stage: Stage) -> Any:
    common: dict[str, Any] = {"n_epochs": stage.epochs}
    if stage.method == "supervised":
        return {"type": "supervised", "supervised": {"hyperparameters": common}}
    return {"type": "dpo", "dpo": {"hyperparameters": {"beta": stage.beta, **common}}}


def _worth_telling(newest_first: list[Any]) -> list[Any]:
    """Of the figures of each step, the last ones; of all else everything, the oldest first."""
    figures = [event for event in newest_first if getattr(event, "type", None) == "metrics"]
    return [event for event in reversed(newest_first) if event not in figures[1:]]


def _left(job: Any) -> str:
    """The time left, where OpenAI says it."""
    finish = getattr(job, "estimated_finish", None)
    return f", about {max(1, round((finish - now()) / 60))} minutes left" if finish and finish > now() else ""


def _failed(stage: Stage, job: Any) -> InputError:
    error = job.error
    said = f": {error.message}" if error is not None and error.message else ""
    about = f" ({error.code}{f', {error.param}' if error.param else ''})" if error is not None and error.code else ""
    hint = "choose another --out to try again" if job.status == "failed" else "choose another --out to begin anew"
    return InputError(
        f"the {stage.method} job {stage.job_id} {job.status if job.status == 'failed' else 'was cancelled'}{about}{said}",
        hint=hint,
    )


@contextmanager
def _told(what: str) -> Iterator[None]:
    """OpenAI's errors as this library's, each in one line.

    Raises:
        InputError: what was sent is refused.
        BackendError: the key is refused, or (``retryable``) nobody answers.
    """
    import openai

    try:
        yield
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        hint = "OpenAI has closed fine-tuning to some accounts; look at OPENAI_API_KEY and its permissions"
        raise BackendError(f"OpenAI refuses {what}: {_said(error)}", hint=hint, gone=True) from None
    except openai.RateLimitError as error:
        spent = error.code == "insufficient_quota"
        raise BackendError(f"OpenAI refuses {what}: {_said(error)}", gone=spent, retryable=not spent) from None
    except (openai.InternalServerError, openai.ConflictError) as error:
        raise BackendError(f"OpenAI fails at {what}: {_said(error)}", retryable=True) from None
    except openai.APIConnectionError as error:  # a timeout is one
        raise BackendError(f"OpenAI does not answer about {what}: {error.__cause__ or error}", retryable=True) from None
    except openai.APIStatusError as error:
        if any(words in _said(error) for words in NOT_YET):
            raise BackendError(f"OpenAI is not ready for {what}: {_said(error)}", retryable=True) from None
        raise InputError(f"OpenAI refuses {what}: {_said(error)}") from None
    except openai.APIError as error:
        raise BackendError(f"OpenAI's answer about {what} cannot be read: {error}", retryable=True) from None


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message)
