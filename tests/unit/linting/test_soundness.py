"""Whether code that was changed still holds together."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from conscience import Conscience
from conscience.backends.storage.journal import Journal
from conscience.linting.soundness import broken_by_change, with_imports
from conscience.testing import ScriptedLM, by_stage

pytest.importorskip("bandit")

FINE = "import re\n\ndef words(text):\n    return re.findall(r'\\w+', text)"


def fenced(code: str, language: str = "python") -> str:
    return f"Here it is:\n\n```{language}\n{code}\n```\n"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (FINE, ""),
        (FINE.replace("import re\n\n", ""), "nothing defines re"),
        (FINE.replace("import re", "from re import findall"), "nothing defines re"),
        (FINE + "\n\nprint(words(", "its Python has a syntax error"),
        ("from defusedxml import sax, xml.etree.ElementTree as ET\n" + FINE, "its Python has a syntax error"),
        ("import ast\n\ndef words(text):\n    return [node.id for node in ast.walk(ast.parse(text))]", ""),
        ("from re import *\n\ndef words(text):\n    return findall(r'\\w+', text)", ""),
        ("def words(text):\n    global re\n    import re\n    return re.findall('.', text)", ""),
        ("def words(text):\n    import re\n    return [m for m in re.findall('.', text) if (n := m) and n]", ""),
        ("class Words:\n    kind = str\n    def of(self, text: str) -> list[kind]:\n        return text.split()", ""),
        ("def words(text):\n    try:\n        return text.split()\n    except* ValueError as e:\n        raise e", ""),
        ("if __name__ == '__main__':\n    print(__file__, '\\d')", ""),
        (
            "import html\n\ndef words(text):\n    html = f'<p>{html.escape(text)}'\n    return html",
            "html is read before it has a value",
        ),
        ("def words(text):\n    text = text.split()\n    return text", ""),
        ("def words(text, n=0):\n    for n in text:\n        n = n + n\n    m = n\n    m = m + n\n    return m", ""),
        ("def words(text):\n    t = [t for t in text]\n    f = lambda: f\n    return t, f", ""),
        (
            "def words(text):\n    import re\n    re = re.I\n    try: ...\n    except OSError as e:\n        e = e.args",
            "",
        ),
    ],
)
def test_what_no_longer_holds_together(after: str, said: str) -> None:
    """Syntax, and names that nothing defines; what Python allows is let be, and nothing is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert broken_by_change(fenced(FINE), fenced(after)) == said
        assert broken_by_change(FINE, after) == (
            "" if "syntax" in said else said
        )  # a bare text that cannot be read is no code


@pytest.mark.parametrize("statement", ["return {'a': 1}", "break", "yield 1"])
def test_what_stands_in_no_function_is_a_syntax_error(statement: str) -> None:
    """The parser alone takes it; a notebook's ``await`` is right."""
    assert broken_by_change(fenced("print({'a': 1})"), fenced(statement)) == "its Python has a syntax error"
    assert broken_by_change(fenced("ask = print\nask()"), fenced("ask = print\nawait ask()")) == ""


@pytest.mark.parametrize("terms", [900, 2500, 5000])
def test_code_may_be_deep(terms: int) -> None:
    """A long sum is a tree as deep as it is long; what no interpreter could read is a syntax error."""
    code = f"def f(a):\n    x = {'+'.join(['a'] * terms)}\n    return x"
    assert broken_by_change(fenced("def f(a):\n    return a"), fenced(code)) in ("", "its Python has a syntax error")


def test_only_what_the_change_broke() -> None:
    """A snippet may use what is around it, and one that was broken before, or none, tells nothing."""
    part = "with app.test_client() as client:\n    client.get('/')"
    assert broken_by_change(fenced(part), fenced(part.replace("'/'", "'/a'"))) == ""
    assert broken_by_change(fenced(part), fenced(part + "\nprint(answer)")) == ""
    assert broken_by_change(fenced("def f(:"), fenced("def g(:")) == ""
    assert broken_by_change("No code.", fenced("def g(:")) == ""
    assert broken_by_change(fenced(FINE), "I would rather not.") == ""
    assert broken_by_change(fenced("import re"), fenced("re.sub") + fenced("import re")) == ""
    assert broken_by_change(fenced("let a = (1", "js"), fenced("let b = (", "js")) == ""


