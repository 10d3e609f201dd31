"""``train``: rounds of answering, judging and training, held-out figures, and the files that come of it.

A round answers requests with the weights as they are, lets a frozen copy judge the answers through the program's gate, has
an alternative written where it rejects one, and trains on these pairs and on some of earlier rounds. The first round takes
the pairs that are there already. Everything that was generated is in a journal, and where the steps are in a checkpoint: a
training that is interrupted goes on in the same folder.
"""

from __future__ import annotations

import copy
import json
import platform
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conscience import __version__
from conscience._base.files import digest, write_atomic
from conscience._base.locks import locked_folder
from conscience.backends.backend import Backend
from conscience.backends.embedded.catalogue import LOCAL
from conscience.backends.embedded.local import shutdown
from conscience.backends.roles import Roles
from conscience.errors import InputError
from conscience.optimizers.runtime import Runtime
from conscience.optimizers.training.making import make_pairs
from conscience.optimizers.training.pairs import PreferencePair, read_pairs, write_pairs
from conscience.optimizers.training.rounds.card import card
from conscience.optimizers.training.rounds.data import TrainingData, requests_of
from conscience.optimizers.training.rounds.figures import (
    FIRST_WORDS,
    HeldOut,
    Measured,
    flags,
    refusals,
)
from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.base import Base
from conscience.optimizers.training.weights.converting import convert
from conscience.optimizers.training.weights.merging import write_merged
from conscience.optimizers.training.weights.policy import Policy, device_of
from conscience.optimizers.training.weights.serving import ServedDifference, served_difference
from conscience.optimizers.training.weights.settings import TrainingSettings
from conscience.optimizers.training.weights.tokens import Encoder
from conscience.optimizers.training.weights.trainer import StepProgress, Trainer
from conscience.program import Conscience

SAMPLE = 40
"""Held-out requests of a kind that are answered after each round but the last, after which all are."""

FORMAT = 1
"""Of training.json."""

CHECKED = 4
"""Requests by which it is tried whether the engine serves what was trained."""


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        folder: holds ``adapter/``, ``model.gguf``, ``README.md``, ``training.json``, and ``checkpoints/`` with ``rounds/``.
        figures: of what is held out, after against before.
        epochs: losses, an epoch a row.
        rounds: how many were trained.
        notes: what a reader has to know, a line each.
        served: how far the engine is from torch; None where nothing could be compared.
    """

    folder: Path
    figures: dict[str, Any]
    epochs: list[dict[str, Any]]
    rounds: int
    notes: list[str] = field(default_factory=list)
    served: ServedDifference | None = None

    @property
    def model(self) -> str:
        """What ``--lm`` takes."""
        return f"{LOCAL}:{self.folder / 'model.gguf'}"


def train(
    base: Base,
    data: TrainingData,
    folder: Path,
    *,
    program: Callable[[str], Conscience],
    settings: TrainingSettings | None = None,
    runtime: Runtime | None = None,
    watch: Callable[[StepProgress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Trains a model; see this module.

    Args:
        base: what is trained, and, frozen, what judges.
        data: pairs, requests, and what is held out.
        folder: for the result; the same call goes on there where it was interrupted.
        program: builds the program whose gate judges, by the name of the model for its roles.
        settings: see ``TrainingSettings``.
        runtime: pays for answers; by default one without limits, with its journal in the folder.
        watch: is told of every batch.
        tell: is told, a line each, what has been done.

    Raises:
        ConfigurationError: the extra ``train`` is missing, or the weights cannot be trained.
        InputError: the folder belongs to another training, or cannot be written; or no pair was found.
        BackendError: the embedded engine failed.
        Interrupted, KeyboardInterrupt: by Ctrl-C; the same call goes on from here.
    """
    extra.check_installed()
    chosen = settings or TrainingSettings()
    with locked_folder(folder), extra.deterministic():
        _claim(folder, {"base": base.name, "data": data.digest(), "settings": chosen.identity()})
        return _Training(base, data, folder, program, chosen, runtime, watch, tell).run()


