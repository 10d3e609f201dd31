"""The trained weights as a GGUF file: the base's own file, with the matrices changed that the LoRA changed.

Whatever the LoRA left alone (tokenizer, chat template, the other tensors, quantised as they are) is copied byte for byte, so
the engine runs the same model but for what was trained. A changed matrix is written in 16 bits: a LoRA's share of it may be
smaller than a step of four bits.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conscience._base.files import sync_folder
from conscience.errors import ConfigurationError, InputError
from conscience.optimizers.training.weights import extra

TURNED = {"llama": ("attn_q", "attn_k")}
"""Architecture → matrices whose rows stand in another order in a GGUF file: llama.cpp turns by neighbours what transformers
turns by halves."""


def write_merged(base: Path, changes: Mapping[str, Any], out: Path, name: str) -> None:
    """Writes a GGUF file, whole or not at all.

    Args:
        base: the GGUF file that was trained.
        changes: transformers' name of a module → what is to be added to its weights.
        out: the file.
        name: of the new model, for its metadata.

    Raises:
        ConfigurationError: a changed matrix has no place in the base.
        InputError: the file cannot be written.
    """
    gguf = extra.gguf()
    reader = gguf.GGUFReader(base)
    architecture = str(reader.fields["general.architecture"].contents())
    deltas = {_tensor_name(gguf, reader, architecture, module): delta for module, delta in changes.items()}
    if lost := sorted(set(deltas) - {tensor.name for tensor in reader.tensors}):
        raise ConfigurationError(f"{base.name} has no tensor {lost[0]}", hint="train its Hugging Face folder instead")
    with written_whole(out) as partial:
        writer = gguf.GGUFWriter(partial, architecture)
        for key, field in reader.fields.items():
            if not key.startswith("GGUF.") and key not in ("general.architecture", "general.name"):
                types = field.types
                writer.add_key_value(key, field.contents(), types[0], types[-1] if len(types) > 1 else None)
        writer.add_name(name)
        for tensor in reader.tensors:
            delta = deltas.get(tensor.name)
            if delta is None:
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
                continue
            weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            turned = _turned(delta, tensor.name, architecture, reader)
            writer.add_tensor(tensor.name, (weights + turned).astype("float16"))
        write_file(writer)


def write_file(writer: Any) -> None:
    """Writes what a gguf.GGUFWriter was given."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class written_whole:
    """A path to write a big file to, which takes its place at the end; if that fails, the old one stays.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")

    def __enter__(self) -> Path:
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                with open(self.partial, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self.partial, self.path)
                sync_folder(self.path.parent)
        except OSError as failed:
            error = failed
        finally:
            self.partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{self.path}: cannot be written: {error.strerror or error}", hint="make room") from None


def _tensor_name(gguf: Any, reader: Any, architecture: str, module: str) -> str:
    known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    blocks = int(reader.fields[f"{architecture}.block_count"].contents())
    found = architecture in known and gguf.get_tensor_name_map(known[architecture], blocks).get_name(module)
    if not found:
        raise ConfigurationError(f"it is not known where {module} stands in a GGUF file of {architecture}")
    return f"{found}.weight"


def _turned(delta: Any, tensor: str, architecture: str, reader: Any) -> Any:
    """The rows of a change in the order that they have in a GGUF file."""
    kind = tensor.split(".")[2] if tensor.startswith("blk.") else tensor
    if kind not in TURNED.get(architecture, ()):
        return delta
    key = "head_count_kv" if kind == "attn_k" else "head_count"
    field = reader.fields.get(f"{architecture}.attention.{key}") or reader.fields[f"{architecture}.attention.head_count"]
    return turned_rows(delta, int(field.contents()))


def turned_rows(matrix: Any, heads: int) -> Any:
    """llama.cpp's order of the rows of a matrix that makes queries or keys, from transformers'."""
    return matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, *matrix.shape[1:]).swapaxes(1, 2).reshape(matrix.shape)
