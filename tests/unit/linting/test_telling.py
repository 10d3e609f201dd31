"""What prose tells of the code beside it, once the code is another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.linting.blocks import code_in
from conscience.linting.telling import told_anew

OLD = "for (let i = 0; i < 10; i++) {\n  code += chars[Math.floor(Math.random() * chars.length)];\n}"
NEW = "for (let i = 0; i < 10; i++) {\n  code += chars[crypto.randomInt(chars.length)];\n}"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (
            "It loops ten times. The `Math.random() * chars.length` expression gives an index. The code is returned.\n",
            "It loops ten times. The code is returned.\n",
        ),
        ("It uses Math.random for\neach letter. Then it stops.", "Then it stops."),
        ("1. **All**: a list.\n2. **One**: `Math.random()`.\n3. **Loop**: `i`.", "1. **All**: a list.\n3. **Loop**: `i`."),
        ("- `Math.floor` rounds\n- `chars.length` bounds it\n", "- `chars.length` bounds it\n"),
        ("| `Math.random()` | index |\n| `chars` | letters |\n", "| `chars` | letters |\n"),
        ("先取字母。`Math.random()` 给出下标。返回代码。", "先取字母。返回代码。"),
        ("Every letter is drawn (see `chars`). All good!", "Every letter is drawn (see `chars`). All good!"),
        ("Never use `Math.seed`; run e.g. `crypto.randomInt`.", "Never use `Math.seed`; run e.g. `crypto.randomInt`."),
    ],
    ids=["a sentence", "two lines", "an item", "a bare item", "a row", "Chinese", "what is still there", "what never was"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_is_gone_is_not_told_of(told: str, left: str, newline: str) -> None:
    text, expected = (f"Here:\n\n```javascript\n{NEW}\n```\n\n{each}" for each in (told, left))
    assert told_anew(text.replace("\n", newline), OLD, NEW) == expected.replace("\n", newline)


def test_an_argument_is_told_with_its_value() -> None:
    """`shell` is no name of a module; what is set to True is."""
    told = "With shell=True the shell reads it. The shell is old."
    assert told_anew(told, "run(cmd, shell=True)", "run(shlex.split(cmd))") == "The shell is old."


def test_code_alone_is_no_prose() -> None:
    code = "import os\n\n# os.system runs it\nrun(cmd)\n"
    assert told_anew(code, "import os\nos.system(cmd)", code) == code


_SAID = st.lists(
    st.sampled_from(["`a.b`", "a.b", "c=1", "`x y`", "word", ". ", "\n", "- ", "1. ", ": ", "```\n", "|", " ", "**"]),
    max_size=30,
).map("".join)


@given(_SAID)
def test_what_is_left_was_there(text: str) -> None:
    """Blocks stay, nothing is added, and a second look finds no more; the same code says nothing."""
    before, after = "a.b(c=1)\nx y", "z"
    assert told_anew(text, before, before) == text
    left = told_anew(text, before, after)
    rest = iter(text)
    assert all(letter in rest for letter in left)
    assert code_in(left) == code_in(text)
    assert told_anew(left, before, after) == left
