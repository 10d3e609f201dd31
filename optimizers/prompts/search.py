"""Instructions of the critique and the revision: GEPA with feedback for each, random search as its control, others too.

All of them get the same candidate to start from, the same cases and the same number of program runs, and give back a
candidate. Whether it is taken is decided elsewhere, on cases that none of them has seen.
"""

from __future__ import annotations

import contextlib
import io
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal, cast

import dspy

from conscience._dspy.lm import AdapterParseError, LMError
from conscience._redaction import redact
from conscience.backends.backend import Backend
from conscience.cases.case import Case
from conscience.errors import BudgetExceeded, ConfigurationError, ConscienceError
from conscience.evals.records import CaseRecord
from conscience.messages.wordings import WORDINGS
from conscience.optimizers.objective import value
from conscience.optimizers.prompts.candidate import CandidateProgram, example
from conscience.optimizers.prompts.demos import DemoPool, set_demos
from conscience.optimizers.prompts.trial import run_trials
from conscience.optimizers.runtime import Runtime
from conscience.usage import CallContext, UsageTracker

Method = Literal["gepa", "random", "miprov2", "simba", "off"]
METHODS: tuple[Method, ...] = ("gepa", "random", "miprov2", "simba", "off")
NEEDS: Mapping[str, str] = {"gepa": "gepa", "miprov2": "optuna", "simba": "numpy"}
"""What a method needs beside DSPy."""

REFLECTING = """These instructions are given to a language model that {task}:

<instructions>
{instructions}
</instructions>

Here is what it did with them, and what was right or wrong about it:

{examples}

Write better instructions. Keep what works, and name in general terms the distinction that these mistakes have missed; \
do not mention single examples. Stay under {limit} words. Write nothing but the instructions."""
"""Asks for instructions with feedback. ``{task}``: ``TASKS``; ``{examples}``: inputs, outputs and feedback of a few runs."""

REWRITING = """These instructions are given to a language model that {task}:

<instructions>
{instructions}
</instructions>

Write another version that may work better. Stay under {limit} words. Write nothing but the instructions."""
"""Asks for instructions without feedback: the control."""

TASKS: Mapping[str, str] = {
    "critique": "reviews an assistant's answer by some principles and lists what is wrong with it",
    "revise": "rewrites an answer that was found wrong",
}
MOST_WORDS = 180
"""Of instructions: they are read again at every call."""
EXAMPLES = 4
LONGEST = 1200
"""Characters of each input and output that a reflection is shown."""
SAMPLING: Mapping[str, Any] = {"max_tokens": 1500, "temperature": 1.0}
REASONING_SAMPLING: Mapping[str, Any] = {"max_completion_tokens": 16000}
MINIBATCH = 3
SIMBA = 3
"""Candidates of a step of SIMBA."""
CANDIDATES = 8
"""Discrete candidates that a search compares, the one that is there already among them, where its runs are few."""


def check_installed(method: str) -> None:
    """Finds what is missing before anything is spent.

    Raises:
        ConfigurationError: the method does not exist, or needs a package that is not installed.
    """
    if method not in METHODS:
        raise ConfigurationError(f"prompts={method!r} does not exist", hint=f"choose among {', '.join(METHODS)}")
    package = NEEDS.get(method)
    if package is not None and find_spec(package) is None:
        raise ConfigurationError(f"prompts={method!r} needs the package {package}", hint=f"run: pip install {package}")