LOST = [
    (
        "import json\nimport re",
        "x = re.sub(json.dumps(1), '', '')",
        "import json\nimport re\nx = re.sub(json.dumps(1), '', '')",
    ),
    ("import re, json", "re.sub('a', 'b', 'c')", "import re\nre.sub('a', 'b', 'c')"),
    ("from a.b import c as d, e", "d()", "from a.b import c as d\nd()"),
    ("import xml.etree.ElementTree as ET", "ET.parse(1)", "import xml.etree.ElementTree as ET\nET.parse(1)"),
    ("import os.path", "os.path.join('a')", "import os.path\nos.path.join('a')"),
    ("import re", '"""Words."""\nfrom __future__ import annotations\nre.sub', None),
    ("import re", "#!/usr/bin/env python\nre.sub", "#!/usr/bin/env python\nimport re\nre.sub"),
    ("def f():\n    import re\n    return re", "def f():\n    return re", "import re\ndef f():\n    return re"),
    ("import re", "import re\nre.sub", "import re\nre.sub"),
    ("import pickle", "json.dumps(1)", "import json\njson.dumps(1)"),
    ("import pickle", "json.dumps(os.environ)", "import json\nimport os\njson.dumps(os.environ)"),
    ("import re", "def f():\n    re.sub\n    \n    re.sub", "import re\ndef f():\n    re.sub\n    \n    re.sub"),
    ("import pickle", "bcrypt.hashpw(1)", "bcrypt.hashpw(1)"),
    (
        "import xml.etree.ElementTree as ET",
        "defusedxml.ElementTree.fromstring(defusedxml.minidom.parse(1))",
        "import defusedxml.ElementTree\nimport defusedxml.minidom\n"
        "defusedxml.ElementTree.fromstring(defusedxml.minidom.parse(1))",
    ),
    ("import xml.sax", "defusedxml.parse(1)", "defusedxml.parse(1)"),
    ("import pickle", "print(json)", "print(json)"),
    ("import pickle", "json.dumps(json)", "json.dumps(json)"),
    ("import pickle", "def f(json):\n    return json.dumps(1)", "def f(json):\n    return json.dumps(1)"),
    ("import my.json as json", "json.dumps(1)", "import my.json as json\njson.dumps(1)"),
    ("import re\nunknown()", "re.sub", "re.sub"),
    ("from re import *", "sub('a', 'b', 'c')", "sub('a', 'b', 'c')"),
    ("import re", "re.sub(", "re.sub("),
]


@pytest.mark.parametrize(("before", "after", "mended"), LOST)
def test_imports_that_are_lacking_are_put_in(before: str, after: str, mended: str | None) -> None:
    """Those alone that the draft had, or that a standard module's attributes tell; in their place, and nowhere else."""
    if mended is None:
        mended = '"""Words."""\nfrom __future__ import annotations\nimport re\nre.sub'
    found = with_imports(fenced(before), fenced(after))
    assert found == fenced(mended)
    assert with_imports(fenced(before), found) == found
    assert with_imports("No code.", fenced(after)) == fenced(after)


FITTING = [
    ("x = 1", "datetime.now()", ["from datetime import datetime"]),
    ("x = 1", "datetime.datetime.now()", ["import datetime"]),
    ("x = 1", "datetime.now(datetime.timezone.utc)", []),
    ("import datetime\ndatetime.date", "datetime.now()", ["from datetime import datetime"]),
    ("import datetime as dt\ndt.datetime", "dt.datetime.now()", ["import datetime as dt"]),
    ("from datetime import datetime", "datetime.datetime.now()", ["import datetime"]),
    ("from datetime import datetime", "datetime.now(), datetime(2020, 1, 1)", ["from datetime import datetime"]),
    ("from datetime import datetime", "datetime.unknown()", []),
    ("from time import time", "time.time()", ["import time"]),
    ("from random import random", "random.choice([1])", ["import random"]),
    ("from glob import glob", "glob.glob('*')", ["import glob"]),
    ("x = 1", "urllib.parse.quote('a')", ["import urllib.parse"]),
    ("x = 1", "urllib.request.urlopen(urllib.parse.quote('a'))", ["import urllib.parse", "import urllib.request"]),
    (
        "import urllib.request\nimport urllib.parse",
        "urllib.request.urlopen(urllib.parse.quote('a'))",
        ["import urllib.request", "import urllib.parse"],
    ),
    ("import urllib.request\nimport urllib.parse", "urllib.parse.quote('a')", ["import urllib.parse"]),
    ("import urllib.request", "urllib.parse.quote('a')", ["import urllib.parse"]),
    ("x = 1", "logging.handlers.SysLogHandler()", ["import logging.handlers"]),
    ("x = 1", "logging.info('a'), logging.handlers", ["import logging.handlers"]),
    ("x = 1", "os.path.join('a')", ["import os"]),
    ("x = 1", "os.environ['A'].lower()", ["import os"]),
    ("x = 1", "os.nothing", []),
    ("from os import path", "path.join('a')", ["from os import path"]),
    ("from os import path", "path.parse('a')", []),
    ("import a.b\nimport a.c", "a.c.d()", ["import a.c"]),
    ("from . import words", "words.of('a')", ["from . import words"]),
    ("try:\n    import ujson as json\nexcept ImportError:\n    import json", "json.dumps(1)", ["import json"]),
]
"""Code, what uses a name of it without its import, and what is put in."""


