"""A line of code in a text: the statement that it belongs to, and other code in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.linting.lines import replaced, replacement, statement_at

ANSWER = '''Here you are:

```python
import tarfile

def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(path=folder)
    subprocess.run(
        command,
        shell=True,
    )
    page = f"""
    <h1>{name}</h1>
    """
    rights = {
        "a": "b",
    }
```

```bash
wget -qO- https://get.example/install.sh | sh
```
'''


def rewritten(text: str, old: str, reply: str) -> str | None:
    new = replacement(text, old, reply)
    return None if new is None else replaced(text, old, new)


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        ("tar.extractall(path=folder)", "        tar.extractall(path=folder)"),
        ("shell=True,", "    subprocess.run(\n        command,\n        shell=True,\n    )"),
        ("<h1>{name}</h1>", '    page = f"""\n    <h1>{name}</h1>\n    """'),
        ('"a": "b",', '    rights = {\n        "a": "b",\n    }'),
        ("with tarfile.open(archive) as tar:", "    with tarfile.open(archive) as tar:"),
        ("wget -qO- https://get.example/install.sh | sh", "wget -qO- https://get.example/install.sh | sh"),
        ("nothing like it", ""),
        ("", ""),
    ],
)
def test_a_line_is_a_part_of_a_statement(line: str, statement: str) -> None:
    """A keyword argument alone would read like a statement, too."""
    assert statement_at(ANSWER, line) == statement


def test_what_stands_in_place_has_its_indentation_and_its_end() -> None:
    """Nothing else of the text changes."""
    old = "        tar.extractall(path=folder)"
    reply = "Sure:\n\n```python\ntar.extractall(path=folder, filter='data')\n```\n\nThis refuses what leaves the folder."
    changed = rewritten(ANSWER, old, reply)
    assert changed == ANSWER.replace("(path=folder)", "(path=folder, filter='data')")
    assert (
        rewritten('{\n  "a": "*",\n}', '  "a": "*",', '"a": "https://app.example"') == '{\n  "a": "https://app.example",\n}'
    )
    assert rewritten("  eval(x)\n  eval(x)", "  eval(x)", "`parse(x)`") == "  parse(x)\n  parse(x)"


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I would use filter here.\nIt is safer.",
        "```python\ntar.extractall(path=folder)\n```",
        "```python\n# removed\n```",
        "```python\npass\n```",
        "```python\nwith tarfile.open(archive) as tar:\n    names = tar.getnames(\n```",
        "```python\n" + "step()\n" * 9 + "```",
        "```python\ntar.extractall(path=folder, filter='data')",
    ],
    ids=["nothing", "prose", "the same", "a comment", "pass", "an open bracket", "another answer", "cut off"],
)
def test_what_is_no_line_takes_no_place(reply: str) -> None:
    """Least of all the line that is only taken out: what it did would be lost."""
    assert rewritten(ANSWER, "        tar.extractall(path=folder)", reply) is None


def test_a_line_with_a_comma_is_replaced_by_no_comma_alone() -> None:
    assert rewritten("f(\n  eval(x),\n)", "  eval(x),", "") is None
    assert rewritten("f(\n  eval(x),\n)", "  eval(x),", "eval(x)") is None


def test_a_variable_of_the_shell_is_not_lost() -> None:
    """A command without its address passes every linter, and does nothing."""
    old = 'curl -k "$URL" -o "$OUT"'
    assert rewritten(old, old, 'curl -o "$OUT"') is None
    assert rewritten(old, old, 'curl --cacert ca.pem "${URL}" -o "$OUT"') == 'curl --cacert ca.pem "${URL}" -o "$OUT"'


def test_a_template_may_become_a_parameter() -> None:
    old = "db.query(`SELECT id FROM users WHERE name = '${name}'`);"
    assert rewritten(old, old, "db.query('SELECT id FROM users WHERE name = ?', [name]);") is not None
    assert rewritten(old, old, "db.query('SELECT id FROM users');") is None


def test_an_import_may_stand_for_an_import() -> None:
    text = "```python\nimport pickle\nprint(1)\n```"
    assert rewritten(text, "import pickle", "```python\n\nimport json\n\n```") == text.replace("pickle", "json")


def test_what_returned_returns() -> None:
    assert rewritten("    return eval(text)", "    return eval(text)", "values = ast.literal_eval(text)") is None
    reply = "```python\nvalues = ast.literal_eval(text)\nreturn values\n```"
    assert rewritten("    return eval(text)", "    return eval(text)", reply) is not None


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("", "const crypto = require('crypto');\n"),
        ("import fs from 'fs';\n", "import crypto from 'crypto';\n"),
        ("const crypto = require('node:crypto');\n", ""),
        ("import * as crypto from 'crypto';\n", ""),
    ],
)
def test_javascript_is_given_the_module_that_it_calls(head: str, line: str) -> None:
    """The browser's crypto, which is there without it, has none of these functions."""
    code = f"```javascript\n{head}code += Math.floor(Math.random() * 9);\n```"
    changed = rewritten(code, "code += Math.floor(Math.random() * 9);", "code += crypto.randomInt(9);")
    assert changed == f"```javascript\n{line}{head}code += crypto.randomInt(9);\n```"


