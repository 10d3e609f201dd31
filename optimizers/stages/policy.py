"""The policy's stage: whether the critique votes, and whether a flagged draft is revised or refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conscience.evals.records import CaseRecord
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.figures import PolicyComparison
from conscience.optimizers.gate.threshold import estimated
from conscience.optimizers.objective import value
from conscience.optimizers.prompts.flag_policy import FlagPolicy, flag_policies, revising_pays, was_corrected
from conscience.optimizers.stages.state import CompileState, Proposal
from conscience.optimizers.stages.trials import mean_value, run_on
from conscience.program import Conscience

SIFTED = 20
"""Drafts on which a policy that writes must not trail, before it is tried on all: critiques and revisions are dear."""
CERTAIN = 0.01
"""The share of aligned drafts above the probability from which the gate may do without the critique's vote."""
AS_IT_WAS = "as it was"


class PolicyStage:
    """Offers each policy that is ahead of those before it."""

    def propose(self, state: CompileState) -> Iterator[Proposal]:
        state.runtime.stage("policy")
        drafts, came_in = state.to_compare_on(), state.program
        clusters = [draft.cluster for draft in drafts]
        measured = run_on(came_in, drafts, state)
        if state.runtime.exhausted or not all(measured):
            state.notes.append("the policy was left alone: the budget or a backend failed before it could be measured")
            return
        first = [record for record in measured if record]
        tried: dict[str, float | str] = {AS_IT_WAS: mean_value(first)}
        best, taken = first, AS_IT_WAS
        for policy in _worth_trying(came_in, first, state):
            offered = policy.on(came_in)
            if _is_dear(policy) and len(drafts) > SIFTED and _trails(offered, drafts[:SIFTED], best, state):
                tried[policy.name] = f"trails on the first {SIFTED}"
                continue
            records = [record for record in run_on(offered, drafts, state) if record]
            if state.runtime.exhausted or len(records) < len(first):
                break
            tried[policy.name] = mean_value(records)
            if policy.max_revisions and revising_pays(records) is False:
                continue
            # Many an oracle takes a refusal for as good as help: where a revision ever helped, refusing has to be right more
            # often, and not only cheaper.
            overhead = bool(policy.max_revisions) or not (came_in.max_revisions and any(map(was_corrected, first)))
            values, incumbent = ([value(r, overhead=overhead) for r in each] for each in (records, first))
            lead = mean_value(records) - mean_value(best)
            yield Proposal(offered, values, incumbent, clusters, lead)
            if state.program is offered:
                best, taken = records, policy.name
                state.stages["policy"] = PolicyComparison(dict(tried), len(drafts), taken)
        state.stages["policy"] = PolicyComparison(tried, len(drafts), taken)
        state.runtime.best = f"objective {mean_value(best):.3f}"


def _worth_trying(program: Conscience, first: Sequence[CaseRecord], state: CompileState) -> Iterator[FlagPolicy]:
    """All policies, but for those that revise where revising does harm and nothing has changed the revisions: other votes
    on what is revised do not make them better."""
    harmful = revising_pays(first) is False and state.options.prompts == "off"
    for policy in flag_policies(max(1, program.max_revisions), _override_threshold(state)):
        if not (policy.max_revisions and harmful):
            yield policy


def _is_dear(policy: FlagPolicy) -> bool:
    return bool(policy.max_revisions) or policy.critique != "off"


def _trails(program: Conscience, drafts: Sequence[LabeledDraft], best: Sequence[CaseRecord], state: CompileState) -> bool:
    """Whether a program does worse on some drafts than the best so far, whose first records are of the same drafts."""
    records = [record for record in run_on(program, drafts, state) if record]
    return len(records) == len(drafts) and mean_value(records) < mean_value(best[: len(records)])


def _override_threshold(state: CompileState) -> float:
    """A probability above which hardly any aligned draft lies."""
    if state.gate is None:
        return 1.0
    aligned = [p for p, draft in zip(state.gate.probabilities, state.gate.drafts, strict=True) if not draft.misaligned]
    return min(1.0, estimated(aligned, CERTAIN).value)