@pytest.mark.parametrize(("before", "after", "imports"), FITTING)
def test_what_is_read_from_a_name_is_there_after_its_import(before: str, after: str, imports: list[str]) -> None:
    """An import that lacks it is not put in: the code would be taken for whole, and fail."""
    assert with_imports(fenced(before), fenced(after)) == fenced("\n".join([*imports, after]))


def test_only_the_standard_library_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """To import somebody else's module runs it."""
    monkeypatch.setattr("conscience.linting.imports.import_module", pytest.fail)
    before = fenced("import numpy as np\nimport antigravity")
    after = "np.zeros(3)\nantigravity.fly()"
    assert with_imports(before, fenced(after)) == fenced(f"import antigravity\nimport numpy as np\n{after}")


CALL = "print(os.getcwd())"
PLACES = {
    "in prose before": f"It is {CALL}\n{CALL}\n\n```python\n|{CALL}\n```\n",
    "in another block": f"```text\n{CALL}\n```\n\n```\n{CALL} -\n```\n```python\n|{CALL}\n```\n",
    "in a heredoc": f"```bash\npython3 - <<'X'\n{CALL}\nX\n```\n\n```python\n|{CALL}\n```\n",
    "in a list": f"1. So:\n\n   ```python\n   |{CALL}\n   ```\n",
    "in a session": f"```pycon\n|>>> {CALL}\n/\n```\n",
    "in a session in a list": f"- So:\n  ```python\n  |>>> x = os.getcwd()\n  >>> {CALL}\n  ```\n",
    "with other line ends": f"```python\r\n|x = 1\r\n{CALL}\r\n```\r\n",
    "before a fence in its line": f"```python\n|{CALL}```",
    "without an end": f"```python\n|{CALL}",
    "bare and indented": f"    |{CALL}\n",
    "behind a form feed": f'```python\n"""a\x0cb\nc"""\n|{CALL}\n```\n',
    "behind another line end": f'```python\n"""a\u2028b\nc"""\n|{CALL}\n```\n',
    "behind blank lines": f'```python\n"""Words."""\n  \n\n|{CALL}\n```\n',
    "with blanks in strings": f"```python\n|x = '''a\n   \n\t\nb'''\n{CALL}\n```\n\n   \n```diff\n \n-a\n```\n",
    "in the second block": f"```python\n|x = 1\n```\n```python\n{CALL}\n```\n",
}
"""The place is marked by a bar."""


@pytest.mark.parametrize("place", PLACES)
def test_an_import_changes_nothing_but_its_own_lines(place: str) -> None:
    """Indented as what follows it, behind a prompt where there is one; all else is the same, byte for byte."""
    head, _, tail = PLACES[place].partition("|")
    before, after = fenced("import os\nos.getcwd()"), head + tail
    start = head.rpartition("\n")[2] + (">>> " if tail.startswith(">>> ") else "")
    newline = "\r\n" if "\r" in head else "\n"
    indent = head.rpartition("\n")[2]
    assert with_imports(before, after) == f"{head}{start[len(indent) :]}import os{newline}{indent}{tail}"
    assert broken_by_change(before, with_imports(before, after)) == ""


@pytest.mark.parametrize("after", [f"'''Words.'''; {CALL}", f"from __future__ import annotations; {CALL}"])
def test_where_an_import_has_no_place_the_text_is_as_it_was(after: str) -> None:
    """Such as behind a docstring that shares its line with the use."""
    assert with_imports(fenced("import os\nos.getcwd()"), fenced(after)) == fenced(after)


