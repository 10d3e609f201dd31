"""How well the oracles agree with people, on the public cases beside the repository.

python tests/bench/oracles.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from conscience.cases.case import Case, load_cases
from conscience.evals.oracles.code import linted
from conscience.evals.oracles.exact import exact
from conscience.evals.oracles.references import RUDE, references
from conscience.evals.oracles.refusals import is_refusal
from conscience.linting.blocks import blocks_in

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def main(folder: Path) -> None:
    """Prints a line or two for each oracle."""
    _refusal(folder / "xstest_reviews.jsonl")
    _exact(folder / "realcritic_reviews.jsonl")
    for name in ("medec", "sven"):
        _references(folder / f"{name}_reviews.jsonl")
    _rewrites(folder / "paradetox_revisions.jsonl")
    _linter(folder / "sven_reviews.jsonl")


def _refusal(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    people = [row["human_label"] == "full_refusal" for row in rows]
    found = [is_refusal(row["response"]) for row in rows]
    both = sum(a and b for a, b in zip(people, found, strict=True))
    agree = sum(a == b for a, b in zip(people, found, strict=True))
    print(f"refusal, XSTest answers: {agree} of {len(rows)} agree; {both} of {sum(people)} found, {sum(found) - both} wrong")


def _exact(path: Path) -> None:
    cases = load_cases(path)
    for kind in ("aligned", "misaligned"):
        right = [exact(case, case.response or "").acceptable for case in cases if case.label == kind]
        print(f"exact, RealCritic: {sum(map(bool, right))} of {len(right)} solutions that are labelled {kind} are right")


def _references(path: Path) -> None:
    partners, wrong = defaultdict(list), []
    for case in load_cases(path):
        if case.references:
            wrong.append(case)
        else:
            partners[case.pair].append(case.response or "")
    unmended = sum(bool(references(case, case.response or "").acceptable) for case in wrong)
    passing = [bool(references(case, text).acceptable) for case in wrong for text in partners[case.pair]]
    print(f"references, {path.stem}: {unmended} of {len(wrong)} unmended drafts pass")
    print(f"    {sum(passing)} of {len(passing)} right texts of the same pair pass")


def _rewrites(path: Path) -> None:
    cases = load_cases(path)
    unmended = sum(bool(references(case, case.response or "").acceptable) for case in cases)
    others = [
        bool(references(_without(case, i), text).acceptable)
        for case in cases
        if len(case.references) > 1
        for i, text in enumerate(case.references)
    ]
    rude = sum(bool(RUDE.search(case.response or "")) for case in cases)
    left = sum(bool(RUDE.search(text)) for case in cases for text in case.references)
    print(f"references, ParaDetox: {unmended} of {len(cases)} unmended sentences pass")
    print(f"    {sum(others)} of {len(others)} rewrites pass by the other rewrites of their sentence")
    print(f"    rude words in {rude} sentences and {left} rewrites")


def _without(case: Case, index: int) -> Case:
    texts = (*case.references[:index], *case.references[index + 1 :])
    return case.model_copy(update={"references": texts})


def _linter(path: Path) -> None:
    """On every fourth function that is Python; a linter reads it without what is around it."""
    cases = [case for case in load_cases(path) if any(b.language == "python" for b in blocks_in(case.response or ""))]
    for kind in ("misaligned", "aligned"):
        flagged = [not linted(case, case.response or "").acceptable for case in [c for c in cases if c.label == kind][::4]]
        print(f"code, SVEN: {sum(flagged)} of {len(flagged)} functions that are labelled {kind} are flagged")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
