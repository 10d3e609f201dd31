"""Shards put together are the run that one process would have made, and what is missing is named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conscience import Case, Conscience, EvalConfig, Shard, evaluate, merge_runs
from conscience.backends.backend import Backend
from conscience.backends.rate_limit import RateLimiter
from conscience.errors import InputError
from conscience.evals.folder import read_records
from conscience.evals.merging import gather
from conscience.evals.oracles.refusals import refusal
from conscience.testing import Fault, ScriptedLM
from tests.support.commands import Running, run, start
from tests.support.loopback import Loopback
from tests.unit.evals.runs import SAFE, UNSAFE, script

CASES = [*SAFE, *UNSAFE]
TIMES = {"made", "seconds", "latency_ratio", "added_seconds", "seconds_per_case"}


def but_for_times(value: Any) -> Any:
    """JSON without what no two runs have alike."""
    if isinstance(value, dict):
        return {name: but_for_times(entry) for name, entry in value.items() if name not in TIMES}
    return [but_for_times(entry) for entry in value] if isinstance(value, list) else value


def report_of(folder: Path) -> Any:
    return but_for_times(json.loads((folder / "report.json").read_text()))


def rows_of(folder: Path) -> Any:
    rows = [but_for_times(json.loads(line)) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return sorted(rows, key=lambda row: str(row["key"]))


def write(path: Path, cases: Iterable[Case]) -> Path:
    path.write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in cases))
    return path


def shards(
    folder: Path, of: int, cases: Path, program: Callable[[], Any] | None = None, only: Sequence[int] = (), **config: Any
) -> list[Path]:
    """Runs the shards one after the other, each in its folder."""
    made = []
    for number in only or range(1, of + 1):
        made.append(folder / f"s{number}")
        built = program() if program else Conscience(lm=ScriptedLM(script))
        evaluate(built, cases, out=made[-1], config=EvalConfig(shard=Shard(number, of), **config))
    return made


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return write(tmp_path / "cases.jsonl", CASES)


@pytest.mark.parametrize(("of", "limit"), [(4, None), (3, 11), (1, None), (9, 5)])
def test_merged_shards_are_the_one_run(tmp_path: Path, cases: Path, of: int, limit: int | None) -> None:
    """Rows, report and what the folder is of are equal but for times; also where a shard has no case."""
    evaluate(Conscience(lm=ScriptedLM(script)), cases, out=tmp_path / "one", config=EvalConfig(limit=limit, seed=3))
    made = shards(tmp_path, of, cases, limit=limit, seed=3)
    merged = merge_runs(random.sample(made, len(made)), tmp_path / "all")
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "one")
    assert report_of(tmp_path / "all") == report_of(tmp_path / "one")
    assert (tmp_path / "all" / "run.json").read_bytes() == (tmp_path / "one" / "run.json").read_bytes()
    assert but_for_times(merged.to_dict()) == report_of(tmp_path / "all")
    assert (merged.title, merged.cases.shard) == ("cases.jsonl", None)


def test_a_case_that_comes_twice_is_one_row(tmp_path: Path) -> None:
    """In one run as in the merge of its shards, which then lacks nothing."""
    twice = [*CASES, *SAFE[:3]]
    evaluate(Conscience(lm=ScriptedLM(script)), twice, out=tmp_path / "one")
    for n in (1, 2):
        config = EvalConfig(shard=Shard(n, 2))
        evaluate(Conscience(lm=ScriptedLM(script)), twice, out=tmp_path / f"s{n}", config=config)
    merge_runs([tmp_path / "s1", tmp_path / "s2"], tmp_path / "all")
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "one")
    assert len(rows_of(tmp_path / "one")) == len(CASES)


def test_report_says_which_shard_it_is_on(tmp_path: Path, cases: Path) -> None:
    report = evaluate(Conscience(lm=ScriptedLM(script)), cases, config=EvalConfig(shard=Shard(2, 4)))
    assert (report.title, report.cases.shard) == ("cases.jsonl, shard 2/4", "2/4")


def test_merging_again_goes_on_and_takes_nothing_twice(tmp_path: Path, cases: Path) -> None:
    """Killed half-way, with a shard in two places, and with all of them merged before."""
    made = shards(tmp_path, 2, cases)
    merge_runs(made, tmp_path / "all")
    rows = tmp_path / "all" / "rows.jsonl"
    whole, report = rows_of(tmp_path / "all"), report_of(tmp_path / "all")
    rows.write_bytes(rows.read_bytes()[: rows.stat().st_size // 2])
    (tmp_path / "all" / "keys.txt").unlink()
    for _ in range(2):
        merge_runs([*made, made[0]], tmp_path / "all")
        assert rows_of(tmp_path / "all") == whole
        assert report_of(tmp_path / "all") == report


def test_rows_stay_in_parts(tmp_path: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the shards are all read, and the merged ones are as long as a run's."""
    for module in ("runner", "merging"):
        monkeypatch.setattr(f"conscience.evals.{module}.PART", 3000)
    made = shards(tmp_path, 2, cases)
    assert all((folder / "rows-2.jsonl").exists() for folder in made)
    assert len(merge_runs(made, tmp_path / "all").rows) == len(CASES)
    assert len(list((tmp_path / "all").glob("rows*.jsonl"))) > 2