def journal_of(folder: Path) -> Path:
    """Where a training keeps what was generated."""
    return folder / "rounds" / "calls.jsonl"


def frozen_weights(base: Base, folder: Path) -> Path:
    """The GGUF file by which the engine serves what is trained in a folder; of a Hugging Face folder it is written there."""
    return folder / "rounds" / "base.gguf" if base.is_folder else base.path


class _Training:
    def __init__(
        self,
        base: Base,
        data: TrainingData,
        folder: Path,
        program: Callable[[str], Conscience],
        settings: TrainingSettings,
        runtime: Runtime | None,
        watch: Callable[[StepProgress], None],
        tell: Callable[[str], None],
    ) -> None:
        self.base, self.data, self.folder, self.settings, self.tell = base, data, folder, settings, tell
        self.rounds = folder / "rounds"
        self.rounds.mkdir(parents=True, exist_ok=True)
        self.runtime = runtime or Runtime(journal_of(folder))
        self.gguf = self._frozen_gguf()
        self.program = program(f"{LOCAL}:{self.gguf}")
        _claim(folder, {"judge": _judge(self.program)})
        device = device_of(settings.device)
        self.policy = Policy(base.model(), rank=settings.rank, seed=settings.seed, device=device)
        self.encoder = Encoder(base.tokenizer(), settings.max_length)
        held_out = self.encoder.pairs(data.held_out)
        left_out = self.encoder.left_out.copy()
        encoded = {pair.id for pair in held_out}
        pairs = [pair for pair in data.held_out if pair.id in encoded]
        safe = [case for case in data.held_out_requests if case.request_safe is not None]
        drafted = [case for case in data.held_out_requests if case.request_safe is None]
        self.held_out = HeldOut(pairs, safe, (drafted or requests_of(pairs))[:SAMPLE])
        self.trainer = Trainer(self.policy, settings, held_out, folder / "checkpoints" / "latest.safetensors", watch, tell)
        for note in data.notes:
            self._note(note)
        self._note_left_out("held-out pairs", left_out)

    def run(self) -> TrainingResult:
        at, settings = self.trainer.position, self.settings
        if self.trainer.resumed:
            self.tell(f"going on from round {at.round}, epoch {at.epoch}, step {at.step}")
        if not at.figures:
            measured = self._measured(self.gguf, len(self.held_out.asked))  # a new LoRA changes nothing
            self._say(0, measured)
            at.figures.append({"round": 0, "measured": measured.to_json()})
            self.trainer.save()
        while at.round <= settings.rounds and not at.stopped:
            pairs = self._pairs(at.round)
            encoded = self.encoder.pairs(pairs)
            self._note_left_out(f"pairs of round {at.round}", self.encoder.left_out)
            if not encoded and at.round == 1:
                raise InputError(
                    "there is no pair to train on: the gate accepted every answer, or none could be used",
                    hint="give labelled cases or pairs, or a gate that flags some answers",
                )
            if not encoded:
                self._note(f"round {at.round} found no pair to train on")
                break
            self.tell(f"round {at.round}: {len(encoded)} pairs")
            self.trainer.train_round(encoded)
            policy = self._write_policy(at.round)
            measured = self._measured(policy, SAMPLE)
            self._say(at.round, measured)
            self.trainer.end_round({"round": at.round, "pairs": len(encoded), "measured": measured.to_json()})
        return self._finished()

    # What is generated -------------------------------------------------------------------------------------------------

    def _pairs(self, number: int) -> list[PreferencePair]:
        """A round's pairs: its own, and some of earlier rounds."""
        earlier = [pair for past in range(1, number) for pair in self._own_pairs(past)]
        own = self._own_pairs(number)
        met = {pair.id for pair in own}
        earlier = [pair for pair in {pair.id: pair for pair in earlier}.values() if pair.id not in met]
        size = min(self.settings.replay, len(earlier))
        return own + random.Random(f"{self.settings.seed} {number} replay").sample(earlier, size)

    def _own_pairs(self, number: int) -> list[PreferencePair]:
        """The pairs of one round, made once."""
        path = self.rounds / f"{number}.jsonl"
        if path.exists():
            return list(read_pairs(path))
        pairs = self.data.pairs if number == 1 and self.data.pairs else self._collected(number)
        self.trainer.save()  # its notes, before the pairs stand there and are not made again
        write_pairs(pairs, path)
        return pairs

    def _collected(self, number: int) -> list[PreferencePair]:
        """Answers with the weights of now, judged by the frozen copy."""
        cases = self.data.to_answer()
        if len(cases) > self.settings.requests:
            cases = random.Random(f"{self.settings.seed} {number} requests").sample(cases, self.settings.requests)
        policy = self.gguf if number == 1 else self._policy_file(number - 1)
        made = make_pairs(cases, self._answering(policy), seed=self.settings.seed, runtime=self.runtime)
        self.tell(
            f"round {number}: {len(made.pairs)} pairs of {len(cases)} answers" + (f" ({made.why})" if made.why else "")
        )
        if failed := made.dropped["failed"]:
            self._note(f"{failed} answers of round {number} failed, the last: {made.failures[-1]}")
        if made.exhausted:
            self._note(f"the budget ended in round {number}, before every request was answered")
        return made.pairs

    def _answering(self, weights: Path, max_tokens: int | None = None) -> Conscience:
        """The program, with these weights answering and the frozen ones, or what else it has, reviewing."""
        given = self.program.roles
        backend = given.backend("generate")
        options = {**self.base.sampling, **backend.sampling}
        if max_tokens is not None:
            options["max_tokens"] = min(max_tokens, options.get("max_tokens") or max_tokens)
        answers = Backend(f"{LOCAL}:{weights}", timeout=backend.timeout, retries=backend.retries, cache=False, **options)
        roles = {"generate": answers, "review": given.backend("review")}
        if (revises := given.backend("revise")) is not backend:
            roles["revise"] = revises
        program = copy.deepcopy(self.program)
        program.set_lm(Roles(roles))
        return program

    def _measured(self, weights: Path, most: int) -> Measured:
        """What the policy's weights of now, which are those in this file, do with what is held out."""
        held_out = self.held_out
        asked = refusals(self._answering(weights, FIRST_WORDS), held_out.asked[:most], self.runtime)
        drafts = flags(self._answering(weights), held_out.drafted, self.runtime)
        pairs = self.trainer.measure(self.trainer.held_out)
        return Measured(pairs, (*asked, *[None] * (len(held_out.asked) - len(asked))), drafts)

    def _say(self, number: int, measured: Measured) -> None:
        before = self.trainer.position.figures
        past = Measured.from_json(before[0]["measured"]) if before and number else None
        shown = self.held_out.summary(measured, past)
        text = ", ".join(f"{name} {figure['value']:.3f}" for name, figure in shown.items())
        self.tell(f"{'before' if not number else f'round {number}'}, on held-out cases: {text or 'nothing is held out'}")

    # What is written ---------------------------------------------------------------------------------------------------

    def _frozen_gguf(self) -> Path:
        """The base as the engine serves it."""
        path = frozen_weights(self.base, self.folder)
        if self.base.is_folder and not path.exists():
            self.tell("writing the base as a GGUF file")
            convert(self.base.path, path)
        return path

    def _policy_file(self, number: int) -> Path:
        return self.rounds / f"policy-{number}.gguf"

    def _write_policy(self, number: int) -> Path:
        """The weights after a round, for the engine; those of rounds before it are no longer needed.

        Written anew it has the same bytes, and so the same name in the journal.
        """
        path = self._policy_file(number)
        write_merged(self.gguf, self.policy.changes(), path, f"{self.base.name} trained")
        for past in range(1, number):
            shutdown(self._policy_file(past))
            self._policy_file(past).unlink(missing_ok=True)
        return path

    def _finished(self) -> TrainingResult:
        """The files of the result."""
        at = self.trainer.position
        model, adapter = self.folder / "model.gguf", self.folder / "adapter"
        self.trainer.use_best()
        write_merged(self.gguf, self.policy.changes(), model, f"{self.base.name} trained")
        partial = self.folder / "adapter.partial"
        shutil.rmtree(partial, ignore_errors=True)
        self.policy.save_adapter(partial, self.base.name)
        shutil.rmtree(adapter, ignore_errors=True)
        partial.replace(adapter)
        shown = [pair.request for pair in (self.data.held_out or self._pairs(1))[:CHECKED]]
        served = served_difference(self.policy, self.encoder, model, shown)
        if served is not None and not served.agrees:
            self._note(
                f"the engine's answers differ from torch's by {served.mean:.2f} nats a token on average: "
                "figures of pairs are torch's, not the engine's"
            )
        before = Measured.from_json(at.figures[0]["measured"])
        figures = self.held_out.summary(self._measured(model, len(self.held_out.asked)), before)
        shutdown(model)
        if self.runtime.exhausted:
            self._note("the budget ended before all that is held out was answered")
        if at.stopped and at.round <= self.settings.rounds:
            self._note(f"it ended after round {at.round - 1}: the held-out loss fell no further")
        result = TrainingResult(self.folder, figures, at.epochs, at.round - 1, list(at.notes), served)
        record = self._record(result)
        write_atomic(self.folder / "training.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        write_atomic(self.folder / "README.md", card(record))
        return result

    def _record(self, result: TrainingResult) -> dict[str, Any]:
        program, data = self.program, self.data
        at = self.trainer.position
        return {
            **json.loads((self.folder / "training.json").read_text(encoding="utf-8")),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "licence": self.base.licence,
            "constitution": {
                "name": program.constitution.name,
                "version": str(program.constitution.version),
                "question": program.constitution.question,
                "fingerprint": program.constitution.fingerprint,
            },
            "counts": {
                "pairs": len(data.pairs),
                "requests": len(data.to_answer()),
                "held_out_pairs": len(self.held_out.pairs),
                "held_out_requests": len(self.held_out.asked),
                "by_round": [{"round": f["round"], "pairs": f["pairs"]} for f in at.figures[1:]],
            },
            "rounds": result.rounds,
            "best": at.best,
            "epochs": result.epochs,
            "figures": result.figures,
            "figures_by_round": [
                {"round": f["round"], **self.held_out.summary(Measured.from_json(f["measured"]))} for f in at.figures
            ],
            "served": None if result.served is None else vars(result.served),
            "spent": self.runtime.costs.to_json(),
            "device": self.policy.device,
            "notes": result.notes,
        }

    def _note(self, line: str) -> None:
        """Keeps what a reader has to know; the checkpoint carries it over an interruption."""
        if line not in (notes := self.trainer.position.notes):
            notes.append(line)

    def _note_left_out(self, what: str, counts: Mapping[str, int]) -> None:
        for why, count in counts.items():
            self._note(f"{count} {what} are left out: {why}")


def _judge(program: Conscience) -> dict[str, Any]:
    """What judges and writes alternatives: other pairs come of another."""
    settings = program.gate_settings.model_dump(mode="json")
    return {
        "review": program.roles.backend("review").name,
        "revise": program.roles.backend("revise").name,
        "constitution": program.constitution.fingerprint,
        "gate": digest([settings, program.max_revisions, program.samples]),
    }


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Makes a folder this training's, or adds to what is known of it.

    Args:
        identity: what may not change while a training goes on in it.

    Raises:
        InputError: it is another's, or holds something else.
    """
    path = folder / "training.json"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else None
        strangers = text is None and any(item.name != "lock" for item in folder.iterdir())
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="choose another --out") from None
    if strangers:
        raise InputError(f"{folder} holds something else", hint="choose another --out")
    try:
        known = json.loads(text) if text else {"format": FORMAT, "versions": _versions()}
    except ValueError:
        raise InputError(f"{path} is not the record of a training", hint="choose another --out") from None
    for name, value in identity.items():
        if known.setdefault(name, value) != value:
            raise InputError(f"{folder} holds a training with another {name}", hint="choose another --out")
    try:
        write_atomic(path, json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}", hint="choose another --out") from None


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "peft")
    return {"conscience": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}
