"""Weaknesses in the code of a text, and the principles that they break."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import dspy
import pytest

from conscience import Conscience, Constitution, load_cases
from conscience.errors import ConstitutionError
from conscience.linting import linters, python
from conscience.linting.advice import ADVICE, advice_on
from conscience.linting.blocks import blocks_in
from conscience.linting.linters import weaknesses_in
from conscience.linting.rules import rules
from conscience.testing import Fault, ScriptedLM, by_stage, is_revision
from tests.conftest import ROOT

pytest.importorskip("bandit")

FETCH = """Here it is:

```python
import requests

def fetch(url):
    return requests.get(url, verify=False, timeout=9).json()
```"""
SAFE = FETCH.replace(", verify=False", "")


def test_each_language_is_read_by_its_linter() -> None:
    """In one text, and what is no code is not."""
    text = (
        f"{FETCH}\n\n```js\nreturn eval(expression);\n```\n\n```sh\nchmod 777 x\n```\n\nNever set verify=False, nor eval(x)."
    )
    assert [weakness.cwe for weakness in weaknesses_in(text).weaknesses] == [295, 95, 732]
    assert weaknesses_in(text).weaknesses[0].quote == "return requests.get(url, verify=False, timeout=9).json()"
    assert weaknesses_in("Never set verify=False, nor call eval(x).") == ((), ())


def test_a_method_as_it_stands_in_its_class_is_code() -> None:
    """Without a fence, indented as in the file that it comes from; with the line as it stands there for a quote."""
    method = """    @cached
    def named(self, name):
        return self.db.execute("SELECT id FROM users WHERE name = '%s'" % name)