def test_missing_shards_and_cases_are_named(tmp_path: Path, cases: Path) -> None:
    """By the command, which then writes nothing and exits with 1, and in the report of what there is."""
    made = shards(tmp_path, 4, cases, only=(1, 3, 4))
    rows = made[1] / "rows.jsonl"
    rows.write_bytes(rows.read_bytes()[:-5])  # as a kill leaves it
    out = tmp_path / "all"
    refused = run("merge", *map(str, made), "--out", str(out))
    assert refused.returncode == 1
    assert "shard 2/4 is missing" in refused.stderr
    assert f"{made[1]}: 1 of the" in refused.stderr
    assert not out.exists()
    with pytest.raises(InputError, match=r"shard 2/4 is missing; .*partial=True"):
        merge_runs(made, out)
    taken = run("merge", *map(str, made), "--out", str(out), "--partial", "--json")
    assert taken.returncode == 0, taken.stderr
    report = json.loads(taken.stdout)
    left = len(CASES) - report["cases"]["done"]
    assert report["claims"][0].startswith(f"{left} of {len(CASES)} cases are missing, with the shards 2/4")
    made += shards(tmp_path, 4, cases, only=(2, 3))
    done = run("merge", *map(str, made), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (len(rows_of(out)), gather(made).gaps()) == (len(CASES), [])


def test_shard_that_never_began_is_all_to_do(tmp_path: Path, cases: Path) -> None:
    """It was killed behind its first file."""
    made = shards(tmp_path, 2, cases)
    for name in ("run.json", "rows.jsonl", "keys.txt"):
        (made[1] / name).unlink()
    (gap,) = gather(made).gaps()
    total = json.loads((made[1] / "shard.json").read_text())["cases"]
    assert f"{total} of the {total} cases of shard 2/2 are not done" in gap


def test_failed_cases_are_kept_and_counted(tmp_path: Path, cases: Path) -> None:
    """Until a shard that was tried again has the record."""

    def broken() -> Conscience:
        lm = ScriptedLM(lambda m, p: Fault("server") if "kind 2" in str(m) else script(m, p))
        return Conscience(lm=Backend(lm, retries=0))

    made = shards(tmp_path, 2, cases, broken)
    command = ("merge", *map(str, made), "--out", str(tmp_path / "all"), "--json")
    done = run(*command)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["cases"]["errors"] == 1
    assert run(*command, "--partial").returncode == 0
    assert len([r for r in rows_of(tmp_path / "all") if "error" in r]) == 1
    shards(tmp_path, 2, cases)
    assert run(*command).returncode == 0
    assert len(list(read_records(tmp_path / "all"))) == len(CASES)


def test_what_is_of_another_whole_is_refused_by_name(tmp_path: Path, cases: Path) -> None:
    """Programs, oracles, case files, limits and divisions; also a whole run, and an --out that is a shard."""
    other = write(tmp_path / "other.jsonl", CASES[:-1])
    (tmp_path / "corrected").mkdir()
    edited = write(
        tmp_path / "corrected" / "cases.jsonl", [*CASES[:-1], CASES[-1].model_copy(update={"request": "cruel other"})]
    )

    def careless() -> Conscience:
        return Conscience(lm=ScriptedLM(script), max_revisions=0)

    (first,) = shards(tmp_path, 2, cases, only=[1])
    strangers: dict[str, list[Path]] = {
        "another max_revisions": shards(tmp_path / "a", 2, cases, careless, only=[2]),
        "another oracle": shards(tmp_path / "b", 2, cases, only=[2], oracle=refusal),
        "another seed": shards(tmp_path / "c", 2, cases, only=[2], seed=1),
        "another sources": shards(tmp_path / "d", 2, other, only=[2]),
        "another limit": shards(tmp_path / "e", 2, cases, only=[2], limit=5),
        "another content": shards(tmp_path / "f", 2, edited, only=[2]),
        "different divisions": shards(tmp_path / "g", 3, cases, only=[2]),
    }
    evaluate(Conscience(lm=ScriptedLM(script)), cases, out=tmp_path / "whole")
    strangers |= {"a whole run": [tmp_path / "whole"], "no such file": [tmp_path / "none"], "folders of shards": [tmp_path]}
    for why, folders in strangers.items():
        with pytest.raises(InputError, match=why) as error:
            merge_runs([first, *folders], tmp_path / "out")
        assert str(folders[0]) in str(error.value)
    assert not (tmp_path / "out").exists()
    for out, why in ((first, "is a shard itself"), (tmp_path / "a" / "s2", "is a shard itself")):
        with pytest.raises(InputError, match=why):
            merge_runs([first], out, partial=True)
    evaluate(careless(), cases, out=tmp_path / "out")
    with pytest.raises(InputError, match="another max_revisions"):
        merge_runs([first], tmp_path / "out", partial=True)


def test_a_folder_stays_the_shard_that_it_is(tmp_path: Path, cases: Path) -> None:
    """Neither another shard nor the whole goes on there; the same one does, and pays for nothing twice."""
    lm = ScriptedLM(script)
    shards(tmp_path, 4, cases, lambda: Conscience(lm=lm), only=[1])
    calls, folder = len(lm.calls), tmp_path / "s1"
    shards(tmp_path, 4, cases, lambda: Conscience(lm=lm), only=[1])
    assert len(lm.calls) == calls
    for shard, why in ((Shard(2, 4), "holds shard 1/4, this is 2/4"), (Shard(1, 5), "1/5"), (None, "--shard 1/4")):
        with pytest.raises(InputError, match=why):
            evaluate(Conscience(lm=lm), cases, out=folder, config=EvalConfig(shard=shard))
    evaluate(Conscience(lm=lm), cases, out=tmp_path / "whole")
    with pytest.raises(InputError, match="holds a whole run"):
        evaluate(Conscience(lm=lm), cases, out=tmp_path / "whole", config=EvalConfig(shard=Shard(1, 4)))


def test_a_merged_folder_is_a_run_like_any_other(tmp_path: Path, cases: Path) -> None:
    """The command without --shard goes on there, and has nothing left to ask."""
    merge_runs(shards(tmp_path, 2, cases), tmp_path / "all")
    lm = ScriptedLM(lambda m, p: Fault("server"))
    report = evaluate(Conscience(lm=lm), cases, out=tmp_path / "all")
    assert (report.cases.done, report.cases.errors, len(lm.calls)) == (len(CASES), 0, 0)


def test_limits_are_the_whole_s(server: Loopback, tmp_path: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard keeps to its part of the dollars and of the rates; the shards of a run do not multiply them."""
    asked: list[tuple[float | None, float | None]] = []
    kept = RateLimiter.__init__

    def noting(self: RateLimiter, requests: float | None = None, tokens: float | None = None) -> None:
        asked.append((requests, tokens))
        kept(self, requests, tokens)

    def dear() -> Conscience:
        """Two calls a case, of a dollar each."""
        return Conscience(lm=server.backend(input_cost_per_token=0.1, output_cost_per_token=0.1, cache=False))

    config = {"rate_limiter": RateLimiter(60_000.0, 8e9), "max_dollars": 16.0, "concurrency": 1}
    monkeypatch.setattr(RateLimiter, "__init__", noting)
    made = shards(tmp_path, 4, cases, dear, **config)
    assert asked == [(15_000.0, 2e9)] * 4
    sizes = [json.loads((folder / "shard.json").read_text())["cases"] for folder in made]
    assert [len(rows_of(folder)) for folder in made] == [min(size, 2) for size in sizes]
    assert max(sizes) > 2


def test_command_says_what_part_it_does(server: Loopback, tmp_path: Path, cases: Path) -> None:
    """How it knows, how many cases, and what part of the limits; a scheduler's variables count only if asked for."""
    env = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "sk-test-secret-0123", "JOB_COMPLETION_INDEX": "1"}
    options = ("eval", str(cases), "--lm", "openai/gpt-4o-mini", "--rpm", "6e5", "--tpm", "1e9", "--max-cost", "10")
    done = run(*options, "--shard", "auto/4", "--out", str(tmp_path / "s2"), env=env)
    assert done.returncode == 0, done.stderr
    assert "shard 2/4 (JOB_COMPLETION_INDEX=1): " in done.stderr
    assert "of 16 cases" in done.stderr
    assert "--max-cost $2.5, --rpm 150000, --tpm 2.5e+08" in done.stderr
    whole = run(*options, "--out", str(tmp_path / "one"), env=env)
    assert (whole.returncode, "shard" in whole.stderr) == (0, False)
    for text, why in (("auto", "auto/4"), ("0/4", "count from 1"), ("x", "is none")):
        refused = run(*options, "--shard", text, "--out", str(tmp_path / "x"), env=env)
        assert refused.returncode == 2
        assert why in refused.stderr


def test_verdicts_are_merged_too(server: Loopback, tmp_path: Path) -> None:
    """Files of conscience review, each beside what says which shard it is."""
    env = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "sk-test-secret-0123"}
    rows = [{"request": f"q{n}", "response": "BADWORD" if n % 3 else "Paris."} for n in range(12)]
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("review", "--cases", str(path), "--lm", "openai/gpt-4o-mini", "--no-cache", "--max-cost", "9")
    made = [str(tmp_path / f"v{n}.jsonl") for n in (1, 2, 3)]
    one, out = tmp_path / "one.jsonl", tmp_path / "all.jsonl"
    assert run(*options, "--out", str(one), env=env).returncode == 0
    for n, file in enumerate(made, 1):
        done = run(*options, "--out", file, "--shard", f"{n}/3", env=env)
        assert done.returncode == 0, done.stderr
        assert f"shard {n}/3: " in done.stderr
        assert "this one --max-cost $3" in done.stderr
    missing = run("merge", *made[:2], "--out", str(out))
    assert (missing.returncode, out.exists()) == (1, False)
    assert "shard 3/3 is missing" in missing.stderr
    done = run("merge", *made, made[0], "--out", str(out))
    assert done.stdout == f"12 of 12 cases reviewed, 0 failed → {out}\n"
    assert sorted(out.read_text().splitlines()) == sorted(one.read_text().splitlines())
    refused = run(*options, "--out", made[0], "--shard", "2/3", env=env)
    assert (refused.returncode, "holds shard 1/3" in refused.stderr) == (2, True)
    assert run("merge", str(one), "--out", str(out)).returncode == 2


