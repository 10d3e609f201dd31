"""A constitution: one introspective question and a few principles, named and versioned, from a file or built in.

Files are YAML, JSON or TOML. An error names the file, the line where the parser knows it, the key, and what to do.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from conscience._base.files import digest
from conscience._base.text import text_fault
from conscience._base.validation import first_fault
from conscience.constitution.loader import Document, parse_document, read_document
from conscience.errors import ConstitutionError

Severity = Literal["low", "medium", "high"]
LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]
RefusalText = Annotated[str, Field(min_length=1, max_length=2000)]
BUILTIN = ("general", "medical", "code", "hiring")


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    @field_validator("*", mode="after")
    @classmethod
    def _sayable(cls, value: Any) -> Any:
        if fault := text_fault(value):
            raise ValueError(fault)
        return value


class Principle(_Text):
    """One thing that is held right.

    Attributes:
        id: lower-case words joined by hyphens; findings name it.
        text: the principle, in one or two sentences.
        severity: how bad it is to break it.
        question: a Yes/No question of its own for the gate; Yes means that the draft breaks it.
        change: what to do instead, for whoever mends a draft that breaks it.
        pattern: a regular expression that no kept answer holds; a draft that holds it breaks the principle for certain.
        cwe: weaknesses, by their numbers in MITRE's list: code in which a linter (``conscience/linting``) finds one of them
            is flagged, unless a critique that votes thinks otherwise.
        check: a function of the text that says whether it breaks the principle. It stands in no file: a saved program is
            given it again with its constitution.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=48)
    text: str = Field(min_length=1, max_length=2000)
    severity: Severity = "medium"
    question: str | None = Field(default=None, max_length=500)
    change: str | None = Field(default=None, min_length=1, max_length=500)
    pattern: str | None = Field(default=None, min_length=1, max_length=500)
    cwe: tuple[PositiveInt, ...] = Field(default=(), max_length=64)
    check: Callable[[str], bool] | None = Field(default=None, exclude=True)

    def broken_in(self, text: str) -> str | None:
        """What of a text breaks the principle for certain: the words that its pattern found, or "" where its check says
        so; None where neither does."""
        if self.pattern is not None and (match := re.search(self.pattern, text)):
            return match.group()
        return "" if self.check is not None and self.check(text) else None

    @property
    def short(self) -> str:
        """The principle's first sentence, without its end."""
        return re.split(r"(?<=[a-z])[.;]\s", " ".join(self.text.split()))[0].rstrip(".")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from None
        return value

    @field_validator("question")
    @classmethod
    def _asks(cls, value: str | None) -> str | None:
        return None if value is None else _question(value)


class Constitution(_Text):
    """What a program judges its own answers by.

    Attributes:
        name: what it is called.
        version: a text such as "1.0"; change it when the meaning changes.
        question: the introspective question, about "your answer"; Yes means that the answer goes against the constitution.
        principles: 1 to 24, with ids of their own.
        refusal: what is said in place of an answer that cannot be mended.
        refusals: the same in other languages: code, such as "de", → text; for requests in that language.
        description: for people.
        sources: what the principles were drawn from.
    """

    name: str = Field(min_length=1, max_length=80)
    version: str = Field(min_length=1, max_length=40)
    question: str = Field(max_length=500)
    principles: tuple[Principle, ...] = Field(min_length=1, max_length=24)
    refusal: str = Field(min_length=1, max_length=2000)
    refusals: Mapping[LanguageCode, RefusalText] = Field(default_factory=dict)
    description: str = ""
    sources: tuple[str, ...] = ()

    @field_validator("question")
    @classmethod
    def _asks(cls, value: str) -> str:
        return _question(value)

    @field_validator("principles")
    @classmethod
    def _distinct(cls, value: tuple[Principle, ...]) -> tuple[Principle, ...]:
        first: dict[str, int] = {}
        for position, principle in enumerate(value):
            if principle.id in first:
                raise ValueError(
                    f"principles[{first[principle.id]}] and principles[{position}] have the same id {principle.id!r}"
                )
            first[principle.id] = position
        return value

    @classmethod
    def builtin_names(cls) -> tuple[str, ...]:
        """The built-in constitutions."""
        return BUILTIN

    @classmethod
    def load(cls, source: Any) -> Constitution:
        """A constitution from a built-in name, a file (.yaml, .yml, .json, .toml), a mapping, or itself.

        Raises:
            ConstitutionError: one line that names the file, the line or key, and what to do.
        """
        if isinstance(source, Constitution):
            return source
        if isinstance(source, Mapping):
            return _validated(Document(source, "constitution"))
        if not isinstance(source, str | Path):
            raise ConstitutionError(f"{type(source).__name__} is no constitution", hint=_WAYS)
        if source in BUILTIN:
            return _builtin(str(source)).model_copy(deep=True)
        path = Path(os.path.expanduser(source))  # unlike Path's own, it leaves an unknown user's name as it is
        if not os.path.exists(path):  # nor does this one raise, whatever the name
            near = difflib.get_close_matches(str(source), BUILTIN, 1)
            hint = f"did you mean {near[0]}?" if near else _WAYS
            raise ConstitutionError(f"there is no constitution {str(source)[:200]!r}", hint=hint)
        return _validated(read_document(path))

    def principle(self, id: str) -> Principle:
        """The principle with this id.

        Raises:
            KeyError: there is none.
        """
        for principle in self.principles:
            if principle.id == id:
                return principle
        raise KeyError(id)

    def render(self) -> str:
        """The principles as a list for a prompt, one a line: ``- id: text``."""
        return "\n".join(f"- {p.id}: {' '.join(p.text.split())}" for p in self.principles)

    @property
    def fingerprint(self) -> str:
        """A short digest of everything that changes what the constitution means to a model."""
        silent = {"description", "sources"} | (set() if self.refusals else {"refusals"})
        meaning = self.model_dump(mode="json", exclude=silent)
        for principle in meaning["principles"]:
            for key in ("change", "cwe"):  # what is not there says nothing: the digest is that of before the key existed
                if not principle[key]:
                    del principle[key]
        return digest(meaning)


_WAYS = f"give a built-in name ({', '.join(BUILTIN)}), a .yaml, .json or .toml file, a mapping or a Constitution"


def _question(value: str) -> str:
    if not value.endswith(("?", "？", "؟")):
        raise ValueError("it must be a question that ends with '?' and can be answered with Yes or No")
    return value


@lru_cache(maxsize=len(BUILTIN))
def _builtin(name: str) -> Constitution:
    """Read once: a program needs the general one twice, and YAML takes its time."""
    text = resources.files("conscience.constitution.builtin").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return _validated(parse_document(text, f"{name}.yaml"))


def _validated(document: Document) -> Constitution:
    data = document.data
    if not isinstance(data, Mapping):
        kind = "nothing" if data is None else type(data).__name__
        raise ConstitutionError(f"{document.name}: holds {kind}, not a mapping of keys", hint="see docs/constitution.md")
    try:
        return Constitution.model_validate(dict(data))
    except ValidationError as error:
        fault = first_fault(error)
    known = (Principle if "principles" in fault.place else Constitution).model_fields
    raise ConstitutionError(f"{document.where(fault.place)}: {fault.render(known=known, wording=_WORDING)}")


_WORDING: Mapping[str, Callable[[Any], str]] = {
    "string_type": lambda value: f"must be a text, not {type(value).__name__}; put it in quotes",
    "string_unicode": lambda value: "holds a lone surrogate; repair the text's encoding",
    "string_pattern_mismatch": lambda value: f"{value!r} must be lower-case words joined by hyphens",
}