"""
    assert [weakness.cwe for weakness in weaknesses_in(method).weaknesses] == [89]
    assert weaknesses_in(method).weaknesses[0].quote in method
    assert weaknesses_in("    Call it (the method) by its name.\n    Never set verify=False.") == ((), ())


@pytest.mark.parametrize("mark", ["# nosec", "# nosec B501", "#nosec"])
def test_an_answer_cannot_switch_the_linter_off(mark: str) -> None:
    """By a comment, as who owns the code may."""
    assert weaknesses_in(FETCH.replace(".json()", f".json()  {mark}")).weaknesses


@pytest.mark.parametrize(
    "code", ["def f(:", "\x00", "x = '\ud800'", "(" * 5000, "pass\n    return requests.get(u, verify=False)"]
)
def test_what_is_no_python_is_let_be(code: str) -> None:
    """Whatever it is, nothing is raised and nothing said."""
    assert weaknesses_in(f"```python\n{code}\n```") == ((), ())


def test_every_weakness_has_a_principle_and_advice() -> None:
    """Those that a rule or bandit can find, in the built-in constitution of code."""
    named = {cwe for principle in Constitution.load("code").principles for cwe in principle.cwe}
    of_bandit = {20, 22, 78, 79, 80, 89, 94, 259, 284, 295, 319, 326, 327, 330, 377, 400, 494, 502, 605, 732, 838}
    of_rules = {rule.cwe for of_language in rules().values() for rule in of_language}
    assert of_bandit | of_rules <= named
    assert of_rules <= set(ADVICE)


FINDING = {"principle": "checks-stay-on", "quote": "verify=False", "why": "Anybody may listen.", "change": "Keep it."}
FOUND = json.dumps({"findings": [FINDING]})


def test_a_weakness_is_flagged_without_the_gate_and_mended() -> None:
    """The revision is told the line, what is wrong and what to do; it is read by the linter again."""
    lm = ScriptedLM(by_stage(FETCH, gate=0.01, critique=FOUND, revise=SAFE))
    outcome = Conscience(constitution="code", lm=lm)("Write a function that fetches JSON.")
    assert (outcome.status, outcome.response) == ("revised", SAFE)
    assert outcome.draft_verdict is not None
    assert (outcome.draft_verdict.method, list(outcome.draft_verdict.principles)) == ("linter", ["checks-stay-on"])
    assert [finding.why for finding in outcome.draft_verdict.findings][-1] == "Anybody may listen."
    (told,) = [str(messages) for messages, _ in lm.calls if is_revision(messages)]
    assert "verify=False" in told
    assert ADVICE[295] in told
    unmended = Conscience(
        constitution="code", lm=ScriptedLM(by_stage(FETCH, gate=0.01, critique=FOUND, revise=FETCH + "\n"))
    )
    assert unmended("Write a function that fetches JSON.").status == "refused"


def test_a_critique_that_votes_may_clear_what_a_linter_suspects() -> None:
    """A linter does not know what the code is for. A critique without a vote is not asked."""
    lm = ScriptedLM(by_stage(FETCH, gate=0.01, critique='{"findings": []}', revise=SAFE))
    program = Conscience(constitution="code", lm=lm)
    outcome = program("Write a function for a test server with a certificate of its own.")
    assert (outcome.status, outcome.response) == ("cleared", FETCH)
    stands = program.with_gate(program.gate_settings.model_copy(update={"critique": "chooses"}))
    assert stands("Write a function for a test server with a certificate of its own.").status == "revised"


@pytest.mark.parametrize("fault", [Fault("server"), "no JSON"])
@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_a_critique_that_fails_clears_nothing(fault: Any, on_error: Any) -> None:
    """What a linter suspects stays suspected, whatever is done with drafts that nobody has reviewed."""
    lm = ScriptedLM(by_stage(FETCH, gate=0.01, critique=fault))
    outcome = Conscience(constitution="code", lm=lm, on_error=on_error)("Write a function that fetches JSON.")
    assert outcome.status == "unreviewed"
    assert FETCH not in outcome.response


def test_code_in_a_field_of_its_own() -> None:
    """Without a fence, beside other fields."""
    code = "import pickle\n\ndef read(data):\n    return pickle.loads(data)"
    written = f"[[ ## plan ## ]]\nFetch it.\n\n[[ ## code ## ]]\n{code}\n\n[[ ## completed ## ]]"
    lm = ScriptedLM(by_stage(written, gate=0.01, critique=FOUND))
    outcome = Conscience("task -> plan, code", constitution="code", lm=lm, max_revisions=0)
    assert outcome(task="Read it.").verdict.principles == {"safe-parsing": 1.0}


def test_reasoning_may_weigh_what_the_answer_does_not_do() -> None:
    """Only what is answered is linted."""
    lm = ScriptedLM(
        by_stage(f"[[ ## reasoning ## ]]\n{FETCH}\n\n[[ ## response ## ]]\n{SAFE}\n\n[[ ## completed ## ]]", gate=0.01)
    )
    outcome = Conscience(dspy.ChainOfThought("request -> response"), constitution="code", lm=lm)(request="Fetch it.")
    assert outcome.status == "clean"


def test_without_bandit_python_is_not_read_and_the_verdict_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other languages are."""
    monkeypatch.setattr(python, "can_read_python", lambda: False)
    monkeypatch.setattr(linters, "can_read_python", lambda: False)
    outcome = Conscience(constitution="code", lm=ScriptedLM(by_stage(FETCH, gate=0.01)))("Fetch it.")
    assert outcome.status == "clean"
    assert any("bandit" in note for note in outcome.verdict.notes)
    assert weaknesses_in("```js\neval(x)\n```").weaknesses


def test_what_linters_make_of_the_pack_is_as_the_docs_say() -> None:
    """Aligned answers that look like misaligned ones are suspected, too: why a critique may clear them."""
    aligned = [case for case in load_cases("pack:code") if case.response and case.label == "aligned"]
    suspected = [case for case in aligned if weaknesses_in(case.response or "").weaknesses]
    said = " ".join((ROOT / "docs" / "constitution.md").read_text(encoding="utf-8").split())
    assert (
        f"of the {len(aligned)} aligned answers of `pack:code`, made to look like the others, it flags {len(suspected)}"
        in said
    )


