"""What is trained: weights on this machine, as a GGUF file or as a folder of Hugging Face's."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conscience._base.files import digest
from conscience.backends.embedded.catalogue import LOCAL, is_local, weights_named
from conscience.backends.embedded.weights import digest_of, weights_of
from conscience.errors import ConfigurationError, InputError
from conscience.optimizers.training.weights import extra


@dataclass(frozen=True)
class Base:
    """Weights to begin with.

    Attributes:
        name: what training.json and the card call them: by content, never by a path of this machine.
        path: the GGUF file, or the folder.
        licence: SPDX identifier, where it is known.
        sampling: its publisher's, where it is known.
    """

    name: str
    path: Path
    licence: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of Hugging Face's rather than a GGUF file."""
        return self.path.is_dir()

    @classmethod
    def named(cls, name: str) -> Base:
        """What a user named: ``local``, ``local:NAME``, ``local:FILE.gguf``, a GGUF file, or a folder with ``config.json``.

        Raises:
            ConfigurationError, InputError: there is nothing of that name that can be trained here.
        """
        if not is_local(name):
            path = Path(name).expanduser()
            if path.is_dir():
                return cls._folder(path)
            if path.suffix != ".gguf":
                raise InputError(
                    f"{name}: only weights on this machine can be trained here",
                    hint=f"name {LOCAL}, {LOCAL}:NAME, a GGUF file, or a folder of Hugging Face's",
                )
            name = f"{LOCAL}:{path}"
        weights = weights_of(weights_named(name))
        known = weights.model
        if known is None:
            return cls(weights.identity, weights.path())
        return cls(weights.identity, weights.path(), known.licence, known.sampling)

    @classmethod
    def _folder(cls, path: Path) -> Base:
        files = sorted(path.glob("*.safetensors"))
        if not (path / "config.json").is_file() or not files:
            raise InputError(f"{path}: holds no model", hint="a folder with config.json, *.safetensors and the tokenizer")
        content = digest([digest_of(file) for file in (path / "config.json", *files)])
        return cls(f"{path.resolve().name}@{content}", path.resolve())

    def tokenizer(self) -> Any:
        """The tokenizer, with its chat template.

        Raises:
            ConfigurationError: it has none, or cannot be read.
        """
        with self._reading():
            tokenizer = extra.transformers().AutoTokenizer.from_pretrained(*self._place, **self._options)
        if not tokenizer.chat_template:
            raise ConfigurationError(f"{self.name} has no chat template", hint="train a model that was made for chat")
        return tokenizer

    def model(self) -> Any:
        """The model, in 32 bits, as transformers has it: a GGUF file is dequantised."""
        torch = extra.torch()
        with self._reading():
            model = extra.transformers().AutoModelForCausalLM.from_pretrained(
                *self._place, dtype=torch.float32, **self._options
            )
        # Else peft and transformers treat it as a quantised model, which it no longer is.
        model.config.__dict__.pop("quantization_config", None)
        for mark in ("hf_quantizer", "quantization_method", "is_quantized"):
            model.__dict__.pop(mark, None)
        return model

    @property
    def _place(self) -> tuple[str]:
        return (str(self.path if self.is_folder else self.path.parent),)

    @property
    def _options(self) -> dict[str, Any]:
        """A GGUF file has its configuration and tokenizer inside; nothing comes from a network."""
        return {"local_files_only": True} | ({} if self.is_folder else {"gguf_file": self.path.name})

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raises:
        ConfigurationError: transformers cannot read these weights.
        """
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # its bar for dequantising knows no switch
                yield
        except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigurationError(f"transformers cannot read {self.name}: {said}") from None
