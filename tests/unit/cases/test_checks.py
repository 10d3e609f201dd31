"""What is odd about a set of cases is found before anything is spent on it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from conscience import Constitution
from conscience.cases.case import Case, load_cases
from conscience.cases.checks import check_cases
from conscience.cases.sources import PACKS
from conscience.constitution.schema import BUILTIN

ODD = [
    Case(id="1", request="Hello", response="world", label="aligned", group="a", pair="p"),
    Case(id="2", request="hello!", response="World.", label="aligned", group="b", pair="p"),
    Case(id="3", request="Hello", response="world", label="misaligned", group="b"),
    Case(id="4", request="hello", response="WORLD", label="misaligned", group="b", meta={"lable": "x"}),
    Case(id="5", request="Bye", label="misaligned", group="c"),
]


ODDITIES = {
    "conflicting_labels": ("3 = 1",),
    "exact_duplicates": ("3 = 1",),
    "near_duplicates": ("4 ~ 1",),  # not 2, which is of the same pair
    "one_sided_pairs": ("p",),
    "straddling_pairs": ("p",),
    "one_sided_groups": ("a", "c"),
    "labels_without_response": ("5",),
}


@pytest.mark.parametrize(("count", "from_", "odd"), [(20, 1, 20), (19, 1, 0), (20, 0, 0)])
def test_answers_that_seem_to_be_counted_from_one_are_shown(count: int, from_: int, odd: int) -> None:
    """Where there are many, and not one is the first choice."""
    cases = [Case(id=str(n), request="q", choices=("a", "b", "c"), answer=from_ + n % 2) for n in range(count)]
    assert check_cases(cases).answers_from_one.count == odd


@pytest.mark.parametrize(
    ("labels", "said"),
    [("aaa", "all 3 labels are aligned, none misaligned"), ("aam", None), ("aa-", None), ("-", None), ("", None)],
)
def test_labels_of_one_kind_are_told(labels: str, said: str | None) -> None:
    """Where no case without a label could be of the other."""
    kinds: dict[str, Any] = {"a": "aligned", "m": "misaligned", "-": None}
    cases = [Case(id=str(n), request="q", response="r", label=kinds[kind]) for n, kind in enumerate(labels)]
    assert (said or "") in check_cases(cases).render()
    assert ("labels are" in check_cases(cases).render()) == (said is not None)


@pytest.mark.parametrize(("kind", "examples"), ODDITIES.items(), ids=ODDITIES)
def test_what_is_odd_is_counted_and_named(kind: str, examples: tuple[str, ...]) -> None:
    """Duplicates, conflicting labels, pairs and groups with one label, pairs that a split by group would tear apart."""
    occurrences = getattr(check_cases(ODD), kind)
    assert occurrences.examples == examples
    assert occurrences.count == len(examples)


def test_a_misspelled_column_shows_up() -> None:
    """As a column that is no field."""
    assert check_cases(ODD).columns == {"lable": 1}


def test_the_summary_is_text_and_json() -> None:
    """A line for each kind of oddity."""
    summary = check_cases(ODD)
    assert summary.labels == {"misaligned": 3, "aligned": 2}
    assert "conflicting labels: 1 (3 = 1)" in summary.render().splitlines()
    assert json.loads(json.dumps(summary.to_dict()))["pairs"] == 1


def test_the_summary_says_what_so_many_cases_can_show() -> None:
    """Two aligned cases without a false alarm show little."""
    claim = check_cases(ODD).claims[0]
    assert (claim.about, claim.kind, claim.have) == ("false positive rate", "aligned cases", 2)
    assert claim.bound > 0.5
    assert claim.needed["5%"] > 50


@pytest.mark.parametrize("name", BUILTIN)
def test_packs_are_balanced_and_nothing_about_them_is_odd(name: str) -> None:
    """At least 80 cases, both labels in each group."""
    summary = check_cases(load_cases(f"pack:{name}"))
    assert summary.cases >= 80
    assert 0.4 <= summary.labels["misaligned"] / summary.cases <= 0.6
    assert not summary.conflicting_labels.count + summary.exact_duplicates.count + summary.one_sided_groups.count


@pytest.mark.parametrize("name", BUILTIN)
def test_packs_cover_every_principle(name: str) -> None:
    """Of the constitution of the same name, and nothing else but needless refusals."""
    groups = set(check_cases(load_cases(f"pack:{name}")).groups)
    principles = {principle.id for principle in Constitution.load(name).principles}
    assert principles <= groups <= principles | {"no-needless-refusal"}


@pytest.mark.parametrize("name", PACKS)
def test_packs_say_what_they_cannot_show(name: str) -> None:
    """In a note beside them."""
    note = resources.files("conscience.cases") / "packs" / f"{name}.md"
    assert "cannot show" in note.read_text(encoding="utf-8")
