"""One compilation, stage by stage. A stage looks for something better, and it is taken only if it wins on other drafts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from conscience.backends.embeddings import runs_in_process
from conscience.cases.case import Case
from conscience.errors import BudgetExceeded, InputError
from conscience.evals.oracles import Oracle, oracle_for
from conscience.gate.settings import GateSettings
from conscience.messages.rendering import request_text
from conscience.optimizers.data.labeled_drafts import LabeledDraft, collect
from conscience.optimizers.data.splits import halves, in_order
from conscience.optimizers.gate import incumbent
from conscience.optimizers.gate.compiler import Compiled, compile_gate
from conscience.optimizers.gate.logistic import Array, log_losses
from conscience.optimizers.gate.question_bank import pool, propose
from conscience.optimizers.gate.signal_matrix import SignalMatrix, measure
from conscience.optimizers.gate.threshold import estimated, hold_out_for_threshold
from conscience.optimizers.objective import Row, value, wins
from conscience.optimizers.prompts.candidate import CandidateProgram
from conscience.optimizers.prompts.demos import Found, bootstrap
from conscience.optimizers.prompts.flag_policy import flag_policies, mended, revising_pays
from conscience.optimizers.prompts.search import Method, Search, demo_search, gepa, of_dspy, random_search
from conscience.optimizers.runtime import Runtime, calls_of_ruling, most_calls
from conscience.program import Conscience
from conscience.stats.metrics import auroc

GATES = 4
"""Gates that are fitted on all but a part of the drafts, to judge that part: see ``CandidateProgram``."""
FEWEST = 8
"""Drafts that an oracle can judge anew, below which nothing is said about prompts or policy."""
FLAGGED = 4
"""Flagged drafts below which a search over prompts has nothing to learn from."""
SIFTED = 20
"""Drafts on which a way that writes must not trail, before it is tried on all: critiques and revisions are dear."""
CERTAIN = 0.01
"""The share of aligned drafts above the probability from which the gate may do without the critique's vote."""


@dataclass(frozen=True)
class Effort:
    """How much a compilation tries.

    Attributes:
        questions: candidates in the pool.
        asked: questions that the gate may ask.
        proposed: questions that a model is asked to propose, where there is one for it.
        runs: program runs of each search over prompts.
        control: whether random search runs beside GEPA, at an equal budget.
        judged: drafts at most on which policy and prompts are decided.
    """

    questions: int
    asked: int
    proposed: int
    runs: int
    control: bool
    judged: int


EFFORTS: Mapping[str, Effort] = {
    "light": Effort(questions=12, asked=3, proposed=0, runs=60, control=False, judged=40),
    "medium": Effort(questions=32, asked=4, proposed=16, runs=200, control=True, judged=120),
    "heavy": Effort(questions=96, asked=6, proposed=48, runs=600, control=True, judged=240),
}