def test_a_weakness_is_a_number() -> None:
    """What is none is refused by name."""
    principle = {"id": "a", "text": "Be safe.", "cwe": ["CWE-78"]}
    with pytest.raises(ConstitutionError, match="cwe"):
        Constitution.load({"name": "x", "version": "1", "question": "Bad?", "refusal": "No.", "principles": [principle]})


def test_it_is_imported_when_code_is_read_or_ahead() -> None:
    """bandit takes a second to import, which the first answer would wait for."""
    script = """
import sys, conscience
from conscience.testing import ScriptedLM
program = conscience.Conscience(constitution='code', lm=ScriptedLM([]))
assert 'bandit' not in sys.modules
program.warm()
assert 'bandit' in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


TWINS = {
    "B102": ("exec(text)", "print(text)", "safe-parsing"),
    "B201": (
        "from flask import Flask\nFlask(__name__).run(debug=True)",
        "from flask import Flask\nFlask(__name__).run()",
        "checks-stay-on",
    ),
    "B202": (
        "import tarfile\ntarfile.open(name).extractall(folder)",
        "import tarfile\ntarfile.open(name).extractall(folder, filter='data')",
        "no-injection",
    ),
    "B307": ("eval(text)", "import ast\nast.literal_eval(text)", "safe-parsing"),
    "B310": (
        "from urllib.request import urlopen\nurlopen(url)",
        "import requests\nrequests.get(url, timeout=9)",
        "no-injection",
    ),
    "B506": ("import yaml\nyaml.load(text)", "import yaml\nyaml.safe_load(text)", "safe-parsing"),
    "B614": ("import torch\ntorch.load(name)", "import torch\ntorch.load(name, weights_only=True)", "safe-parsing"),
    "B701": ("import jinja2\njinja2.Environment()", "import jinja2\njinja2.Environment(autoescape=True)", "no-injection"),
}  # fmt: skip
"""Rule → what it finds, what its advice makes of that, and the principle that is broken."""


@pytest.mark.parametrize("rule", TWINS)
def test_what_bandit_finds_is_told_for_what_it_is(rule: str) -> None:
    """By the principle that it breaks, with advice that ends it."""
    weak, mended, broken = TWINS[rule]
    (found,) = weaknesses_in(f"```python\n{weak}\n```").weaknesses
    assert found.rule == rule
    assert [p.id for p in Constitution.load("code").principles if found.cwe in p.cwe] == [broken]
    assert advice_on(found)
    assert not weaknesses_in(f"```python\n{mended}\n```").weaknesses


XML = {
    "import xml.etree.ElementTree as ET\nET.fromstring(text)": "defusedxml.ElementTree.fromstring",
    "from xml.etree import cElementTree\ncElementTree.parse(path)": "defusedxml.ElementTree.parse",
    "from xml.dom.minidom import parseString\nparseString(text)": "defusedxml.minidom.parseString",
    "import xml.sax\nxml.sax.parse(path, handler)": "defusedxml.sax.parse",
    "import xml.sax.expatreader as reader\nreader.create_parser()": "defusedxml.expatreader.create_parser",
}


@pytest.mark.parametrize(("weak", "function"), XML.items())
def test_advice_on_xml_names_the_function_that_does_the_same(weak: str, function: str) -> None:
    """A line with another parser's name in it can be mended alone: its import is put in."""
    (found,) = weaknesses_in(f"```python\n{weak}\n```").weaknesses
    assert advice_on(found) == f"Read the XML with {function}."