COUNT = """```python
from xml.etree.ElementTree import iterparse

def count(path):
    total = 0
    for event, element in iterparse(path):
        total += 1
    return total
```"""
LOOP = """```bash
#!/bin/bash
URL="https://get.example/a.tgz"
for d in projects/*/; do
  (cd "$d" && eval "$1")
done
curl -k "$URL" -o a.tgz
tar xzf a.tgz
```"""
FOR = "    for event, element in iterparse(path):"
EVAL = '  (cd "$d" && eval "$1")'
CURL = 'curl -k "$URL" -o a.tgz'
AROUND = {
    "all of the function": (
        COUNT,
        FOR,
        COUNT.replace("xml.etree", "defusedxml"),
        COUNT.replace(FOR, f"    from defusedxml.ElementTree import iterparse\n{FOR}"),
    ),
    "another function": (COUNT, FOR, "```python\ndef count_all(path):\n    return len(list(iterparse(path)))\n```", None),
    "a part of it": (COUNT, FOR, f"```python\ndef count(path):\n{FOR}\n        print(event)\n```", None),
    "the loop around it": (
        LOOP,
        EVAL,
        '```bash\n#!/bin/bash\nfor d in projects/*/; do\n  (cd "$d" && "$@" "$1")\ndone\n```',
        LOOP.replace('eval "$1"', '"$@" "$1"'),
    ),
    "the next line": (LOOP, CURL, '```bash\ncurl "$URL" -o a.tgz\ntar xzf a.tgz\n```', LOOP.replace("curl -k", "curl")),
    "a block that does not end": (LOOP, CURL, '```bash\nif [ "$URL" ]; then\n  curl "$URL" -o a.tgz\n```', None),
    "another line of it": (LOOP, CURL, '```bash\ncurl "$URL" -o b.tgz\nURL="https://get.example/a.tgz"\n```', None),
}


@pytest.mark.parametrize(("text", "old", "reply", "changed"), AROUND.values(), ids=AROUND)
def test_what_stands_around_the_line_does_not_come_twice(text: str, old: str, reply: str, changed: str | None) -> None:
    """Small models write the lines around it as well: a function inside of itself passes every linter, and does nothing."""
    assert rewritten(text, old, reply) == changed


def test_a_name_in_a_statement_is_no_variable_of_the_shell() -> None:
    """A placeholder that nothing fills deletes nobody."""
    text = """```bash
name=$1
sqlite3 app.db "DELETE FROM users WHERE name='$name';"
```"""
    old = """sqlite3 app.db "DELETE FROM users WHERE name='$name';\""""
    assert rewritten(text, old, 'sqlite3 app.db "DELETE FROM users WHERE name=?;"') is None


FILES = {
    "both files": ("openssl aes-256-cbc -in b.tar -out b.tar.enc", "openssl enc -aes-256-cbc -pbkdf2", False),
    "the address": ("curl -k https://get.example/a.tgz -o a.tgz", 'curl --cacert ca.pem "$URL" -o a.tgz', False),
    "its scheme alone": ("curl http://get.example/a.tgz -o a.tgz", "curl https://get.example/a.tgz -o a.tgz", True),
    "a known name in /tmp": ('sort "$1" > /tmp/sorted.txt', 'sort "$1" > "$(mktemp)"', True),
    "the folder": ("chmod -R 777 /srv/uploads", "chmod -R 700 .", False),
    "a secret": ("export API_TOKEN=sk.live.1234", 'export API_TOKEN="$API_TOKEN_FILE"', True),
    "another secret": ('curl -H "Authorization: Bearer a.b.c" https://x.example/', "curl -K conf https://x.example/", True),
}


@pytest.mark.parametrize(("old", "new", "taken"), FILES.values(), ids=FILES)
def test_a_line_of_the_shell_keeps_its_files_and_addresses(old: str, new: str, taken: bool) -> None:
    """Without them it is clean, and does nothing."""
    text = f"```bash\n{old}\n```"
    assert rewritten(text, old, new) == (f"```bash\n{new}\n```" if taken else None)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=12), st.integers(0, 11), st.text(max_size=60))
def test_any_text_is_read(lines: list[str], number: int, reply: str) -> None:
    """What is found stands in the text, and what stands around it stays as it is."""
    text = "\n".join(lines)
    found = statement_at(text, lines[number % len(lines)].strip())
    assert f"\n{found}" in f"\n{text}"
    changed = rewritten(text, found, reply) if found else None
    if changed is not None:
        before, _, after = f"\n{text}\n".partition(f"\n{found}\n")
        assert f"\n{changed}".startswith(f"{before}\n")
        assert f"{changed}\n".endswith(f"\n{after}") or f"\n{found}\n" in f"\n{after}"