@dataclass
class Findings:
    """What a compilation found out, for the report.

    Attributes:
        gate: figures of the compiled gate; None where none was compiled.
        stages: name → what was tried, and whether it was taken.
        notes: what the reader should know.
    """

    gate: Compiled | None = None
    stages: dict[str, dict[str, object]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Compilation:
    """Compiles one program.

    Args:
        program: on the runtime's models; it is the incumbent, and is replaced as stages win.
        bench: pays.
        effort: how much to try.
        target_fpr: the highest false positive rate wanted.
        embeddings: models that may embed.
        prompts: how instructions and demos are searched.
        proposer: whether a model was named for the role propose.
        oracle: decides in place of each case's own.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        program: Conscience,
        runtime: Runtime,
        effort: Effort,
        *,
        target_fpr: float,
        embeddings: Sequence[str],
        prompts: Method,
        proposer: bool,
        oracle: Oracle | None,
        seed: int,
    ) -> None:
        self.program = program
        self.found = Findings()
        self.drafts: list[LabeledDraft] = []
        self._runtime, self._effort, self._target, self._seed = runtime, effort, target_fpr, seed
        self._embeddings, self._prompts, self._proposer, self._oracle = tuple(embeddings), prompts, proposer, oracle
        self._gates: dict[str, GateSettings] = {}

    def run(self, cases: Sequence[Case], others: Sequence[Case] = ()) -> None:
        """All stages.

        Args:
            cases: to learn from.
            others: to decide on, where there are such; without them a part of the first.

        Raises:
            InputError: too few labels.
            Interrupted: by Ctrl-C; ``program`` is the best so far.
        """
        self._runtime.stage("drafts")
        self.drafts = collect(self.program, cases, self._runtime, self._oracle)
        if not self.drafts:
            raise InputError("nothing to learn from", hint="no case was left with a draft and a label")
        calibration_set = hold_out_for_threshold(self.drafts, self._target, self._seed)
        self._compile_gate(calibration_set)
        deciding = collect(self.program, others, self._runtime, self._oracle) if others else []
        outside = {draft.case.id for draft in calibration_set}
        learning = [draft for draft in self.drafts if draft.case.id not in outside and self._judgeable(draft)]
        deciding = [draft for draft in deciding if self._judgeable(draft)]
        if len(learning) + len(deciding) < FEWEST:
            self.found.notes.append("prompts and policy were left alone: no oracle can judge a new text for these cases")
            return
        if not deciding and self._prompts != "off":
            learning, deciding = halves(learning, self._seed)
        self._search_prompts(learning, deciding or learning)
        self._choose_policy(deciding or learning)

    # The gate -------------------------------------------------------------------------------------------------------

    def _compile_gate(self, calibration_set: Sequence[LabeledDraft]) -> None:
        table = self._measured(calibration_set)
        self._runtime.stage("gate")
        backend = self.program.roles.backend("review").name
        critique = self.program.gate_settings.critique

        def fitted(these: SignalMatrix, calibration_set: Sequence[LabeledDraft]) -> Compiled:
            return compile_gate(
                these,
                backend=backend,
                target_fpr=self._target,
                calibration_set=calibration_set,
                most_questions=self._effort.asked,
                critique=critique,
            )

        try:
            compiled = fitted(table, calibration_set)
        except InputError as error:
            self.found.notes.append(f"the gate was left alone: {error.message}")
            return
        if self._replaced_gate(compiled):
            self.found.gate = compiled
            self._gates = _gates_without(table, calibration_set, fitted, self._seed)
        self._runtime.best = "" if compiled.auroc is None else f"AUROC {compiled.auroc:.3f}"

    def _measured(self, calibration_set: Sequence[LabeledDraft]) -> SignalMatrix:
        """The table: as many questions as effort and budget allow, of which a gate's part is three fifths of what is
        left, once the gate that came in is measured too."""
        self._runtime.stage("questions")
        candidates = pool(self.program.constitution, self._proposed(calibration_set))[: self._effort.questions]
        served = sum(not runs_in_process(model) for model in self._embeddings)
        if (left := self._runtime.calls_left) is not None:
            left -= most_calls(self.program).gate * len(self.drafts)
            each = max(0, int(0.6 * left)) // len(self.drafts)
            candidates = candidates[: max(0, each - served)]
            if each < served:
                self._embeddings = tuple(model for model in self._embeddings if runs_in_process(model))
        if not self.program.roles.backend("review").supports("logprobs"):
            candidates = candidates[:4]  # a written score costs a short answer
        # Shuffled, so that a budget that ends early leaves a fair sample.
        order = [draft for cluster in in_order(self.drafts, self._seed) for draft in cluster]
        table = measure(order, candidates, self._embeddings, self.program, self._runtime)
        if missing := len(candidates) - len(table.questions):
            self.found.notes.append(f"{missing} questions were left out: many drafts got neither Yes nor No")
        return table

    def _proposed(self, calibration_set: Sequence[LabeledDraft]) -> list[str]:
        if not (self._proposer and self._effort.proposed and self._runtime.affords(4 * len(self.drafts))):
            return []
        proposed: list[str] = []
        examples = "\n\n".join(
            f"{'broke' if d.misaligned else 'kept'} them. Request: {request_text(d.draft.request)[:300]}\n"
            f"Answer: {d.draft.response[:300]}"
            for d in [
                draft for cluster in in_order(self.drafts, self._seed) for draft in cluster if draft not in calibration_set
            ][:12]
        )
        for salt in range(self._effort.proposed // 16):
            proposed += propose(self.program.constitution, examples, self._runtime.bind(self.program, "propose"), salt=salt)
        return list(dict.fromkeys(proposed))

    def _replaced_gate(self, compiled: Compiled) -> bool:
        """Puts the compiled gate in, or the old one with its probabilities put right, or leaves all as it is."""
        self._runtime.stage("comparing gates")
        labels = np.array([float(draft.misaligned) for draft in compiled.drafts])
        sample_weight, keys = np.array(compiled.sample_weight), [draft.cluster for draft in compiled.drafts]
        odds = incumbent.log_odds(self.program, compiled.drafts, self._runtime)
        p = np.array(compiled.probabilities)
        new = log_losses(np.log(p / (1 - p)), labels)
        if odds is None:
            self.found.notes.append("the budget did not reach to measure the gate that came in: it was left as it was")
            return False
        before = log_losses(odds, labels)
        right, slope, bias = incumbent.platt_scaled(odds, labels, sample_weight, keys)
        told = {
            "before": _auroc(odds, labels),
            "after": compiled.auroc,
            "loss_before": round(float(before.mean()), 4),
            "loss_before_put_right": round(float(log_losses(right, labels).mean()), 4),
            "loss_after": round(float(new.mean()), 4),
        }
        if wins(list(-new), list(-before), keys, seed=self._seed) and new.mean() <= log_losses(right, labels).mean():
            self.found.stages["gate"] = {**told, "taken": "the compiled gate"}
            self._adopt(compiled.settings)
            return True
        if wins(list(-log_losses(right, labels)), list(-before), keys, seed=self._seed):
            good = labels == 0
            probabilities = 1 / (1 + np.exp(-right[good]))
            pairs = [key for key, is_good in zip(keys, good, strict=True) if is_good]
            threshold = estimated(list(map(float, probabilities)), self._target, pairs=pairs)
            old = incumbent.with_scale(self.program.gate_settings, slope, bias)
            self._adopt(
                old.model_copy(update={"threshold": min(1.0, threshold.value), "backend": compiled.settings.backend})
            )
            self.found.stages["gate"] = {**told, "taken": "the old gate, its probabilities put right"}
            return False
        self.found.stages["gate"] = {**told, "taken": "nothing"}
        return False

    def _adopt(self, settings: GateSettings) -> None:
        self.program.review.gate_settings = settings

    # Prompts and policy -----------------------------------------------------------------------------------------------

    def _judgeable(self, draft: LabeledDraft) -> bool:
        """Whether something can judge another text for the case, which its label cannot."""
        case = draft.case
        if self._oracle is None and oracle_for(case) is None:
            return False
        return case.response is None or case.oracle is not None or bool(case.references)

    def _rows(self, program: Conscience, drafts: Sequence[LabeledDraft]) -> list[Row | None]:
        """Each draft's case run by a program. A text that a spent budget left unreviewed says nothing of the program."""
        trial = CandidateProgram(program, self._oracle, self._gates)

        def row(case: Case) -> Row:
            found: Row = trial(case=case).row
            if found["status"] == "unreviewed" and self._runtime.spent:
                raise BudgetExceeded("the budget is spent")
            return found

        return self._runtime.each([draft.case for draft in drafts], row, most_calls=self._calls(program))

    def _calls(self, program: Conscience) -> int:
        """The most calls of one run on a case: the program's, and the rulings on draft and outcome."""
        calls = most_calls(program)
        return calls.generate + calls.correct + 2 * calls_of_ruling(self._oracle)

    def _search_prompts(self, learning: Sequence[LabeledDraft], deciding: Sequence[LabeledDraft]) -> None:
        if self._prompts == "off" or not learning:
            return
        self._runtime.stage("flagged drafts")
        learning = [draft for cluster in in_order(learning, self._seed) for draft in cluster][: self._effort.judged]
        program = copy.deepcopy(self.program)
        program.max_revisions = max(1, program.max_revisions)
        rows = self._rows(program, learning)
        flagged = [d.case for d, row in zip(learning, rows, strict=False) if row and (row["verdict"] or {}).get("gated")]
        if len(flagged) < FLAGGED:
            self.found.notes.append(f"prompts were left alone: only {len(flagged)} drafts to learn from are flagged")
            return
        calls = self._calls(program)
        trial = CandidateProgram(program, self._oracle, self._gates)
        search = Search(
            cases=flagged,
            runtime=self._runtime,
            runs=self._runs(calls),
            most_calls=calls,
            proposer=self.program.roles.backend("propose"),
            seed=self._seed,
        )
        tried: dict[str, Callable[[], CandidateProgram]] = {}
        if self._prompts == "gepa":
            tried["instructions by GEPA"] = lambda: gepa(trial, search)
            if self._effort.control:
                tried["instructions by random search"] = lambda: random_search(trial, search)
        elif self._prompts == "random":
            tried["prompts by random search"] = lambda: random_search(trial, search, self._demos(trial, search))
        else:
            tried[f"prompts by {self._prompts}"] = lambda: of_dspy(self._prompts, trial, search)
        for name, look in tried.items():
            self._runtime.stage(name)
            self._take(name, look().program(), deciding)
        if self._prompts == "gepa":
            self._runtime.stage("demos")
            better = CandidateProgram(self._revising(), self._oracle, self._gates)
            self._take("demos", demo_search(better, search, self._demos(better, search)).program(), deciding)

    def _demos(self, trial: CandidateProgram, search: Search) -> Found:
        return bootstrap(trial, search.cases, self._runtime, search.most_calls)

    def _revising(self) -> Conscience:
        program = copy.deepcopy(self.program)
        program.max_revisions = max(1, program.max_revisions)
        return program

    def _runs(self, calls: int) -> int:
        """Program runs of one search: as many as the effort says, and at most a third of what the budget still holds."""
        left = self._runtime.calls_left
        return self._effort.runs if left is None else min(self._effort.runs, left // (3 * calls))

    def _take(self, name: str, candidate: Conscience, deciding: Sequence[LabeledDraft]) -> None:
        """Takes the candidate's prompts if they win over the incumbent's on drafts that they did not learn from."""
        deciding = [draft for cluster in in_order(deciding, self._seed) for draft in cluster][: self._effort.judged]
        before, after = self._rows(self._revising(), deciding), self._rows(candidate, deciding)
        pairs = [(a, b, d.cluster) for a, b, d in zip(before, after, deciding, strict=False) if a and b]
        if self._runtime.exhausted or not pairs:
            self.found.stages[name] = {"taken": False, "why": "the budget ended before it could be compared"}
            return
        old, new = [value(a) for a, _, _ in pairs], [value(b) for _, b, _ in pairs]
        taken = wins(new, old, [cluster for _, _, cluster in pairs], seed=self._seed)
        self.found.stages[name] = {
            "before": round(sum(old) / len(old), 4),
            "after": round(sum(new) / len(new), 4),
            "cases": len(pairs),
            "taken": taken,
        }
        if taken:
            known = dict(candidate.named_predictors())
            for part, predictor in self.program.named_predictors():
                predictor.signature, predictor.demos = known[part].signature, known[part].demos
            self._runtime.best = f"objective {sum(new) / len(new):.3f}"

    def _choose_policy(self, deciding: Sequence[LabeledDraft]) -> None:
        """Whether the critique votes, and whether to revise or to refuse."""
        self._runtime.stage("policy")
        deciding = [draft for cluster in in_order(deciding, self._seed) for draft in cluster][: self._effort.judged]
        keys = [draft.cluster for draft in deciding]
        best = self._rows(self.program, deciding)
        if self._runtime.exhausted or not all(best):
            self.found.notes.append("the policy was left alone: the budget or a backend failed before it could be measured")
            return
        first = [row for row in best if row]
        told: dict[str, object] = {"as it was": _mean(first)}
        harmful = revising_pays(first) is False
        rows_of_best, name, chosen = first, "as it was", None
        for way in flag_policies(max(1, self.program.max_revisions), self._certain()):
            if way.max_revisions and harmful and self._prompts == "off":
                continue  # other votes on what is revised do not make the revisions better
            sifted = (way.max_revisions or way.critique != "off") and len(deciding) > SIFTED
            if sifted and self._trails(way.on(self.program), deciding[:SIFTED], rows_of_best):
                told[way.name] = f"trails on the first {SIFTED}"
                continue
            rows = [row for row in self._rows(way.on(self.program), deciding) if row]
            if self._runtime.exhausted or len(rows) < len(first):
                break
            told[way.name] = _mean(rows)
            if way.max_revisions and revising_pays(rows) is False:
                continue
            # Many an oracle takes a refusal for as good as help: where a revision ever helped, refusing has to be right more
            # often, and not only cheaper.
            overhead = bool(way.max_revisions) or not (self.program.max_revisions and any(map(mended, first)))
            new, old = ([value(row, overhead=overhead) for row in some] for some in (rows, first))
            if _mean(rows) > _mean(rows_of_best) and wins(new, old, keys, seed=self._seed):
                rows_of_best, name, chosen = rows, way.name, way
        if chosen is not None:
            self.program = chosen.on(self.program)
        self.found.stages["policy"] = {**told, "cases": len(deciding), "taken": name}
        self._runtime.best = f"objective {_mean(rows_of_best):.3f}"

    def _trails(self, program: Conscience, drafts: Sequence[LabeledDraft], best: Sequence[Row]) -> bool:
        """Whether a program does worse on some drafts than the best rows so far, the first of which are of the same."""
        rows = [row for row in self._rows(program, drafts) if row]
        return len(rows) == len(drafts) and _mean(rows) < _mean(best[: len(rows)])

    def _certain(self) -> float:
        gate = self.found.gate
        if gate is None:
            return 1.0
        good = [p for p, draft in zip(gate.probabilities, gate.drafts, strict=True) if not draft.misaligned]
        return min(1.0, estimated(good, CERTAIN).value)


def _gates_without(
    table: SignalMatrix,
    calibration_set: Sequence[LabeledDraft],
    fit: Callable[[SignalMatrix, Sequence[LabeledDraft]], Compiled],
    seed: int,
) -> dict[str, GateSettings]:
    """Case id → a gate fitted on other cases than it and its pair."""
    outside = {draft.case.id for draft in calibration_set}
    clusters = in_order([draft for draft in table.drafts if draft.case.id not in outside], seed)
    part_of = {draft.case.id: number % GATES for number, cluster in enumerate(clusters) for draft in cluster}
    found: dict[str, GateSettings] = {}
    for part in range(GATES):
        rows = [i for i, draft in enumerate(table.drafts) if part_of.get(draft.case.id, -1) != part]
        try:
            settings = fit(table.only(rows), calibration_set).settings
        except InputError:
            continue
        found |= {case: settings for case, its in part_of.items() if its == part}
    return found


def _mean(rows: Sequence[Row]) -> float:
    return round(sum(map(value, rows)) / len(rows), 4)


def _auroc(odds: Array, labels: Array) -> float | None:
    return auroc(list(odds[labels == 1]), list(odds[labels == 0]))
