"""The prompts' stage: instructions and demos of critique and revision are searched, and compared on other drafts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from conscience.cases.case import Case
from conscience.optimizers.figures import PromptComparison
from conscience.optimizers.objective import value
from conscience.optimizers.prompts.candidate import CandidateProgram
from conscience.optimizers.prompts.demos import DemoPool, collect_demos
from conscience.optimizers.prompts.search import Search, demo_search, gepa, of_dspy, random_search, wording_search
from conscience.optimizers.stages.state import CompileState, Proposal
from conscience.optimizers.stages.trials import calls_of_trial, candidate_of, run_on, was_gated
from conscience.program import Conscience

FLAGGED = 4
"""Flagged drafts below which a search over prompts has nothing to learn from."""

PARTS = 3
"""One search may take one of so many parts of what is left: the policy comes last, and has to be measured too."""


class PromptStage:
    """Offers what each search found."""

    def propose(self, state: CompileState) -> Iterator[Proposal]:
        if state.options.prompts == "off" or not state.learning:
            return
        state.runtime.stage("flagged drafts")
        program = _revising(state.program)
        flagged = _flagged(program, state)
        if len(flagged) < FLAGGED:
            state.notes.append(f"prompts were left alone: only {len(flagged)} drafts to learn from are flagged")
            return
        calls = calls_of_trial(program, state)
        search = Search(
            cases=flagged,
            runtime=state.runtime,
            runs=_runs(calls, state),
            most_calls=calls,
            proposer=state.program.roles.backend("propose"),
            seed=state.options.seed,
        )
        for name, find in _searches(candidate_of(program, state), search, state).items():
            state.runtime.stage(name)
            search.keeps = _kept(state)
            yield from _compared(name, find().program(), state)
        if state.options.prompts == "gepa":
            state.runtime.stage("demos")
            search.keeps = _kept(state)
            better = candidate_of(_revising(state.program), state)
            best = demo_search(better, search, _demos(better, search))
            yield from _compared("demos", best.program(), state)


def _flagged(program: Conscience, state: CompileState) -> list[Case]:
    """The cases of the drafts that the gate flags: nothing else reaches a critique or a revision."""
    drafts = state.shuffled(state.learning)[: state.options.effort.compared]
    records = run_on(program, drafts, state)
    return [draft.case for draft, record in zip(drafts, records, strict=False) if was_gated(record)]


def _searches(candidate: CandidateProgram, search: Search, state: CompileState) -> dict[str, Callable[[], CandidateProgram]]:
    """Name → a search, by the method that was chosen."""
    method = state.options.prompts
    if method == "gepa":
        searches: dict[str, Callable[[], CandidateProgram]] = {
            "wordings": lambda: wording_search(candidate, search),
            "instructions by GEPA": lambda: gepa(candidate, search),
        }
        if state.options.effort.control:
            searches["instructions by random search"] = lambda: random_search(candidate, search)
        return searches
    if method == "random":
        return {"prompts by random search": lambda: random_search(candidate, search, _demos(candidate, search))}
    return {f"prompts by {method}": lambda: of_dspy(method, candidate, search)}


def _demos(candidate: CandidateProgram, search: Search) -> DemoPool:
    return collect_demos(candidate, search.cases, search.runtime, search.most_calls)


def _compared(name: str, candidate: Conscience, state: CompileState) -> Iterator[Proposal]:
    """The candidate's prompts, if they could be measured against the incumbent's."""
    drafts = state.to_compare_on()
    before, after = run_on(_revising(state.program), drafts, state), run_on(candidate, drafts, state)
    pairs = [(old, new, draft.cluster) for old, new, draft in zip(before, after, drafts, strict=False) if old and new]
    if state.runtime.exhausted or not pairs:
        state.stages[name] = PromptComparison()
        return
    incumbent, values = [value(old) for old, _, _ in pairs], [value(new) for _, new, _ in pairs]
    offered = _with_prompts(state.program, candidate)
    yield Proposal(offered, values, incumbent, [cluster for _, _, cluster in pairs])
    mean = sum(values) / len(values)
    taken = state.program is offered
    state.stages[name] = PromptComparison(sum(incumbent) / len(incumbent), mean, len(pairs), taken)
    if taken:
        state.runtime.best = f"objective {mean:.3f}"


def _with_prompts(program: Conscience, candidate: Conscience) -> Conscience:
    """A copy of a program with another's instructions and demos."""
    changed = copy.deepcopy(program)
    predictors = dict(candidate.named_predictors())
    for name, predictor in changed.named_predictors():
        predictor.signature, predictor.demos = predictors[name].signature, predictors[name].demos
    return changed


def _revising(program: Conscience) -> Conscience:
    """A copy that revises at least once: what is never asked cannot be learned."""
    changed = copy.deepcopy(program)
    changed.max_revisions = max(1, changed.max_revisions)
    return changed


def _runs(calls: int, state: CompileState) -> int:
    """Program runs of one search: as many as the effort says, and as its part of the calls pays for certain."""
    left = state.runtime.calls_left
    return state.options.effort.runs if left is None else min(state.options.effort.runs, left // (PARTS * calls))


def _kept(state: CompileState) -> float:
    """The share of the whole budget that a search has to leave."""
    return state.runtime.share_left * (1 - 1 / PARTS)
