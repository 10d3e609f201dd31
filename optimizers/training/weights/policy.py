"""The model under training: frozen weights with a LoRA on them. Switched off, the LoRA leaves the reference."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conscience._base.files import write_atomic
from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.loss import Scores
from conscience.optimizers.training.weights.tokens import EncodedPair

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""The matrices that get a LoRA: those of attention, by the names that nearly all models of transformers' give them."""


def device_of(name: str) -> str:
    """A device by its name; ``auto`` is a GPU where torch finds one, and the CPU elsewhere."""
    torch = extra.torch()
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Policy:
    """A causal language model of transformers' with a LoRA.

    Args:
        model: in 32 bits.
        rank: of the LoRA; its scale is twice that.
        seed: of the LoRA's first values.
        device: as torch names it.
    """

    def __init__(self, model: Any, *, rank: int, seed: int, device: str) -> None:
        torch, peft = extra.torch(), extra.peft()
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=list(TARGETS), task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers, nothing of ours
            self.model = peft.get_peft_model(model, config).to(device).eval()  # there is no dropout to switch on
        self.device = device

    @property
    def trained(self) -> dict[str, Any]:
        """The tensors that are trained, by name, always in the same order."""
        return {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}

    def load(self, tensors: Mapping[str, Any]) -> None:
        """Puts values in place of those that were trained so far."""
        with extra.torch().no_grad():
            for name, tensor in self.trained.items():
                tensor.copy_(tensors[name])

    def copied(self) -> dict[str, Any]:
        """The values of what is trained, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.trained.items()}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, the model is the reference: no LoRA, no gradients."""
        with extra.torch().no_grad(), self.model.disable_adapter():
            yield

    def scores(self, batch: Sequence[EncodedPair]) -> Scores:
        """The log-probabilities of both responses of each pair."""
        torch = extra.torch()
        rows = [(pair.prompt, response) for pair in batch for response in (pair.chosen, pair.rejected)]
        longest = max(len(prompt) + len(response) for prompt, response in rows)
        first = min(len(prompt) for prompt, _ in rows) - 1  # what stands before predicts no token of a response
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask, counts = torch.zeros_like(ids), torch.zeros(len(rows), longest - 1 - first)
        for row, (prompt, response) in enumerate(rows):
            end = len(prompt) + len(response)
            ids[row, :end] = torch.tensor([*prompt, *response])
            mask[row, :end] = 1
            counts[row, len(prompt) - 1 - first : end - 1 - first] = 1
        ids, mask, counts = ids.to(self.device), mask.to(self.device), counts.to(self.device)
        kept = torch.arange(first, longest - 1, device=self.device)
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits.float()
        told = logits.log_softmax(-1).gather(-1, ids[:, first + 1 :].unsqueeze(-1)).squeeze(-1)
        sums = (told * counts).sum(-1)
        return Scores(sums[0::2], sums[1::2], counts.sum(-1)[0::2])

    def next_token(self, prompt: Sequence[int]) -> Any:
        """The log-probabilities of the token after a prompt, for the whole vocabulary, on the CPU."""
        torch = extra.torch()
        with torch.no_grad():
            ids = torch.tensor([list(prompt)], device=self.device)
            return self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float().log_softmax(-1).cpu()

    def changes(self) -> dict[str, Any]:
        """Module → what is to be added to its weights (a numpy matrix): the LoRA, multiplied out."""
        found: dict[str, Any] = {}
        for name, module in self.model.get_base_model().named_modules():
            if hasattr(module, "get_delta_weight"):
                found[name] = module.get_delta_weight("default").detach().float().cpu().numpy()
        return found

    def save_adapter(self, folder: Path, base: str) -> None:
        """The LoRA as peft keeps it.

        Args:
            base: what it says of the weights that it belongs to; peft would write a path of this machine.
        """
        self.model.save_pretrained(folder, save_embedding_layers=False)  # else peft looks for the base on the hub
        (folder / "README.md").unlink(missing_ok=True)  # peft's own card, an empty form
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        write_atomic(path, json.dumps(config | {"base_model_name_or_path": base}, indent=2) + "\n")
