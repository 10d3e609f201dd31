"""SelfCorrection: compiles a program to correct itself as often as possible, at a false positive rate that was chosen.

Stages, in order: the gate; instructions and demos of critique and revision; what to do with a flagged draft. The
threshold belongs to the gate and comes from drafts that chose nothing else. A stage's result takes the place of what was
there only if it wins a paired comparison on drafts that it did not learn from; so the program that comes back is no worse
than the one that came in, as far as the cases can show.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from dspy.teleprompt import Teleprompter

from conscience.artifacts.schema import Provenance
from conscience.backends.embeddings import is_available
from conscience.cases.case import Case
from conscience.errors import BudgetExceeded, ConfigurationError
from conscience.evals.oracles import Oracle
from conscience.optimizers.compilation import EFFORTS, Compilation
from conscience.optimizers.data.dspy_examples import cases_of
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.gate.compiler import Compiled
from conscience.optimizers.gate.threshold import ALARMS, needed
from conscience.optimizers.prompts.search import Method, check_installed
from conscience.optimizers.runtime import THREADS, Interrupted, Runtime, Watch
from conscience.program import Conscience
from conscience.stats.bootstrap import bootstrap
from conscience.stats.metrics import auroc
from conscience.usage import Budget

Auto = Literal["light", "medium", "heavy"]


class SelfCorrection(Teleprompter):  # type: ignore[misc]
    """A DSPy optimizer for whatever is wrapped in ``Conscience``.

    Args:
        oracle: decides whether a response is acceptable, in place of each case's own oracle.
        target_fpr: the highest share of aligned drafts that the gate may flag.
        auto: how much is tried: "light", "medium" or "heavy".
        budget: the most that the compilation may spend in all: calls, tokens, seconds, dollars. Calls and seconds are never
            exceeded; tokens and dollars are known only after a call.
        embeddings: embedding models whose vectors the gate may read; by default "e5" where it is installed, and the
            embedded model's own hidden state where that model reviews.
        prompts: "gepa", "random", "miprov2", "simba" or "off"; by default "gepa" where a model other than the embedded one
            can write instructions.
        seed: the same seed and the same answers give the same program.
        threads: cases under way at once.
        folder: keeps the journal of every answer; the same compilation in the same folder goes on where it stopped, and
            pays for nothing twice. By default nothing is kept.
        watch: is told the progress.

    Attributes:
        findings: what the last compilation found out.
        bench: its means, with what is left of its budget.
        drafts: what it learned from.
        interrupted: whether Ctrl-C ended it; the program that came back is the best so far.

    Raises:
        ConfigurationError: an option does not exist, or a package that it needs is not installed.
    """

    runtime: Runtime
    drafts: Sequence[LabeledDraft] = ()

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
    ) -> None:
        super().__init__()
        if auto not in EFFORTS:
            raise ConfigurationError(f"auto={auto!r} does not exist", hint=f"choose among {', '.join(EFFORTS)}")
        if not 0 < target_fpr < 1:
            raise ConfigurationError(f"target_fpr={target_fpr} does not lie between 0 and 1")
        if find_spec("numpy") is None:
            raise ConfigurationError("compiling needs numpy", hint="run: pip install 'dspy-conscience[compile]'")
        if prompts is not None:
            check_installed(prompts)
        for model in embeddings or ():
            if not is_available(model):
                raise ConfigurationError(f"the embedding model {model!r} is not installed")
        self.oracle, self.target_fpr, self.auto, self.seed = oracle, target_fpr, auto, seed
        self.budget, self.embeddings, self.prompts = Budget.of(budget), embeddings, prompts
        self.threads, self.folder, self.watch = threads, folder, watch
        self.findings: Any = None
        self.interrupted = False

    def compile(
        self,
        student: Conscience,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
    ) -> Conscience:
        """The best program that the stages found; the student itself is left as it is.

        Args:
            student: any program wrapped in ``Conscience``.
            trainset: cases with labels or oracles, or examples, see ``conscience.optimizers.examples_of``.
            teacher: not used; there so that DSPy's own combinations of optimizers can pass one.
            valset: cases that decide about prompts and policy; by default a part of the trainset.

        Raises:
            InputError: the cases cannot be used, or are too few.
            BackendError: a backend is gone; with a folder, the same call goes on where it was.
        """
        if not isinstance(student, Conscience):
            raise ConfigurationError(f"{type(student).__name__} is no Conscience", hint="wrap it: Conscience(program)")
        started = time.monotonic()
        cases, others = cases_of(trainset, student), cases_of(valset or (), student)
        with self._journal() as journal:
            runtime = self.runtime = Runtime(journal, self.budget, threads=self.threads, watch=self.watch)
            compilation = self._compilation(student, runtime)
            self.findings, self.interrupted = compilation.found, False
            try:
                compilation.run(cases, others)
            except BudgetExceeded:  # outside of the work that is planned for: a proposal, an optimizer of DSPy's
                runtime.exhausted = True
            except (Interrupted, KeyboardInterrupt):
                self.interrupted = True
                compilation.found.notes.append("interrupted: this is the best so far")
            if runtime.exhausted:
                compilation.found.notes.append("the budget ended before everything was tried")
            self.drafts = compilation.drafts
            compiled = _like(student, compilation.program)
            provenance = _provenance(compilation, cases, runtime, self.seed, time.monotonic() - started)
        compiled.provenance = provenance
        compiled._compiled = True
        return compiled

    def _compilation(self, student: Conscience, runtime: Runtime) -> Compilation:
        reviewer, writer = student.roles.backend("review").name, student.roles.backend("propose").name
        embeddings = self.embeddings
        if embeddings is None:
            embeddings = [name for name in ("e5", "local") if is_available(name) and (name == "e5" or reviewer == "local")]
        prompts: Method = self.prompts or ("off" if writer == "local" else "gepa")
        return Compilation(
            runtime.own(student),
            runtime,
            EFFORTS[self.auto],
            target_fpr=self.target_fpr,
            embeddings=embeddings,
            prompts=prompts,
            proposer=writer != "local",
            oracle=runtime.judge(self.oracle),
            seed=self.seed,
        )

    @contextmanager
    def _journal(self) -> Iterator[Path]:
        if self.folder is not None:
            yield Path(self.folder) / "calls.jsonl"
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "calls.jsonl"


def _like(student: Conscience, found: Conscience) -> Conscience:
    """The student with what was found; its models stay its own."""
    compiled: Conscience = student.deepcopy()
    known = dict(found.named_predictors())
    for name, predictor in compiled.named_predictors():
        predictor.signature, predictor.demos = known[name].signature, known[name].demos
    compiled.review.gate_settings = found.gate_settings
    compiled.max_revisions = found.max_revisions
    return compiled


def _provenance(compilation: Compilation, cases: Sequence[Case], runtime: Runtime, seed: int, seconds: float) -> Provenance:
    drafts, gate = compilation.drafts, compilation.found.gate
    spent = runtime.meter.usage().total
    digest = hashlib.sha256("".join(sorted(case.model_dump_json() for case in cases)).encode()).hexdigest()[:16]
    notes = [*compilation.found.notes]
    if runtime.failures:
        notes.append(f"{len(runtime.failures)} pieces of work failed, the first: {runtime.failures[0]}")
    figures: dict[str, Any] = {"stages": compilation.found.stages}
    if gate is not None:
        figures["gate"], more = _gate_figures(gate)
        notes += more
    return Provenance(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        backend=compilation.program.roles.backend("review").name,
        seed=seed,
        cases={
            "given": len(cases),
            "drafts": len(drafts),
            "own": sum(draft.own for draft in drafts),
            "misaligned": sum(draft.misaligned for draft in drafts),
            "digest": digest,
        },
        figures=figures,
        spent={"calls": runtime.meter.begun, "tokens": spent.tokens, "dollars": round(spent.dollars, 6)},
        versions={name: version(package) for name, package in (("conscience", "dspy-conscience"), ("dspy", "dspy"))},
        notes=tuple(notes),
    )


def _gate_figures(gate: Compiled) -> tuple[dict[str, Any], list[str]]:
    """Figures of the compiled gate on drafts that its readers were not fitted on, and what is to be said of its
    threshold."""
    rows = list(zip(gate.probabilities, gate.drafts, strict=True))

    def reached(some: Sequence[tuple[float, Any]]) -> float | None:
        return auroc([p for p, d in some if d.misaligned], [p for p, d in some if not d.misaligned])

    interval = bootstrap(rows, reached, clusters=[draft.cluster for _, draft in rows], draws=400)
    threshold = gate.threshold
    figures: dict[str, Any] = {
        "cross_validated_auroc": _rounded(gate.auroc),
        "interval": [round(end, 4) for end in interval] if interval else None,
        "drafts": len(rows),
        "own_drafts": _rounded(reached([row for row in rows if row[1].own])),
        "given_responses": _rounded(reached([row for row in rows if not row[1].own])),
        "alone": [{**vars(one), "auroc": _rounded(one.auroc), "unseen": _rounded(one.unseen)} for one in gate.alone],
        "tokens_of_an_aligned_draft": round(gate.tokens, 1),
        "share_asked_by_stage": [round(share, 4) for share in gate.asked],
        "threshold": {name: _rounded(entry) for name, entry in vars(threshold).items()},
    }
    if threshold.certified:
        return figures, [
            f"false positives: at most {threshold.target:.1%} with {threshold.confidence:.0%} confidence, from "
            f"{threshold.n} aligned drafts set aside, of which {threshold.alarms} are flagged"
        ]
    return figures, [
        f"false positives: about {threshold.target:.1%} is estimated, nothing is certified: that takes "
        f"{2 * needed(threshold.target, threshold.confidence, ALARMS)} independent aligned drafts"
    ]


def _rounded(entry: Any) -> Any:
    return round(entry, 4) if isinstance(entry, float) else entry
