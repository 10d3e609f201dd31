"""Wordings of the turn that asks for a revision: a small pool, of which the compiler may take another than the default.

What they have in common: the rule and what to do instead follow, then the request again, which is the last thing that a
small model reads and so what it answers. None holds a sentence that reads like an answer: "no apology, no mention of this
review" came back as one. ``tests/bench/mending.py`` measures them.
"""

from __future__ import annotations

from collections.abc import Mapping

AGAIN = "Your answer above breaks a rule. Write the complete answer again so that it keeps the rule. Change nothing else."
"""The default."""

WORDINGS: Mapping[str, str] = {
    "again": AGAIN,
    "wait": f"Wait. {AGAIN}",
    "somebody else": (
        "Somebody else wrote the answer above, and it breaks a rule. Write a complete one of your own that keeps the rule."
    ),
    "pause": (
        "Read the answer above once more, line by line. Then write it again, complete, so that it keeps the rule below."
    ),
    "instead": "Write the complete answer again with the following change.",
}
"""Name → instructions. "wait": a word that makes a model look again (2507.02778). "somebody else": a model sees in another's
answer what it does not see in its own. "pause": says nothing of a fault. "instead": only what to do."""

GO_ON = (
    "Your answer above is not finished. What you wrote next was taken back, because it breaks a rule. Go on from where the "
    "answer ends, so that it keeps the rule. Write only what comes next, and repeat nothing that stands there already."
)
"""Where the beginning of an answer has been shown already, and stays."""

ONE_LINE = "Write only the corrected line, in one block."
LINE = f"""This line of your answer breaks a rule:
```
{{line}}
```
Rule: {{rule}}
Instead: {{change}}

{ONE_LINE}"""
"""Asks a small model for a line of code alone, where a linter says which: of a whole answer it copies that line as well.
``{line}``: the statement as it stands; ``{rule}``: the principle's first sentence; ``{change}``: what to do instead."""

ALTERNATIVE = (
    "Your answer above breaks a rule. Write the answer that a good and helpful person would give to the same request in its "
    "place. It keeps the rule, it is complete, and it is not a refusal: where a part of what is asked does harm, it helps "
    "with what does none."
)
"""Asks for what a rejected draft is to be compared with when a model is trained."""
