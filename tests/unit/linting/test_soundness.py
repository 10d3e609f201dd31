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
    ("import re", "def f():\n    re.sub\n    \n    re.sub", "import re\ndef f():\n    re.sub\n\n    re.sub"),
    ("import pickle", "bcrypt.hashpw(1)", "bcrypt.hashpw(1)"),
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