SHELL = {
    'mysqldump -u backup -p"$DB_PASSWORD" orders': 'MYSQL_PWD="$DB_PASSWORD" mysqldump -u backup orders',
    'docker login -u ci -p "$PASSWORD"': 'printf %s "$PASSWORD" | docker login -u ci --password-stdin',
    '(cd "$d" && eval "$1")': '(cd "$d" && "$@")',
    "chmod -R 777 /srv/uploads": "chmod -R 700 /srv/uploads",
    'psql -c "SELECT mail FROM users WHERE id = $1"': 'psql -v id="$1" <<< "SELECT mail FROM users WHERE id = :\'id\'"',
    'sort "$1" > /tmp/sorted.txt': 'file="$(mktemp)"\nsort "$1" > "$file"',
    "curl -k https://build.example/a -o a": "curl --cacert ca.pem https://build.example/a -o a",
    "wget --no-check-certificate https://build.example/a": "wget --ca-certificate=ca.pem https://build.example/a",
    "openssl aes-256-cbc -in a.tar -out a.enc": "openssl enc -aes-256-cbc -pbkdf2 -iter 600000 -in a.tar -out a.enc",
    'echo -n "$password" | md5sum': 'echo "$password" | openssl passwd -6 -stdin',
    "sqlite3 a.db \"DELETE FROM t WHERE n = '$1'\"": "n=${1//\\'/\\'\\'}\nsqlite3 a.db \"DELETE FROM t WHERE n = '$n'\"",
    "rm -rf $dir/*": 'rm -rf -- "${dir:?}"/*',
    "find . -name '*.tmp' | xargs rm --": "find . -name '*.tmp' -print0 | xargs -0 rm --",
}


@pytest.mark.parametrize(("weak", "mended"), SHELL.items())
def test_advice_for_the_shell_is_in_its_own_words(weak: str, mended: str) -> None:
    (found,) = weaknesses_in(f"```bash\n{weak}\n```").weaknesses
    assert (advice_on(found) or ADVICE[found.cwe]) != ADVICE[found.cwe]
    assert not weaknesses_in(f"```bash\n{mended}\n```").weaknesses


@pytest.mark.parametrize("language", ["javascript", "shell", "python", None])
@pytest.mark.parametrize("piece", ["// a \n", "# a \n", "/* */ ", "# # ", "def f(): x y\n\n"])
def test_comments_without_end_are_read_in_time(language: str | None, piece: str) -> None:
    """Where no fence says what is code, it is looked for."""
    began = time.process_time()
    blocks_in(piece * 3000, language)
    assert time.process_time() - began < 10


def test_prose_is_no_code() -> None:
    """Not even where it begins as code does."""
    for text in ("We import goods.\n\nfrom there, no.", "Use def f(): x", "import it\n\nif you must."):
        assert blocks_in(text) == []


HARMLESS = [
    "import os\nos.chmod(path, 0o755)",
    "import tempfile\nfd, name = tempfile.mkstemp(dir='/tmp')",
    "import requests\ndef fetch(url, **options):\n    return requests.get(url, **options)",
    "import tarfile\nwith tarfile.open(p) as t:\n    t.extractall(d, filter=tarfile.data_filter)",
    "from urllib.request import urlopen\ndata = urlopen('https://api.example/v1').read()",
    "import yaml\nfrom yaml import CSafeLoader as Loader\ndata = yaml.load(text, Loader=Loader)",
    "from defusedxml.xmlrpc import monkey_patch\nmonkey_patch()\nfrom xmlrpc.client import ServerProxy",
    "marks = ', '.join('?' * len(ids))\ncur.execute(f'SELECT * FROM t WHERE id IN ({marks})', ids)",
    "column = COLUMNS[sort]\ncur.execute(f'SELECT a FROM t WHERE b = ? ORDER BY {column}', (b,))",
]
WEAK = [
    "import os\nos.chmod(path, 0o777)",
    "import yaml\nfrom yaml import Loader\ndata = yaml.load(text, Loader=Loader)",
    "cur.execute(f'SELECT * FROM t WHERE id IN ({ids})')",
    "cur.execute(f'SELECT a FROM t ORDER BY {column}')",
    "column = COLUMNS.get(sort, sort)\ncur.execute(f'SELECT a FROM t WHERE b = ? ORDER BY {column}', (b,))",
    "from urllib.request import urlopen\ndata = urlopen(url).read()",
]


@pytest.mark.parametrize(("code", "harmless"), [*((code, True) for code in HARMLESS), *((code, False) for code in WEAK)])
def test_what_bandit_finds_in_mended_code_is_let_be(code: str, harmless: bool) -> None:
    assert (python.weaknesses_of_python(code) == []) is harmless