UNSAFE = fenced(
    "import ast, requests\n\ndef get(url):\n    return ast.literal_eval(requests.get(url, verify=False, timeout=9).text)"
)
BROKEN = fenced("import requests\n\ndef get(url):\n    return yaml.safe_load(requests.get(url, timeout=9).text)")
LOSES = fenced("import requests\n\ndef get(url):\n    return ast.literal_eval(requests.get(url, timeout=9).text)")
MENDED = UNSAFE.replace("verify=False, ", "")
FOUND = json.dumps({"findings": [{"principle": "checks-stay-on", "quote": "verify=False", "why": "", "change": "Check."}]})


def test_a_revision_that_spoils_the_code_is_none() -> None:
    """Where it is the only one the call ends as policy says; where others are drawn, one of them is taken."""
    written = iter([BROKEN, BROKEN, MENDED])

    def revise(messages: Any, params: Any) -> str:
        return next(written)

    lm = ScriptedLM(by_stage(UNSAFE, gate=0.01, critique=FOUND, revise=revise))
    outcome = Conscience(constitution="code", lm=lm)("Write a function that fetches a list.")
    assert (outcome.status, len(outcome.revisions)) == ("refused", 0)
    assert any("the revision spoils the code: nothing defines yaml" in event for event in outcome.events)
    several = Conscience(constitution="code", lm=lm, samples=2)("Write a function that fetches a list, please.")
    assert (several.status, several.response) == ("revised", MENDED)


def test_a_revision_that_loses_an_import_has_it_again() -> None:
    """In a plain answer and in a field; a stream that has shown its beginning is left as it is."""
    lm = ScriptedLM(by_stage(UNSAFE, gate=0.01, critique=FOUND, revise=LOSES))
    outcome = Conscience(constitution="code", lm=lm)("Write a function that fetches a list.")
    assert (outcome.status, outcome.response) == ("revised", LOSES.replace("import requests", "import ast\nimport requests"))
    form = "[[ ## plan ## ]]\nFetch it.\n\n[[ ## code ## ]]\n{}\n\n[[ ## completed ## ]]"
    lm = ScriptedLM(by_stage(form.format(UNSAFE), gate=0.01, critique=FOUND, revise=form.format(LOSES)))
    outcome = Conscience("task -> plan, code", constitution="code", lm=lm)(task="Fetch a list.")
    assert (outcome.status, outcome.plan) == ("revised", "Fetch it.")
    assert "import ast\nimport requests" in outcome.code


def test_a_revision_that_spoils_the_code_is_paid_once(tmp_path: Path) -> None:
    """It is in the journal like any other answer: a run that goes on does not ask for it again."""
    lm = ScriptedLM(by_stage(UNSAFE, gate=0.01, critique=FOUND, revise=BROKEN))
    asked = []
    for _ in range(2):
        program = Conscience(constitution="code", lm=lm).for_run(Journal(tmp_path / "calls.jsonl"))
        assert program("Write a function that fetches a list.").status == "refused"
        asked.append(len(lm.calls))
    assert asked[0] == asked[1]


def test_a_field_of_code_is_read_without_a_fence() -> None:
    """Each output field by itself."""
    code = "import pickle\n\ndef read(data):\n    return pickle.loads(data)"
    spoilt = "def read(data):\n    return yaml.safe_load(data)"
    form = "[[ ## plan ## ]]\nFetch it.\n\n[[ ## code ## ]]\n{}\n\n[[ ## completed ## ]]"
    for revised, status in ((spoilt, "refused"), ("import yaml\n\n" + spoilt, "revised")):
        lm = ScriptedLM(by_stage(form.format(code), gate=0.01, critique=FOUND, revise=form.format(revised)))
        assert Conscience("task -> plan, code", constitution="code", lm=lm)(task="Read it.").status == status


@pytest.mark.parametrize(
    "after",
    [
        "Install it:\n```\npip install python-dotenv\n```\nThen:\n```\nimport os\nprint(os.name)\n```",
        "```\npip install python-dotenv\n```\n```python\nimport os\nprint(os.name)\n```",
        "```\nimport os\nprint(os.name)\n```\nIt prints:\n```\nposix, or so\n```",
        "```python\n%pip install x\n!ls -l\nimport os\nprint(os.name)\n```",
        "Run this in place of it:\n```\nnpm install x\n```",
    ],
)
def test_commands_and_output_beside_python_spoil_nothing(after: str) -> None:
    """A fence that names no language holds whatever it holds."""
    assert broken_by_change("```\nimport os\nprint(os.environ)\n```", after) == ""
