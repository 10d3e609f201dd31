"""The model under training, and its frozen copy: the same weights without the LoRA. Needs the extra ``train``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.base import Base
from conscience.optimizers.training.weights.policy import Policy
from tests.bench.replication.questions import Message

Exchange = tuple[Sequence[Message], str]
"""What was asked, and the answer."""

RANK = 16
"""Of the LoRA."""
GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
SAMPLING = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0}


class Model:
    """A causal language model in float32 on the CPU, with one LoRA while it is trained.

    Args:
        network, tokenizer: of transformers.
        rows: texts that are read at once.

    Attributes:
        policy: the adapted model; None outside of ``adapted``.
    """

    def __init__(self, network: Any, tokenizer: Any, rows: int = 8) -> None:
        self.network, self.tokenizer, self.rows = network.eval(), tokenizer, rows
        self.policy: Policy | None = None
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        for weights in network.parameters():
            weights.requires_grad_(False)

    @classmethod
    def of(cls, base: Base) -> Model:
        return cls(base.model(), base.tokenizer())

    @contextmanager
    def adapted(self, seed: int) -> Iterator[Policy]:
        """Inside, there is a LoRA that can be trained; afterwards the model is as it was."""
        self.policy = Policy(self.network, rank=RANK, seed=seed, device="cpu")
        network, self.network = self.network, self.policy.model
        try:
            yield self.policy
        finally:
            self.network, self.policy = self.network.unload(), None
            assert self.network is network

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, the model is its frozen copy."""
        if self.policy is not None:
            with self.policy.frozen():
                yield
        else:
            yield

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens after which an answer begins."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def log_probs(self, exchanges: Sequence[Exchange]) -> tuple[Any, Any]:
        """(sum of the log-probabilities of each answer's tokens, their number), with gradients where there are any to have.

        The end of the turn counts: where to stop is a part of an answer.
        """
        torch = extra.torch()
        prompts = [self.prompt(messages) for messages, _ in exchanges]
        answers = [
            [*self.tokenizer(answer, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
            for _, answer in exchanges
        ]
        rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        width = max(map(len, rows))
        tokens = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows])
        there = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        counts = torch.zeros(tokens.shape)
        for i, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            counts[i, len(prompt) : len(row)] = 1
        first = min(map(len, prompts)) - 1  # what stands before predicts no token of an answer
        kept = torch.arange(first, width - 1)
        logits = self.network(input_ids=tokens, attention_mask=there, use_cache=False, logits_to_keep=kept).logits
        told = torch.log_softmax(logits, -1).gather(-1, tokens[:, first + 1 :, None]).squeeze(-1)
        counted = counts[:, first + 1 :]
        return (told * counted).sum(-1), counted.sum(-1)

    def scored(self, exchanges: Sequence[Exchange]) -> list[float]:
        """Mean log-probability of a token of each answer, in nats."""
        torch = extra.torch()
        means: dict[int, float] = {}
        with torch.no_grad():
            for part in self._batches([len(messages[-1]["content"]) + len(text) for messages, text in exchanges]):
                sums, counts = self.log_probs([exchanges[i] for i in part])
                means.update(zip(part, (sums / counts).tolist(), strict=True))
        return [means[i] for i in range(len(exchanges))]

    def first_words(self, asked: Sequence[Sequence[Message]], words: Sequence[tuple[str, str]]) -> list[float]:
        """For each: log P(the first word, or it with a capital) − log P(the second), at the first token of the answer."""
        torch = extra.torch()
        odds: dict[int, float] = {}
        prompts = [self.prompt(messages) for messages in asked]
        with torch.no_grad():
            for part in self._batches([len(prompt) for prompt in prompts]):
                width = max(len(prompts[i]) for i in part)
                tokens = torch.tensor([[self.pad] * (width - len(prompts[i])) + prompts[i] for i in part])
                there = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in part])
                positions = (there.cumsum(-1) - 1).clamp(min=0)
                logits = self.network(
                    input_ids=tokens, attention_mask=there, position_ids=positions, logits_to_keep=1, use_cache=False
                ).logits[:, -1]
                for i, row in zip(part, torch.log_softmax(logits, -1), strict=True):
                    bad, good = (torch.logsumexp(row[self._beginnings(word)], 0) for word in words[i])
                    odds[i] = float(bad - good)
        return [odds[i] for i in range(len(asked))]

    def _beginnings(self, word: str) -> list[int]:
        spellings = {word, word.lower(), word.capitalize()}
        return sorted({self.tokenizer(spelling, add_special_tokens=False)["input_ids"][0] for spelling in spellings})

    def generate(self, asked: Sequence[Sequence[Message]], tokens: int, *, seed: int | None = None) -> list[str]:
        """An answer to each, greedy, or sampled where there is a seed."""
        torch = extra.torch()
        answers: dict[int, str] = {}
        prompts = [self.prompt(messages) for messages in asked]
        if seed is not None:
            torch.manual_seed(seed)
        with torch.no_grad():
            for part in self._batches([len(prompt) for prompt in prompts], 3 * self.rows):
                width = max(len(prompts[i]) for i in part)
                given = torch.tensor([[self.pad] * (width - len(prompts[i])) + prompts[i] for i in part])
                there = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in part])
                sampling = GREEDY if seed is None else SAMPLING
                written = self.network.generate(
                    input_ids=given, attention_mask=there, max_new_tokens=tokens, pad_token_id=self.pad,
                    eos_token_id=self.tokenizer.eos_token_id, **sampling,
                )  # fmt: skip
                for i, row in zip(part, written[:, width:], strict=True):
                    answers[i] = self.tokenizer.decode(row, skip_special_tokens=True).strip()
        return [answers[i] for i in range(len(asked))]

    def _batches(self, lengths: Sequence[int], rows: int | None = None) -> Iterator[list[int]]:
        """Indices, those of like length together."""
        order, rows = sorted(range(len(lengths)), key=lengths.__getitem__), rows or self.rows
        for start in range(0, len(order), rows):
            yield order[start : start + rows]