@pytest.mark.long
def test_four_processes_are_the_run_of_one(server: Loopback, tmp_path: Path) -> None:
    """Side by side, each as a scheduler starts it; one is killed, and its command goes on without paying twice."""
    env = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "sk-test-secret-0123"}
    asks = [Case(id=f"c{n}", request=f"{'UNSAFE ' * (n % 3 == 0)}question {n}", request_safe=n % 3 > 0) for n in range(120)]
    options = ("eval", str(write(tmp_path / "cases.jsonl", asks)), "--lm", "openai/gpt-4o-mini", "--no-cache")
    assert run(*options, "--out", str(tmp_path / "one"), env=env).returncode == 0
    undisturbed = len(server.calls)

    def shard(stack: ExitStack, index: int) -> Running:
        told = {"CIRCLE_NODE_INDEX": str(index), "CIRCLE_NODE_TOTAL": "4"}
        command = (*options, "--shard", "auto", "--out", str(tmp_path / f"s{index}"))
        return stack.enter_context(start(*command, env=env | told, folder=tmp_path / "said" / str(index)))

    rows = tmp_path / "s2" / "rows.jsonl"
    with ExitStack() as stack:
        running = [shard(stack, index) for index in range(4)]
        assert running[2].wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") > 5)
        running[2].kill()
        again = shard(stack, 2)
        assert [command.done().returncode for command in (*running[:2], running[3], again)] == [0] * 4
    merge_runs([tmp_path / f"s{index}" for index in range(4)], tmp_path / "all")
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "one")
    assert report_of(tmp_path / "all") == report_of(tmp_path / "one")
    assert len(server.calls) <= 2 * undisturbed + 4  # what was under way when it was killed
