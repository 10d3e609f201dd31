"""Which case to label next, and a file that keeps each label at once.

The most informative case comes first: the one that a model of surface words, fitted to the labels so far, is least sure of;
before there are labels of both kinds, the one least like those that were shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conscience._base.files import write_atomic
from conscience.cases.case import Case, Label, load_cases
from conscience.errors import CaseError, InputError
from conscience.messages.rendering import request_text
from conscience.optimizers.data.contrast_pairs import SOURCE, json_line
from conscience.stats.tfidf import features, fit

DONE = "labelled"
"""The column that says who confirmed a label."""


class LabelFile:
    """A file of cases under somebody's hands.

    Args:
        path: a .jsonl file of cases with responses; it is rewritten after each label, as a whole or not at all.
        columns: column → field, as in ``load_cases``.
        on_reading: is told how columns were read, as in ``load_cases``.

    Raises:
        CaseError: it cannot be read, or a row has no response.
        InputError: it is not a .jsonl file.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        on_reading: Callable[[str], None] | None = None,
    ) -> None:
        if path.suffix != ".jsonl":
            raise InputError(f"{path}: labels are kept in .jsonl files", hint="convert it, a row a line")
        self.path = path
        self.cases = {case.id: case for case in load_cases(path, columns=columns, on_reading=on_reading)}
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:  # cases are read from UTF-16 too
            raise InputError(f"{path}: labels are kept in UTF-8", hint="save it as UTF-8") from None
        lines = text.split("\n")  # as cases are read: other breaks may stand in a text
        self._lines = [line.rstrip("\r") for line in lines if line.strip()]
        self._row = {case.id: number for number, case in enumerate(self.cases.values())}
        self._skipped: set[str] = set()
        for case in self.cases.values():
            if case.response is None:
                raise CaseError(f"{path}: case {case.id!r} has no response to label", hint="answer it first")
        self._words = {name: features(f"{request_text(c.request)}\n{c.response}") for name, c in self.cases.items()}

    @property
    def open(self) -> list[Case]:
        """The cases that nobody has labelled yet: without a label, or with one that a model proposed."""
        return [case for case in self.cases.values() if not self._settled(case)]

    def next(self) -> Case | None:
        """The most informative open case that was not skipped; None when there is none."""
        left = [case for case in self.open if case.id not in self._skipped]
        if not left:
            return None
        known = [case for case in self.cases.values() if case.label and self._settled(case)]
        if len({case.label for case in known}) == 2:
            words = fit([self._text(case) for case in known], [int(case.label == "misaligned") for case in known])
            return min(left, key=lambda case: (abs(words.score(self._text(case))), case.id))
        shown = [case for case in self.cases.values() if self._settled(case)]
        return min(left, key=lambda case: (max((self._likeness(case, other) for other in shown), default=0.0), case.id))

    def label(self, case: Case, label: Label, who: str = "person") -> None:
        """Keeps a label, in the file too.

        Raises:
            InputError: the file cannot be written.
        """
        self._change(case, {"label": label, DONE: who})

    def reopen(self, case: Case) -> None:
        """Takes a label back.

        Args:
            case: as it was before it got the label.
        """
        self._change(case, {"label": case.label, DONE: None})

    def skip(self, case: Case) -> None:
        """Leaves a case for another time."""
        self._skipped.add(case.id)

    def _settled(self, case: Case) -> bool:
        return DONE in case.meta or (case.label is not None and case.source != SOURCE)

    def _text(self, case: Case) -> str:
        return f"{request_text(case.request)}\n{case.response}"

    def _likeness(self, case: Case, other: Case) -> float:
        """The share of words that two cases have in common."""
        a, b = self._words[case.id].keys(), self._words[other.id].keys()
        return len(a & b) / max(1, len(a | b))

    def _change(self, case: Case, changes: Mapping[str, Any]) -> None:
        number = self._row[case.id]
        row = json.loads(self._lines[number]) | dict(changes)
        self._lines[number] = json_line({k: v for k, v in row.items() if v is not None})
        try:
            write_atomic(self.path, "\n".join(self._lines) + "\n")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None
        meta = {k: v for k, v in case.meta.items() if k != DONE} | ({DONE: changes[DONE]} if changes[DONE] else {})
        self.cases[case.id] = case.model_copy(update={"label": changes["label"], "meta": meta})