@dataclass
class Search:
    """What a search has to go by.

    Attributes:
        cases: to learn from: flagged ones, since nothing else reaches a critique or a revision.
        runtime: pays.
        runs: program runs that it may take.
        most_calls: the most calls of one run.
        proposer: the model that writes instructions.
        seed: of all that is drawn.
        keeps: the share of the whole budget at which it ends: what comes after it has to be paid too.
        proposals: how often the proposer was asked so far: it is asked the same thing again only for something new.
    """

    cases: Sequence[Case]
    runtime: Runtime
    runs: int
    most_calls: int
    proposer: Backend
    seed: int = 0
    keeps: float = 0.0
    proposals: int = field(default=0)

    def propose(self, prompt: str) -> str:
        """New instructions."""
        self.proposals += 1
        sampling = REASONING_SAMPLING if self.proposer.supports("reasoning") else SAMPLING
        ctx = CallContext(UsageTracker(), "propose")
        completion = self.proposer.complete([{"role": "user", "content": prompt}], sampling, salt=self.proposals, ctx=ctx)
        return completion.text.strip().removeprefix("<instructions>").removesuffix("</instructions>").strip()

    @property
    def few(self) -> Sequence[Case]:
        """The cases that discrete candidates are compared on: so few that several candidates can be tried."""
        return self.cases[: max(MINIBATCH, self.runs // CANDIDATES)]

    @property
    def candidates(self) -> int:
        """How many candidates the runs allow, beside the one that is there already."""
        return max(0, self.runs // len(self.few) - 1)

    def score(self, candidate: CandidateProgram, *, overhead: bool = True) -> float:
        """The mean of the objective on a few cases; minus infinity where the budget does not reach.

        Args:
            overhead: whether the step's tokens count.
        """
        runs = run_trials(candidate, self.few, self.runtime, self.most_calls)
        values = [value(run.record, overhead=overhead) for run in runs if run is not None]
        return sum(values) / len(values) if values and not self.runtime.exhausted else float("-inf")

    @property
    def affordable(self) -> bool:
        """Whether one more candidate can be proposed and measured."""
        return self.affords(len(self.few) * self.most_calls + 1)

    def affords(self, calls: int) -> bool:
        """Whether so many calls can still be made, and the search is not at its end."""
        return self.runtime.affords(calls) and self.runtime.share_left > self.keeps


def gepa(start: CandidateProgram, search: Search) -> CandidateProgram:
    """Reflective evolution (Agrawal et al., arXiv 2507.19457): instructions are rewritten by what went wrong with them."""

    def proposer(
        candidate: Mapping[str, str], reflective_dataset: Mapping[str, Any], components_to_update: Sequence[str]
    ) -> dict[str, str]:
        return {
            name: search.propose(
                REFLECTING.format(
                    task=TASKS[name],
                    instructions=candidate[name],
                    examples=_shown(reflective_dataset[name][:EXAMPLES]),
                    limit=MOST_WORDS,
                )
            )
            or candidate[name]
            for name in components_to_update
            if name in reflective_dataset
        }

    # One round: a minibatch before and after, and all cases where that went well; and the proposal itself.
    round_calls = (2 * MINIBATCH + len(search.cases)) * search.most_calls + 1
    if not search.affords(round_calls):
        return start
    from gepa.api import optimize

    from conscience.optimizers.prompts.reflection import TrialAdapter

    adapter = TrialAdapter(start, search.runtime, search.most_calls, proposer, search.seed)
    with _quiet():
        try:
            found: Any = optimize(
                seed_candidate={name: part.signature.instructions for name, part in start.named_predictors()},
                trainset=list(search.cases),
                valset=list(search.cases),
                adapter=cast(Any, adapter),
                reflection_minibatch_size=MINIBATCH,
                max_metric_calls=max(1, search.runs),
                stop_callbacks=lambda state: not search.affords(round_calls),
                use_merge=True,
                track_best_outputs=False,
                seed=search.seed,
            )
        except BudgetExceeded:
            return start
    return adapter.candidate(found.best_candidate)


def random_search(start: CandidateProgram, search: Search, demos: DemoPool | None = None) -> CandidateProgram:
    """The control: candidates that are drawn and measured, and nothing learned from one to the next.

    A candidate has instructions that the proposer rewrote without knowing how they did, or demos from ``demos``, or both.
    """
    rng = random.Random(search.seed)
    sets = demos.sets(search.candidates, search.seed) if demos is not None else []
    best, best_score = start, search.score(start)
    for number in range(search.candidates):
        if not search.affordable:
            break
        if sets and number % 2 == 0:
            candidate = set_demos(start, *sets[number // 2 % len(sets)])
        else:
            candidate = _rewritten(start, rng.choice(sorted(TASKS)), search)
        score = search.score(candidate)
        if score > best_score:
            best, best_score = candidate, score
    return best


def wording_search(start: CandidateProgram, search: Search) -> CandidateProgram:
    """The best of the hand-written turns that may ask for a revision, by their mean on a few cases. A few words more or less
    are no reason to change one."""
    best, best_score = start, search.score(start, overhead=False)
    for wording in WORDINGS.values():
        if wording == start.revise.signature.instructions:
            continue
        if not search.affordable:
            break
        candidate: CandidateProgram = start.deepcopy()
        candidate.revise.signature = candidate.revise.signature.with_instructions(wording)
        if (score := search.score(candidate, overhead=False)) > best_score:
            best, best_score = candidate, score
    return best


def demo_search(start: CandidateProgram, search: Search, demos: DemoPool) -> CandidateProgram:
    """The best of different choices of demos, by their mean on a few cases."""
    best, best_score = start, search.score(start)
    for critique, revise in demos.sets(search.candidates, search.seed):
        if not search.affordable:
            break
        candidate = set_demos(start, critique, revise)
        score = search.score(candidate)
        if score > best_score:
            best, best_score = candidate, score
    return best


def of_dspy(method: str, start: CandidateProgram, search: Search) -> CandidateProgram:
    """MIPROv2 or SIMBA, as they come: instructions and demos of both predictors."""
    examples = [example(case) for case in search.few]
    runs = search.runs // len(examples)
    # SIMBA, a step: a sample and a measurement of each candidate, and of the best; at the end all of them on all cases.
    size = min(len(examples), MINIBATCH)
    steps = (search.runs - (SIMBA + 1) * len(examples)) // ((2 * SIMBA + 1) * size)
    if not search.affords(search.runs * search.most_calls) or (steps if method == "simba" else runs) < 1:
        return start
    candidate: CandidateProgram = start.deepcopy()
    for predictor in candidate.predictors():
        predictor.lm = None  # SIMBA takes the LM that is set, which is the one that reviews and revises
    with _quiet(), dspy.context(lm=candidate.lm):
        try:
            if method == "simba":
                simba = dspy.SIMBA(
                    metric=_score,
                    bsize=size,
                    num_candidates=SIMBA,
                    max_steps=steps,
                    prompt_model=search.proposer.lm,
                    num_threads=search.runtime.threads,
                )
                best: CandidateProgram = simba.compile(candidate, trainset=examples, seed=search.seed)
            else:
                mipro = dspy.MIPROv2(
                    metric=_score,
                    prompt_model=search.proposer.lm,
                    auto=None,
                    num_candidates=max(2, min(6, runs // 2)),
                    num_threads=search.runtime.threads,
                    seed=search.seed,
                )
                best = mipro.compile(candidate, trainset=examples, valset=examples, num_trials=runs, minibatch=False)
        except (ConscienceError, LMError, AdapterParseError, ValueError) as error:
            # Theirs may fail where a proposal cannot be read.
            said = str(error).splitlines() or [type(error).__name__]
            search.runtime.failures.append(redact(f"{method}: {said[0]}"))
            return start
    return best


def _score(gold: Any, prediction: Any, trace: Any = None) -> float:
    record: CaseRecord | None = getattr(prediction, "record", None)
    return 0.0 if record is None else max(0.0, min(1.0, value(record, overhead=False)))


def _rewritten(start: CandidateProgram, name: str, search: Search) -> CandidateProgram:
    changed: CandidateProgram = start.deepcopy()
    predictor = getattr(changed, name)
    prompt = REWRITING.format(task=TASKS[name], instructions=predictor.signature.instructions, limit=MOST_WORDS)
    if text := search.propose(prompt):
        predictor.signature = predictor.signature.with_instructions(text)
    return changed


def _shown(runs: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for number, run in enumerate(runs, 1):
        inputs = "\n".join(f"{name}: {str(given)[:LONGEST]}" for name, given in run["Inputs"].items())
        outputs = run["Generated Outputs"]
        said = "\n".join(f"{n}: {str(o)[:LONGEST]}" for n, o in outputs.items()) if isinstance(outputs, Mapping) else outputs
        parts.append(f"Run {number}\n{inputs}\nIt answered:\n{said}\nFeedback: {run['Feedback']}")
    return "\n\n".join(parts)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DSPy's optimizers draw bars and log every step; what matters is in the report."""
    loggers = [logging.getLogger(name) for name in ("dspy", "gepa")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
