"""A Hugging Face folder as a GGUF file, in 16 bits: so that the embedded engine can answer for what is trained.

For models of the kinds in ``KINDS`` with a byte-level BPE tokenizer, which is most of the small ones. llama.cpp's own
``convert_hf_to_gguf.py`` knows all others: its file is named as ``local:FILE.gguf`` and trained as that.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from conscience.errors import ConfigurationError
from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.merging import TURNED, turned_rows, write_file, written_whole

KINDS = ("llama", "qwen2", "qwen3")
"""transformers' ``model_type``, which is llama.cpp's name of the architecture, too."""

SPLITS: tuple[tuple[str, str], ...] = (
    (r"\p{N}{1,3}", "llama-bpe"),
    (r"\p{N}|", "qwen2"),
    (r'"Digits"', "smollm"),
    (r'"ByteLevel"', "gpt-2"),
)
"""What stands in the pre-tokenizer of a tokenizer.json → llama.cpp's name for the way it splits; the first that is found."""


def convert(folder: Path, out: Path) -> None:
    """Writes a folder's model as a GGUF file, whole or not at all.

    Raises:
        ConfigurationError: it is of another kind.
        InputError: the file cannot be written.
    """
    gguf = extra.gguf()
    config = extra.transformers().AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = str(config.model_type)
    if kind not in KINDS:
        raise _other(folder, f"a model of the kind {kind}")
    with written_whole(out) as partial:
        writer = gguf.GGUFWriter(partial, kind)
        writer.add_name(folder.name)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        _shape(writer, config)
        _vocabulary(gguf, writer, folder, config)
        _tensors(gguf, writer, folder, config, kind)
        write_file(writer)


def _shape(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(width)
    rope = dict(getattr(config, "rope_parameters", None) or {"rope_theta": getattr(config, "rope_theta", 10000.0)})
    if rope.get("rope_type", "default") != "default":
        raise _other(Path(str(config.name_or_path)), f"rotary embeddings of the type {rope['rope_type']}")
    writer.add_rope_freq_base(float(rope["rope_theta"]))


def _vocabulary(gguf: Any, writer: Any, folder: Path, config: Any) -> None:
    try:
        described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _other(folder, "a tokenizer without a tokenizer.json") from None
    splitter = json.dumps(described.get("pre_tokenizer"), ensure_ascii=False).replace("\\\\", "\\")
    split = next((name for mark, name in SPLITS if mark in splitter), None)
    if described["model"].get("type") != "BPE" or split is None or '"ByteLevel"' not in splitter:
        raise _other(folder, "a tokenizer other than byte-level BPE")
    tokens = {number: token for token, number in described["model"]["vocab"].items()}
    special: dict[int, bool] = {}
    for added in described.get("added_tokens", ()):
        tokens[added["id"]] = added["content"]
        special[added["id"]] = bool(added["special"])
    kinds = gguf.TokenType
    names, types = [], []
    for number in range(config.vocab_size):
        names.append(tokens.get(number, f"[PAD{number}]"))
        if number not in tokens:
            types.append(kinds.UNUSED)
        elif number in special:
            types.append(kinds.CONTROL if special[number] else kinds.USER_DEFINED)
        else:
            types.append(kinds.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(names)
    writer.add_token_types(types)
    gguf.SpecialVocab(folder, load_merges=True).add_to_gguf(writer, quiet=True)


def _tensors(gguf: Any, writer: Any, folder: Path, config: Any, kind: str) -> None:
    numbers = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(numbers[kind], config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in extra.safetensors().load_file(file).items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            found = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if found is None:
                raise _other(folder, f"a tensor {name}")
            matrix = tensor.float().numpy()
            part = re.sub(r"^blk\.\d+\.", "", found).partition(".")[0]
            if part in TURNED.get(kind, ()):
                matrix = turned_rows(matrix, heads[part])
            writer.add_tensor(found, matrix if matrix.ndim == 1 else matrix.astype("float16"))


def _other(folder: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{folder.name}: {what} is not written as GGUF here",
        hint="convert it with llama.cpp's convert_hf_to_gguf.py, and train local:FILE.gguf",
    )
