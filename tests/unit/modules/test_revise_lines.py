"""Where a linter says which line is at fault, a small model writes that line, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conscience import Conscience, Constitution
from conscience.messages.wordings import AGAIN, ONE_LINE
from conscience.modules.revise import LINE_DRAWS
from conscience.testing import ScriptedLM, is_critique

DRAFT = """Here it is:

```python
import random
import requests

def token():
    return random.choice("abc")

def fetch(url):
    return requests.get(url, verify=False, timeout=5).text
```

It draws a letter. `verify=False` trusts anybody."""
MENDED = DRAFT.replace('random.choice("abc")', 'secrets.choice("abc")').replace(", verify=False", "")
MENDED = MENDED.replace("import random\n", "import secrets\nimport random\n").replace(" `verify=False` trusts anybody.", "")


def script(line: Callable[[str], str]) -> Callable[[Any, Any], Any]:
    """A model that writes the draft, lines as it is told, and of a whole answer a plain one."""

    def answer(messages: list[dict[str, Any]], params: Any) -> Any:
        asked = str(messages[-1]["content"])
        if ONE_LINE in asked:
            return line(asked)
        if is_critique(messages):
            return '{"findings": [{"principle": "sound-crypto", "quote": "", "why": "It is random.", "change": ""}]}'
        return "```python\nprint()\n```" if AGAIN in asked else 0.1 if "Yes or No" in asked else DRAFT

    return answer


def mended(asked: str) -> str:
    said = 'return secrets.choice("abc")' if "random" in asked else "return requests.get(url, timeout=5).text"
    return f"```python\n{said}\n```\n\nThis is safer."


def run(lm: ScriptedLM, **more: Any) -> Any:
    return Conscience("question -> answer", lm=lm, constitution="code", **more)(question="Write it.")


def asked_of(lm: ScriptedLM) -> list[str]:
    """The kinds of revision that were asked for, in order."""
    turns = [str(messages[-1]["content"]) for messages, _ in lm.calls]
    return ["line" if ONE_LINE in turn else "answer" for turn in turns if ONE_LINE in turn or AGAIN in turn]


def test_each_line_that_is_at_fault_is_written_anew() -> None:
    """All else is as it was, but for the import that the line needs, and what was said of the old one; the conversation's
    prefix stays the same."""
    lm = ScriptedLM(script(mended), name="scripted/lm-0.5b")
    outcome = run(lm)
    assert (outcome.status, outcome.answer) == ("revised", MENDED)
    assert asked_of(lm) == ["line", "line"]
    first, second = (messages for messages, _ in lm.calls if ONE_LINE in str(messages[-1]["content"]))
    assert first[:-1] == second[:-1]
    assert first[-2] == {"role": "assistant", "content": DRAFT}
    assert "verify=False" in str(first[-1]) + str(second[-1])
    assert outcome.usage.by_role["revise"].calls == 2


@pytest.mark.parametrize(
    "line",
    [
        lambda asked: "I would rather not.\nIt is fine.",
        lambda asked: "```python\nreturn requests.get(url, verify=False, timeout=9).text\n```",
        lambda asked: "```python\nreturn (\n```",
        lambda asked: "```python\nreturn unheard_of()\n```",
    ],
    ids=["prose", "as bad", "no Python", "an unknown name"],
)
def test_where_a_line_does_not_help_the_answer_is_written_anew(line: Callable[[str], str]) -> None:
    lm = ScriptedLM(script(line), name="scripted/lm-0.5b")
    outcome = run(lm)
    assert (outcome.status, outcome.answer) == ("revised", "```python\nprint()\n```")
    assert asked_of(lm) == ["line"] * LINE_DRAWS + ["answer"]


def test_an_empty_line_is_no_end_of_the_revision() -> None:
    lm = ScriptedLM(script(lambda asked: ""), name="scripted/lm-0.5b")
    assert run(lm).answer == "```python\nprint()\n```"
    assert asked_of(lm)[-1] == "answer"


def test_a_line_is_drawn_until_it_is_better() -> None:
    """To look at it again costs nothing."""
    drawn: list[str] = []

    def line(asked: str) -> str:
        drawn.append(asked)
        return mended(asked) if len(drawn) % LINE_DRAWS == 0 else "I see nothing\nwrong."

    lm = ScriptedLM(script(line), name="scripted/lm-0.5b")
    assert run(lm).answer == MENDED
    assert len(drawn) == 2 * LINE_DRAWS


def test_the_most_calls_of_a_revision_are_known() -> None:
    """A compiler keeps them free in its budget: many weak lines, each mended by the last draw, and the last one never."""
    weak = "".join(
        f"\n\ndef fetch{n}(url):\n    return requests.get(url, verify=False, timeout={n}).text" for n in range(1, 9)
    )
    drawn: list[str] = []

    def answer(messages: list[dict[str, Any]], params: Any) -> Any:
        asked = str(messages[-1]["content"])
        if ONE_LINE in asked:
            drawn.append(asked)
            number = asked.split("timeout=")[1][0]
            return "No.\nNo." if len(drawn) % LINE_DRAWS else f"return requests.get(url, timeout={number}).text"
        return "Nothing." if AGAIN in asked else 0.1 if "Yes or No" in asked else f"```python\nimport requests{weak}\n```"

    lm = ScriptedLM(answer, name="scripted/lm-0.5b")
    code = Constitution.load("code")
    run(lm, max_revisions=1)
    assert (len(asked_of(lm)), 1) == Conscience(lm=lm).revise.calls(code, "scripted/lm-0.5b")
    assert Conscience(lm=lm).revise.calls(code, "scripted/lm") == (1, 1)
    assert Conscience(lm=lm).revise.calls(Constitution.load("general"), "scripted/lm-0.5b") == (1, 1)


def test_a_large_model_writes_the_answer() -> None:
    """It sees the whole, and mends what a line alone cannot."""
    lm = ScriptedLM(script(mended))
    assert run(lm).status == "revised"
    assert asked_of(lm) == ["answer"]


def test_the_review_of_a_line_is_the_whole_review() -> None:
    """What a linter no longer suspects, the gate may flag all the same."""

    def answer(messages: list[dict[str, Any]], params: Any) -> Any:
        asked = str(messages[-1]["content"])
        return 0.9 if "Yes or No" in asked else script(mended)(messages, params)

    outcome = run(ScriptedLM(answer, name="scripted/lm-0.5b"), max_revisions=1)
    assert outcome.status == "refused"
    assert outcome.revisions[0].draft.response == MENDED
