"""Faults that pydantic finds, as one line for the person who wrote the data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conscience._base.validation import first_fault


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["part"] = "part"
    size: int = Field(ge=0)


class Other(BaseModel):
    kind: Literal["other"]


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    parts: list[Annotated[Part | Other, Field(discriminator="kind")]] = []


def fault_of(data: Any, **options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(data)
    return first_fault(caught.value, tags={"part", "other"}).render(known=Whole.model_fields, **options)


CASES: list[tuple[Any, str]] = [
    ({}, "key 'name' is missing"),
    ({"nmae": "x"}, "key 'nmae' is unknown; did you mean name?"),
    ({"name": "x", "quite else": 1}, "key 'quite else' is unknown; known: name, parts"),
    ({"name": 5}, "key 'name': 5 is not a valid string"),
    ({"name": "x", "parts": [{"kind": "part", "size": -1}]}, "key 'parts[0].size': -1 is not greater than or equal to 0"),
    ([], "[] is not a valid dictionary or instance of Whole"),
]


@pytest.mark.parametrize(("data", "line"), CASES, ids=range(len(CASES)))
def test_a_fault_is_one_line(data: Any, line: str) -> None:
    """It names the place, and an unknown key before what is missing because of it."""
    assert fault_of(data) == line


def test_callers_choose_their_words() -> None:
    """The noun, and what is said of a kind of fault."""
    wording = {"string_type": lambda value: f"must be a text, not {type(value).__name__}"}
    assert fault_of({"name": 5}, noun="field", wording=wording) == "field 'name': must be a text, not int"
