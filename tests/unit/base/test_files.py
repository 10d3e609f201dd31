"""Files: written whole or not at all, and JSON that hides nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conscience._base.files import RepeatedKey, append_line, digest, parse_json, write_atomic
from conscience.errors import InputError


@pytest.mark.parametrize("data", ["naïve", "naïve".encode()], ids=["text", "bytes"])
def test_an_atomic_write_takes_the_old_files_place(tmp_path: Path, data: str | bytes) -> None:
    """And leaves nothing else behind."""
    path = tmp_path / "a.json"
    path.write_text("old")
    write_atomic(path, data)
    assert path.read_text(encoding="utf-8") == "naïve"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("private", [True, False])
def test_a_private_file_stays_private(tmp_path: Path, private: bool) -> None:
    """Whoever writes it anew; any other file has the rights that files have here."""
    (ordinary := tmp_path / "b").write_text("")
    write_atomic(tmp_path / "a", "x", private=private)
    write_atomic(tmp_path / "a", "y")
    expected = 0o600 if private else ordinary.stat().st_mode & 0o777
    assert (tmp_path / "a").stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """And nothing else."""

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    path.write_text("old")
    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_write_reaches_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the file's content, then its name, then the folder."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda source, target: (events.append("replace"), replace(source, target))[1])
    write_atomic(tmp_path / "a", "x")
    assert events == ["fsync", "replace", "fsync"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_line_that_does_not_fit_is_named_with_its_file() -> None:
    """In one line, with what to do."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written: No space.*make room"):
            append_line(descriptor, b"{}\n", Path("rows.jsonl"))
    finally:
        os.close(descriptor)


def test_a_digest_knows_no_order_of_keys() -> None:
    """And tells values apart; a path counts as its text."""
    assert digest({"a": 1, "b": Path("x")}) == digest({"b": "x", "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest("x")) == 12
    assert digest("x", 8) == digest("x")[:8]


def test_a_repeated_key_is_named() -> None:
    """However deep it is."""
    with pytest.raises(RepeatedKey, match="'b' comes twice") as caught:
        parse_json('{"a": [{"b": 1, "b": 2}]}')
    assert caught.value.key == "b"


REFUSED = {"depth": ("[" * 100_000, "nested too deeply"), "digits": ("1" * 10_000, "thousands of digits")}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_json_that_python_cannot_hold_is_refused_in_plain_words(text: str, said: str) -> None:
    """A RecursionError would be a crash."""
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_what_is_not_json_keeps_its_place() -> None:
    """For messages that name line and column."""
    with pytest.raises(json.JSONDecodeError) as caught:
        parse_json('{\n "a": }')
    assert caught.value.lineno == 2
