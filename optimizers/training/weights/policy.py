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
        """The log-probabilities of both responses of each pair.

        A pair is one row: the request, which is read once for both, the chosen response, and the rejected one, which sees
        the request alone and stands at the positions that follow it.
        """
        torch = extra.torch()
        longest = max(len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in batch)
        first = min(len(pair.prompt) for pair in batch) - 1  # what stands before predicts no token of a response
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        positions = torch.zeros_like(ids)
        seen = torch.ones(longest, longest, dtype=torch.bool).tril().repeat(len(batch), 1, 1, 1)
        told: list[tuple[int, int, int, int]] = []  # response, row, place that predicts, token
        for row, pair in enumerate(batch):
            start, middle = len(pair.prompt), len(pair.prompt) + len(pair.chosen)
            end = middle + len(pair.rejected)
            ids[row, :end] = torch.tensor([*pair.prompt, *pair.chosen, *pair.rejected])
            positions[row, :end] = torch.tensor([*range(middle), *range(start, start + len(pair.rejected))])
            seen[row, 0, middle:, start:middle] = False
            for side, (begin, response) in enumerate(((start, pair.chosen), (middle, pair.rejected))):
                places = [start - 1, *range(begin, begin + len(response) - 1)]
                told += [(2 * row + side, row, place - first, token) for place, token in zip(places, response, strict=True)]
        kept = torch.arange(first, longest)
        logits = self.model(
            input_ids=ids.to(self.device),
            position_ids=positions.to(self.device),
            attention_mask=seen.to(self.device),
            use_cache=False,
            logits_to_keep=kept.to(self.device),
        ).logits
        response, row, place, token = torch.tensor(told, device=self.device).unbind(-1)
        each = logits.float().log_softmax(-1)[row, place, token]
        sums = torch.zeros(2 * len(batch), device=self.device).index_add(0, response, each)
        tokens = torch.tensor([float(len(pair.chosen)) for pair in batch], device=self.device)
        return Scores(sums[0::2], sums[1::2], tokens)

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
