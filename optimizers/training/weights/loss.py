"""The loss: supervised on the accepted answer, and steered away from the rejected one.

    L = L_SFT + λ · L_DPO

as in "Emergent Alignment" (Kolář, arXiv 2606.19527), with λ = 0.1 there; L_DPO is that of "Direct Preference Optimization"
(Rafailov et al., 2023). The reference is a frozen copy of the model that is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conscience.optimizers.training.weights import extra


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of a batch of pairs, one number a pair, in nats: the sum over a response's tokens.

    Attributes:
        chosen, rejected: of the responses, given the request.
        tokens: of the chosen responses.
    """

    chosen: Any
    rejected: Any
    tokens: Any


@dataclass(frozen=True)
class Loss:
    """What a batch costs.

    Attributes:
        total: the loss that is trained.
        sft: its first part: nats a token of the chosen responses.
        dpo: its second, before the weight.
        margins: β times by how much more than the reference the policy prefers chosen to rejected, a number a pair.
    """

    total: Any
    sft: Any
    dpo: Any
    margins: Any


def preference_loss(policy: Scores, reference: Scores, *, dpo_weight: float, beta: float) -> Loss:
    """The loss of a batch.

    Args:
        policy: by the weights that are trained.
        reference: by the frozen ones.
        dpo_weight: λ; with 0 the loss is supervised alone.
        beta: how hard the preference pulls away from the reference.
    """
    sft = -policy.chosen.sum() / policy.tokens.sum()
    margins = beta * ((policy.chosen - reference.chosen) - (policy.rejected - reference.rejected))
    dpo = -extra.torch().nn.functional.logsigmoid(margins).mean()
    return Loss(sft + dpo_weight * dpo, sft, dpo, margins)
