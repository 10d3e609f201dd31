"""SelfCorrection: compiles a program to correct itself as often as possible, at a false positive rate that was chosen.

Stages, in order: the gate; instructions and demos of critique and revision; what to do with a flagged draft. The
threshold belongs to the gate and comes from drafts that chose nothing else. A stage's proposal takes the place of what was
there only if it wins a paired comparison on drafts that it did not learn from; so the program that comes back is no worse
than the one that came in, as far as the cases can show.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from dspy.teleprompt import Teleprompter

from conscience.artifacts.schema import Provenance
from conscience.backends.embedded.weights import local_name
from conscience.backends.embeddings import is_available
from conscience.cases.case import Case
from conscience.errors import BudgetExceeded, ConfigurationError
from conscience.evals.executor import ExecutorSpec
from conscience.evals.oracles.grade import Oracle
from conscience.optimizers.compilation import CompileResult, gate_figures, run_stages
from conscience.optimizers.data.dspy_examples import cases_of
from conscience.optimizers.figures import CaseCounts, Threshold
from conscience.optimizers.gate.threshold import ALARMS, check_target, needed
from conscience.optimizers.prompts.search import Method, check_installed
from conscience.optimizers.runtime import THREADS, Interrupted, Runtime, Watch, check_student, runtime_for
from conscience.optimizers.stages.state import EFFORTS, CompileOptions, CompileState
from conscience.program import Conscience
from conscience.usage import Budget

Auto = Literal["light", "medium", "heavy"]


class SelfCorrection(Teleprompter):  # type: ignore[misc]
    """A DSPy optimizer for whatever is wrapped in ``Conscience``.

    What it found out hangs on the program that comes back, as ``compiled.compile_result`` (a ``CompileResult``), and the
    figures of it are saved with the program, in its provenance.

    Args:
        oracle: decides whether a response is acceptable, in place of each case's own oracle.
        target_fpr: the highest share of aligned drafts that the gate may flag.
        auto: how much is tried: "light", "medium" or "heavy".
        budget: the most that the compilation may spend in all: calls, tokens, seconds, dollars. Calls and seconds are never
            exceeded; tokens and dollars are known only after a call.
        embeddings: embedding models whose vectors the gate may read; by default "e5" where it is installed.
        prompts: "gepa", "random", "miprov2", "simba" or "off"; by default "gepa" where a model other than the embedded one
            can write instructions.
        seed: the same seed and the same answers give the same program.
        threads: cases under way at once, in each process that does them.
        folder: keeps the journal of every answer; the same compilation in the same folder goes on where it stopped, and
            pays for nothing twice. By default nothing is kept.
        watch: is told the progress.
        executor: where the cases are done: "local", "ray", or an ``Executor``. It changes nothing about the program.
        runtime: of a larger undertaking that this compilation is a part of; it takes the place of budget, threads, folder,
            watch and executor.

    Raises:
        ConfigurationError: an option does not exist, or a package that it needs is not installed.
    """

    def __init__(
        self,
        *,
        oracle: Oracle | None = None,
        target_fpr: float = 0.05,
        auto: Auto = "light",
        budget: Budget | Mapping[str, float] | None = None,
        embeddings: Sequence[str] | None = None,
        prompts: Method | None = None,
        seed: int = 0,
        threads: int = THREADS,
        folder: Path | str | None = None,
        watch: Watch | None = None,
        executor: ExecutorSpec = "local",
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__()
        if auto not in EFFORTS:
            raise ConfigurationError(f"auto={auto!r} does not exist", hint=f"choose among {', '.join(EFFORTS)}")
        check_target(target_fpr)
        if prompts is not None:
            check_installed(prompts)
        for model in embeddings or ():
            if not is_available(model):
                raise ConfigurationError(f"the embedding model {model!r} is not installed")
        self.oracle, self.target_fpr, self.auto, self.seed = oracle, target_fpr, auto, seed
        self.budget, self.prompts = Budget.of(budget), prompts
        self.embeddings = None if embeddings is None else [local_name(model) for model in embeddings]
        self._means = (runtime, folder, self.budget, threads, watch, executor)

    def compile(
        self,
        student: Conscience,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
    ) -> Conscience:
        """The best program that the stages came to; the student itself is left as it is.

        Args:
            student: any program wrapped in ``Conscience``.
            trainset: cases with labels or oracles, or examples, see ``conscience.optimizers.examples_of``.
            teacher: not used; there so that DSPy's own combinations of optimizers can pass one.
            valset: cases that decide about prompts and policy; by default a part of the trainset.

        Returns:
            With ``compile_result``. Interrupted by Ctrl-C, it is the best so far, and the result says so.

        Raises:
            InputError: the cases cannot be used, or are too few.
            BackendError: a backend is gone; with a folder, the same call goes on where it was.
        """
        check_student(student)
        started = time.monotonic()
        cases, deciding = cases_of(trainset, student), cases_of(valset or (), student)
        with runtime_for(*self._means) as runtime:
            state = CompileState(runtime.own(student), runtime, self._options(student, runtime))
            interrupted = _run(state, cases, deciding)
            compiled = _like(student, state.program)
            compiled.compile_result = result = _result(state, interrupted)
            provenance = _provenance(result, cases, student, self.seed, time.monotonic() - started)
            scores = {} if state.scores is None else {provenance.backend: state.scores}
            compiled.provenance = provenance.model_copy(update={"scores": scores})
        compiled._compiled = True
        return compiled

    def _options(self, student: Conscience, runtime: Runtime) -> CompileOptions:
        writer = student.roles.backend("propose").name
        embeddings = self.embeddings
        if embeddings is None:
            embeddings = ["e5"] if is_available("e5") else []
        return CompileOptions(
            EFFORTS[self.auto],
            target_fpr=self.target_fpr,
            embeddings=tuple(embeddings),
            prompts=self.prompts or ("off" if writer == "local" else "gepa"),
            proposes=writer != "local",
            oracle=runtime.judge(self.oracle),
            seed=self.seed,
        )


def _run(state: CompileState, cases: Sequence[Case], deciding: Sequence[Case]) -> bool:
    """Runs all stages; returns whether Ctrl-C ended them."""
    interrupted = False
    try:
        run_stages(state, cases, deciding)
    except BudgetExceeded:  # outside of the work that is planned for: a proposal, an optimizer of DSPy's
        state.runtime.exhausted = True
    except (Interrupted, KeyboardInterrupt):
        interrupted = True
        state.notes.append("interrupted: this is the best so far")
    if state.runtime.exhausted:
        state.notes.append("the budget ended before everything was tried")
    return interrupted


def _like(student: Conscience, best: Conscience) -> Conscience:
    """The student with the gate, prompts and policy of the best program; its models stay its own."""
    compiled: Conscience = student.deepcopy()
    predictors = dict(best.named_predictors())
    for name, predictor in compiled.named_predictors():
        predictor.signature, predictor.demos = predictors[name].signature, predictors[name].demos
    compiled.review.gate_settings = best.gate_settings
    compiled.max_revisions, compiled.samples = best.max_revisions, best.samples
    return compiled


def _on_false_positives(threshold: Threshold) -> str:
    """What is known of the rate."""
    if threshold.certified:
        return (
            f"false positives: at most {threshold.target:.1%} with {threshold.confidence:.0%} confidence, from "
            f"{threshold.n} aligned drafts set aside, of which {threshold.alarms} are flagged"
        )
    if threshold.out_of_reach:
        return (
            f"false positives: {threshold.alarms} of {threshold.n} aligned drafts are flagged whatever the gate says, "
            f"more than {threshold.target:.1%}: mend the check, or the labels"
        )
    return (
        f"false positives: about {threshold.target:.1%} is estimated, nothing is certified: that takes "
        f"{2 * needed(threshold.target, threshold.confidence, ALARMS)} independent aligned drafts"
    )


def _result(state: CompileState, interrupted: bool) -> CompileResult:
    gate, failures = None if state.gate is None else gate_figures(state.gate), state.runtime.failures
    notes = list(state.notes)
    if failures:
        notes.append(f"{len(failures)} pieces of work failed, the first: {failures[0]}")
    if gate is not None:
        notes.append(_on_false_positives(gate.threshold))
    return CompileResult(
        gate=gate,
        stages=state.stages,
        notes=tuple(notes),
        drafts=tuple(state.drafts),
        interrupted=interrupted,
        exhausted=state.runtime.exhausted,
        spent=state.runtime.costs,
    )


def _provenance(result: CompileResult, cases: Sequence[Case], student: Conscience, seed: int, seconds: float) -> Provenance:
    """What is saved of a result."""
    figures: dict[str, Any] = {"stages": {name: stage.to_json() for name, stage in result.stages.items()}}
    if result.gate is not None:
        figures["gate"] = result.gate.to_json()
    counts = CaseCounts(
        given=len(cases),
        drafts=len(result.drafts),
        own=sum(draft.own for draft in result.drafts),
        misaligned=sum(draft.misaligned for draft in result.drafts),
        digest=hashlib.sha256("".join(sorted(case.model_dump_json() for case in cases)).encode()).hexdigest()[:16],
    )
    return Provenance(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        backend=student.roles.backend("review").name,
        seed=seed,
        cases=counts.to_json(),
        figures=figures,
        spent=result.spent.to_json(),
        versions={name: version(package) for name, package in (("conscience", "dspy-conscience"), ("dspy", "dspy"))},
        notes=result.notes,
    )
