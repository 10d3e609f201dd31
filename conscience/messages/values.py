"""Values as JSON types, for whoever reads a draft or a request as text: media by their kind, never as base64."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Any

_DATA_ADDRESS = re.compile(r"data:([\w.+-]+/[\w.+-]+)?.*", re.DOTALL)
_MEDIA = frozenset({"image_url", "input_audio", "input_image", "audio_url", "video_url", "file", "input_file", "document"})


def plain_value(value: Any) -> Any:
    """A value in JSON types. A text stays as it is; what a picture or a sound is made of becomes ``(image/png)`` or so.

    Nothing that could be read is left out: reviewers see a value in this form.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, bytes | bytearray):
        return f"({len(value)} bytes)"
    if isinstance(value, Mapping):
        media = value.get("type") in _MEDIA if isinstance(value.get("type"), str) else False
        return {str(name): _medium(inner) if media else plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(inner) for inner in value]
    if _is_dspy_type(value) and isinstance(formatted := value.format(), str | list):
        parts = [_medium(part) for part in formatted] if isinstance(formatted, list) else formatted
        return parts[0] if isinstance(parts, list) and len(parts) == 1 else parts
    if hasattr(type(value), "model_fields"):
        names = {**dict.fromkeys(type(value).model_fields), **(getattr(value, "model_extra", None) or {})}
        return {name: plain_value(getattr(value, name)) for name in names}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return plain_value(value.value)
    if hasattr(value, "toDict"):  # a dspy.Example
        return plain_value(dict(value.items()))
    return str(value)


def _is_dspy_type(value: Any) -> bool:
    return hasattr(type(value), "extract_custom_type_from_annotation") and callable(getattr(value, "format", None))


def _medium(value: Any) -> Any:
    """A content part that is no text: its data by their kind."""
    if isinstance(value, str):
        if match := _DATA_ADDRESS.fullmatch(value):
            return f"({match.group(1) or 'data'})"
        return f"({len(value)} characters of data)" if len(value) > 40 and not re.search(r"\s", value) else value
    if isinstance(value, Mapping):
        if value.get("type") == "text" and isinstance(value.get("text"), str):
            return value["text"]
        return {str(name): _medium(inner) for name, inner in value.items()}
    return [_medium(inner) for inner in value] if isinstance(value, list | tuple) else plain_value(value)
