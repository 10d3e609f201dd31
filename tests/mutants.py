"""Breaks the code on purpose, one mistake at a time: each must turn a test red, or the tests could not fail.

    make mutants            every mutation
    python tests/mutants.py cache retry      those whose name holds one of the words

Each mutation is made in a copy of the repository, and only the tests that ought to notice it are run. A mutation whose text
is no longer there fails loudly: it must follow the code.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
FAILED, PASSED = 1, 0
"""pytest's exit codes; any other means that it could not run the tests."""


@dataclass(frozen=True)
class Mutation:
    """A mistake, and the tests that must notice it.

    Attributes:
        name: what the mutated code does.
        file: where.
        old: the text there, once.
        new: the text in its place.
        tests: files and test ids.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PROGRAM = ("tests/unit/test_program.py", "tests/contract/test_failures.py")
COMPILING = ("tests/unit/optimizers/test_compilation.py",)
TOOLS = ("tests/unit/integrations/test_guarded_tools.py",)
TALKS = ("tests/unit/messages/test_conversations.py",)

MUTATIONS = (
    Mutation("the compiler returns its student", "optimizers/self_correction.py",
             "compiled = _like(student, state.program)", "compiled = _like(student, student)", COMPILING),
    Mutation("the compiler takes whatever is proposed", "optimizers/stages/state.py",
             "    if ahead and wins(", "    if True or wins(",
             ("tests/unit/optimizers/stages/test_state.py",)),
    Mutation("the objective does not mind a spoiled answer", "optimizers/objective.py",
             "return outcome_ok - SPOILED * spoiled", "return outcome_ok + SPOILED * spoiled",
             ("tests/unit/optimizers/test_objective.py",)),
    Mutation("a certified threshold certifies nothing", "optimizers/gate/threshold.py",
             "value, alarms = _above(scores, most)", "value, alarms = _above(scores, most + 5)",
             ("tests/unit/optimizers/gate/test_threshold.py",)),
    Mutation("the compiled threshold is 0", "optimizers/gate/compiler.py",
             "threshold=min(1.0, threshold.value)", "threshold=0.0",
             ("tests/unit/cli/test_compile.py::test_recalibrate_carries_a_program_over",)),
    Mutation("the default threshold is 0", "conscience/gate/settings.py",
             "threshold: float = Field(default=0.5,", "threshold: float = Field(default=0.0,", PROGRAM),
    Mutation("a gate always passes", "conscience/gate/gate.py",
             "flagged = probability is not None and probability >= settings.threshold", "flagged = False", PROGRAM),
    Mutation("a gate always flags", "conscience/gate/gate.py",
             "flagged = probability is not None and probability >= settings.threshold", "flagged = True", PROGRAM),
    Mutation("every stage of a cascade is decisive", "conscience/gate/settings.py",
             "return self.undecided_band is None or not", "return True or not", ("tests/unit/gate",)),
    Mutation("critique JSON is always an empty list", "conscience/modules/findings.py",
             "    return tuple(findings)\n", "    return ()\n", ("tests/unit/modules/test_findings.py",)),
    Mutation("a revision is not reviewed", "conscience/_calls/rounds.py",
             "                    if not new.flagged:\n", "                    if True:\n", PROGRAM),
    Mutation("on_error closed shows the draft", "conscience/_calls/call.py",
             'shown = pending if self.on_error == "open" and not flagged else None', "shown = pending", PROGRAM),
    Mutation("on_error open shows what the gate flagged", "conscience/_calls/call.py",
             'if self.on_error == "open" and not flagged else None', 'if self.on_error == "open" else None', PROGRAM),
    Mutation("the draft of an unreviewed outcome is kept on it", "conscience/_calls/call.py",
             'hidden = status == "unreviewed" and shown is None', "hidden = False", PROGRAM),
    Mutation("an unresolved draft is shown", "conscience/_calls/call.py",
             'if self.on_unresolved == "refuse":', "if False:", PROGRAM),
    Mutation("a budget is never spent", "conscience/usage.py",
             "if name := self._limit_met():", 'if name := "":', (*PROGRAM, "tests/unit/test_usage.py")),
    Mutation("a retry never retries", "conscience/backends/retry.py",
             "if not policy.retry(state):", "if True:", ("tests/unit/backends/test_retry.py",)),
    Mutation("the cache never stores", "conscience/backends/storage/cache.py",
             '            _write(folder, f"{key[2:]}.json", data)\n', "", ("tests/unit/backends/test_cache.py",)),
    Mutation("a file is written in place", "conscience/_base/files.py",
             "os.replace(partial, path)", "path.write_bytes(partial.read_bytes())", ("tests/unit/base/test_files.py",)),
    Mutation("keys are not redacted", "conscience/_redaction.py",
             "text = pattern.sub(HIDDEN, text)", "pass",
             ("tests/unit/test_redaction.py", "tests/unit/backends/test_failures.py")),
    Mutation("the report's script has a syntax error", "conscience/evals/report/report.js",
             'const main = document.getElementById("main");', 'const main = = document.getElementById("main");',
             ("tests/unit/evals/test_report.py",)),
    Mutation("escapes of a model reach the terminal", "conscience/cli/_shared/output.py",
             'return _CONTROL.sub("", text)', "return text", ("tests/unit/cli/test_render.py",)),
    Mutation("long texts are not cut", "conscience/cli/_shared/output.py",
             "    return kept, len(text) - len(kept)", "    return text, 0", ("tests/unit/cli/test_render.py",)),
    Mutation("every failure exits with 0", "conscience/cli/main.py",
             "code = error.exit_code", "code = 0", ("tests/unit/cli/test_main.py",)),
    Mutation("an imported program loses its own model", "conscience/cli/_shared/options.py",
             "if self.lm is not None or not _has_model(program):", "if True:", ("tests/unit/cli/test_program_option.py",)),
    Mutation("a tool runs whatever the review says", "conscience/integrations/tools/call.py",
             "if is_shown and isinstance(arguments, str):", "if isinstance(arguments, str):", TOOLS),
    Mutation("a refused tool runs as it was called", "conscience/integrations/tools/call.py",
             "        told = REFUSED.format(", "        return None\n        told = REFUSED.format(", TOOLS),
    Mutation("a tool runs while its arguments change", "conscience/integrations/tools/call.py",
             "if written(self.parameters.shown(self.bound)) != self.arguments:", "if False:", TOOLS),
    Mutation("bytes of an argument are named, not shown", "conscience/integrations/tools/arguments.py",
             'return bytes(value).decode("utf-8", "backslashreplace")', "return plain_value(value)", TOOLS),
    Mutation("a refused call is drawn again", "conscience/integrations/tools/conversations.py",
             "return self._refused.get(skeleton(call))", "return None", TOOLS),
    Mutation("a tool's result speaks to the reviewer", "conscience/messages/conversations.py",
             "RETURNED.format(result=quoted(**{_result_name(message): result}))", "result", TALKS),
    Mutation("the last request is cut", "conscience/messages/conversations.py",
             "    fixed = {last, *(", "    fixed = {*(", TALKS),
    Mutation("bait in an old turn clears an answer", "conscience/modules/critique.py",
             "                if reminded or not accuse_earlier_turns(findings, draft):\n",
             "                findings = findings * (not accuse_earlier_turns(findings, draft))\n                if True:\n",
             TALKS),
)  # fmt: skip


def main() -> int:
    words = [word.lower() for word in sys.argv[1:]]
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.name for word in words)]
    stale = [mutation for mutation in chosen if _occurrences(mutation) != 1]
    for mutation in stale:
        _say(f"STALE     {mutation.name}: {mutation.file} holds {mutation.old!r} {_occurrences(mutation)} times, not once")
    with tempfile.TemporaryDirectory() as folder:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(WORKERS):
            copies.put(_copy(Path(folder) / str(number)))
        with ThreadPoolExecutor(WORKERS) as pool:
            red = _red(copies, pool, sorted({test for mutation in chosen for test in mutation.tests}))
            sound = [mutation for mutation in chosen if mutation not in stale and not set(red) & set(mutation.tests)]
            noticed = list(pool.map(lambda mutation: _noticed(copies, mutation), sound))
    for test in red:
        _say(f"RED       {test} fails without any mutation: what it notices cannot be said")
    survivors = [mutation for mutation, seen in zip(sound, noticed, strict=True) if not seen]
    _say(f"{sum(noticed)} of {len(chosen)} mistakes were noticed, {len(survivors)} survived")
    return int(bool(stale or red or survivors))


def _noticed(copies: queue.Queue[Path], mutation: Mutation) -> bool:
    copy = copies.get()
    try:
        file = copy / mutation.file
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        code = _pytest(copy, mutation.tests)
        file.write_text(text, encoding="utf-8")
    finally:
        copies.put(copy)
    verdict = {FAILED: "noticed", PASSED: "SURVIVED"}.get(code, f"BROKEN ({code})")
    _say(f"{verdict:<9} {mutation.name}")
    return code == FAILED


def _red(copies: queue.Queue[Path], pool: ThreadPoolExecutor, tests: list[str]) -> list[str]:
    """Which of the tests fail without any mutation."""
    halves = [tuple(tests[start::WORKERS]) for start in range(WORKERS)]
    if all(pool.map(lambda half: not half or _green(copies, half), halves)):
        return []
    return [
        test for test, green in zip(tests, pool.map(lambda test: _green(copies, (test,)), tests), strict=True) if not green
    ]


def _green(copies: queue.Queue[Path], tests: tuple[str, ...]) -> bool:
    copy = copies.get()
    try:
        return _pytest(copy, tests) == PASSED
    finally:
        copies.put(copy)


def _pytest(copy: Path, tests: tuple[str, ...]) -> int:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not local and not long", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False).returncode


def _copy(target: Path) -> Path:
    """The files under version control as they are now, in a repository of their own: some tests ask git."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in names.decode().split("\0"):
        source, place = ROOT / name, target / name
        if name and (source.is_symlink() or source.is_file()):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)
    identity = ["-c", "user.name=mutants", "-c", "user.email=mutants@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "a copy"]):
        subprocess.run(["git", *command], cwd=target, check=True, capture_output=True)
    return target


def _occurrences(mutation: Mutation) -> int:
    file = ROOT / mutation.file
    return file.read_text(encoding="utf-8").count(mutation.old) if file.exists() else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a script


if __name__ == "__main__":
    sys.exit(main())
