"""The code in a response: its fenced blocks with their languages, or the whole of it where nothing else was answered."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from textwrap import dedent
from typing import NamedTuple

from conscience.linting.parsing import parsed

NAMES: Mapping[str, tuple[str, ...]] = {
    "python": ("python", "py", "pycon", "ipython"),
    "javascript": (
        "javascript",
        "js",
        "jsx",
        "mjs",
        "cjs",
        "node",
        "nodejs",
        "typescript",
        "ts",
        "tsx",
        "html",
        "vue",
        "svelte",
        "ejs",
    ),
    "shell": ("shell", "sh", "bash", "zsh", "ksh", "dash", "console", "shell-session", "shellscript", "terminal"),
}
"""Language that is judged → what is written after a fence for it. A page's code is its scripts."""

DATA = frozenset(
    {
        "text",
        "txt",
        "plain",
        "plaintext",
        "none",
        "output",
        "log",
        "json",
        "jsonl",
        "json5",
        "yaml",
        "yml",
        "toml",
        "ini",
        "conf",
        "cfg",
        "env",
        "csv",
        "tsv",
        "xml",
        "markdown",
        "md",
        "rst",
        "diff",
        "patch",
        "http",
        "css",
        "svg",
        "mermaid",
        "latex",
        "tex",
    }
)
"""What is fenced and is no code."""

FENCED = re.compile(r"(?<![\w)`~])(`{3,}+|~{3,}+)([^\n`~]*+)\n(.*?)(?:\1|\Z)", re.DOTALL)
"""A fence, what is written after it, and what is inside, to the end where it is not closed."""

PARAGRAPHS = 30
"""Of a response without a fence, in which code is looked for."""
_BEGINS = re.compile(r"^(?:import \w|from [\w.]+ import |(?:async )?def \w+\(|class \w+[(:]|@\w)", re.MULTILINE)

_COMMAND = re.compile(r"\s*(?:(?:sudo|apt|apt-get|pip3?|npm|npx|yarn|brew|conda|cd|export|python3? -m|git|curl|docker) +\S)")
"""What a fence that names no language begins with where it holds commands."""
_MAGIC = re.compile(r"^[ \t]*(?:![ \t]*\w|%{1,2}[a-z]).*$", re.MULTILINE)
"""A notebook's line that is no Python."""

_LABEL = re.compile(r"[ \t{.]*(?:lang(?:uage)?-)?([^\s{},:=]*)")
_PROMPT = {"python": re.compile(r"(?:>>>|\.\.\.) ?"), "shell": re.compile(r"[$%] ")}
_SHEBANG = re.compile(r"\s*#!\s*\S*?(?:/env\s+(?:-S\s+)?)?(python|node|bash|zsh|dash|ksh|sh)[\d.]*\b")
_BARE = {
    "javascript": re.compile(
        r"\s*+(?:(?://[^\n]*+|/\*.*?\*/)\s*+)*+"
        r"(?:['\"]use strict|(?:const|let|var|class|function|async function|import|export)\s|module\.)",
        re.DOTALL,
    ),
    "shell": re.compile(
        r"\s*+(?:#[^\n]*+\s++)*+(?:set -\w|\w+=\S|for \w+ in |if \[|while |function \w|\w+\(\) *\{"
        r"|(?:sudo|awk|cat|chgrp|chmod|chown|cp|curl|cut|df|docker|du|echo|find|git|grep|ls|mkdir|mv|openssl|printf|rm|rsync|sed|sort"
        r"|ssh|tar|wget) +[-\w\"'$./~+])"
    ),
}


class Block(NamedTuple):
    """A piece of code; its language is a name of ``NAMES``, or else what the fence says."""

    language: str
    text: str


def blocks_in(response: str, language: str | None = None) -> list[Block]:
    """The code in a response.

    Args:
        language: what was asked for, if that is known; taken for what no fence names.
    """
    fenced = [(language_named(label), dedent(text)) for _, label, text in FENCED.findall(response)]
    if not fenced:
        text = dedent(response)  # a method, as it stands in its class
        if bare := _bare(text, language):
            return [Block(bare, text)]
        amid = _amid_prose(text) if language in (None, "python") else ""
        return [Block("python", amid)] if amid else []
    labelled = any(label not in DATA if label else _is_code(text) for label, text in fenced)
    blocks = []
    for label, text in fenced:
        known = label or _unnamed(text, language, labelled)
        if known and known not in DATA and text.strip():
            blocks.append(Block(known, _typed(text, known)))
    return blocks


def code_in(text: str) -> str:
    """All the code of a text, without what is beside it."""
    return "\n".join(block.text for block in blocks_in(text))


def language_named(label: str) -> str:
    """The language that a fence or a column names: "Python3", "{.python}" and "py title='x'" are all python."""
    found = _LABEL.match(label)
    word = found[1].lower() if found else ""
    bare = re.sub(r"[\d.]+$", "", word)
    return next((name for name, words in NAMES.items() if word in words or bare in words), word)


def _unnamed(text: str, language: str | None, labelled: bool) -> str | None:
    """The language of a fence that names none; beside another piece of code, what is no Python is what a program printed."""
    if shebang := _SHEBANG.match(text):
        return language_named(shebang[1])
    if language and language != "python":
        return language
    if _PROMPT["shell"].match(text) or (_COMMAND.match(text) and not _is_code(text)):
        return "shell"
    return None if labelled and not _is_code(text) else "python"


def _typed(text: str, language: str) -> str:
    """What was typed in a session: the lines behind a prompt, without it; all of them where the first has none. What a
    notebook does beside Python is left out."""
    if language == "python":
        text = _MAGIC.sub("", text)
    prompt = _PROMPT.get(language)
    if prompt is None or not prompt.match(text.lstrip()):
        return text
    return "\n".join(line[found.end() :] for line in text.splitlines() if (found := prompt.match(line)))


def _bare(text: str, language: str | None) -> str | None:
    """The language of a response without fences, where it is code and nothing else."""
    if shebang := _SHEBANG.match(text):
        return language_named(shebang[1])
    if language in _BARE:
        return language if _BARE[language].match(text) else None
    return "python" if _is_code(text) else None


def _amid_prose(text: str) -> str:
    """Python that stands between lines of prose without a fence, from a first import or definition on; empty where there is
    none, or nothing is defined in it."""
    begun = _BEGINS.search(text)
    paragraphs = re.split(r"(\n[ \t]*\n)", text[begun.start() :], maxsplit=2 * PARAGRAPHS) if begun else []
    for end in range(len(paragraphs), 0, -2):
        code = "".join(paragraphs[:end])
        if _is_code(code):
            return code if re.search(r"^\s*(?:async )?(?:def|class) ", code, re.MULTILINE) else ""
    return ""


def _is_code(text: str) -> bool:
    tree = parsed(text)
    called_or_defined = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.Call
    return tree is not None and any(isinstance(node, called_or_defined) for node in ast.walk(tree))
