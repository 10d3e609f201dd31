"""The OpenAI route against a stand-in that refuses what OpenAI refuses: what is sent, what exists once, what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from conscience.errors import BackendError, ConfigurationError, InputError
from conscience.optimizers.training.openai.costs import count_tokens, dated, default_epochs, price_of
from conscience.optimizers.training.openai.files import training_file, usable
from conscience.optimizers.training.openai.jobs import FineTuning
from conscience.optimizers.training.openai.state import FineTune, resumed
from conscience.optimizers.training.pairs import PreferencePair
from tests.support.finetuning import FineTuningServer, check_line, texts

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "And now?"},
]
PAIRS = [PreferencePair(request=f"Question {n}?", chosen=f"Right {n}.", rejected=f"Wrong {n}.") for n in range(12)] + [
    PreferencePair(request=CHAT, chosen="Rest.", rejected="Run.")
]
FILES = [training_file(PAIRS, "supervised"), training_file(PAIRS, "dpo")]


@pytest.fixture
def hosted() -> Iterator[FineTuningServer]:
    with FineTuningServer() as server:
        yield server


class Run:
    """A fine-tuning in a folder, each time by a new process as it were."""

    def __init__(self, server: FineTuningServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.told: list[str] = []
        self.slept: list[float] = []

    def __call__(self, **options: Any) -> str:
        given = {"model": "gpt-4.1-mini-2025-04-14", "beta": 0.2, "suffix": "kind", **options}
        wire = given.pop("wire", None)
        self.state = resumed(self.folder, FineTune.of(FILES, **given))
        web = httpx.Client(transport=wire or httpx.HTTPTransport(verify=False))  # certificates take long to read
        client = openai.OpenAI(base_url=self.server.url, api_key="sk-test-secret-0123", http_client=web)
        return FineTuning(
            self.folder, self.state, FILES, client, tell=self.told.append, poll=5.0, sleep=self.slept.append
        ).run()


@pytest.fixture
def run(hosted: FineTuningServer, tmp_path: Path) -> Run:
    return Run(hosted, tmp_path)


def test_supervised_comes_first_and_dpo_trains_its_model(run: Run, hosted: FineTuningServer) -> None:
    """With the hyperparameters, names and files that OpenAI documents."""
    assert run() == "ft:gpt-4.1-mini-2025-04-14:org:kind:2"
    first, second = hosted.jobs.values()
    assert (first["model"], second["model"]) == ("gpt-4.1-mini-2025-04-14", "ft:gpt-4.1-mini-2025-04-14:org:kind:1")
    assert first["method"] == {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 7}}}
    assert second["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 7}}}
    chats, preferences = texts(hosted)
    assert [row["messages"][-1]["content"] for row in chats[:2]] == ["Right 0.", "Right 1."]
    assert [message.get("weight") for message in chats[-1]["messages"]] == [None, 0, None, None]  # only the last is learned
    assert preferences[0]["non_preferred_output"] == [{"role": "assistant", "content": "Wrong 0."}]
    assert hosted.keys == {"Bearer sk-test-secret-0123"}
    assert "dpo: running" in run.told
    assert run.told[-1] == "dpo: 1234 tokens were trained, $0.01"
    assert "dpo: The job has successfully completed" in run.told
    assert len(run.told) == len(set(run.told))  # no event twice
    assert [stage.trained_tokens for stage in run.state.stages] == [1234, 1234]
    assert "sk-test" not in (run.folder / "finetune.json").read_text()


def test_what_is_done_is_not_asked_about_again(run: Run, hosted: FineTuningServer) -> None:
    """Not even once."""
    model = run()
    hosted.asked.clear()
    assert run() == model
    assert hosted.asked == []


class Killed(BaseException):
    """The process is gone."""


class KilledAt(httpx.HTTPTransport):
    """The wire of a process that is killed at its n-th request: before it is sent, or with the answer on its way."""

    def __init__(self, number: int, answered: bool) -> None:
        super().__init__(verify=False)
        self.left, self.answered = number, answered

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left == 0 and not self.answered:
            raise Killed
        response = super().handle_request(request)
        if self.left == 0:
            raise Killed
        return response


@pytest.mark.parametrize("answered", [pytest.param(False, marks=pytest.mark.long), True])
def test_killed_at_any_request_it_goes_on_and_nothing_is_made_twice(answered: bool, tmp_path: Path) -> None:
    """Also where something was made, and its id never arrived."""
    number = 0
    while True:
        number += 1
        with FineTuningServer() as hosted:
            hosted.course = ("succeeded",)
            folder = tmp_path / str(number)
            folder.mkdir()
            try:
                Run(hosted, folder)(wire=KilledAt(number, answered))
            except Killed:
                made = len(hosted.files), len(hosted.jobs)
            else:
                break
            again = Run(hosted, folder)
            assert again().startswith("ft:gpt-4.1-mini-2025-04-14:org:kind:")
            assert (len(hosted.files), len(hosted.jobs)) == (2, 2), (number, made)
    assert number > 8


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs"])
def test_a_lost_answer_is_found_again(path: str, run: Run, hosted: FineTuningServer) -> None:
    """The client itself sends nothing twice; before the second attempt it is looked what there is."""
    hosted.lose = [path, path]
    run()
    assert (hosted.posts("files"), hosted.posts("fine_tuning/jobs")) == (2, 2)
    assert 2.0 in run.slept


def test_what_was_not_made_is_made_at_the_next_attempt(run: Run, hosted: FineTuningServer) -> None:
    """A busy server, and a file that is not ready."""
    hosted.fail = {
        "/v1/files": [(500, "Oops", None)],
        "/v1/fine_tuning/jobs": [
            (429, "Slow down", None),
            (200, "", None),
            (400, "File file-1 is still being processed", None),
        ],
    }
    del hosted.fail["/v1/fine_tuning/jobs"][1]
    run()
    assert (len(hosted.files), len(hosted.jobs)) == (2, 2)


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (400, "x", InputError, "OpenAI refuses the job supervised: No"),
        (401, "invalid_api_key", BackendError, "OPENAI_API_KEY"),
        (403, None, BackendError, "permissions"),
        (404, "model_not_found", InputError, "OpenAI refuses the job supervised: No"),
        (429, "insufficient_quota", BackendError, "OpenAI refuses the job supervised: No"),
    ],
)
def test_a_refusal_is_one_line_and_not_repeated(
    status: int, code: str, kind: type[Exception], said: str, run: Run, hosted: FineTuningServer
) -> None:
    """And what is there already is used once it is mended."""
    hosted.fail = {"/v1/fine_tuning/jobs": [(status, "No", code)]}
    with pytest.raises(kind, match=said):
        run()
    assert hosted.posts("fine_tuning/jobs") == 1
    run()
    assert (len(hosted.files), len(hosted.jobs)) == (2, 2)


def test_a_server_that_stays_silent_ends_the_follow_up_and_not_the_job(run: Run, hosted: FineTuningServer) -> None:
    """The same call goes on; here another one would make too many attempts."""
    hosted.fail = {"/v1/fine_tuning/jobs/ftjob-1": [(400, "is not ready", None)] * 10}
    with pytest.raises(BackendError, match="the same command follows it"):
        run()
    assert run().endswith(":2")
    assert len(hosted.jobs) == 2


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_fails_says_why(status: str, run: Run, hosted: FineTuningServer) -> None:
    """In one line, also when it is looked at again; nothing new is begun in the same folder."""
    hosted.course = ("queued", status)
    hosted.error = {"code": "exceeded_quota", "message": "Quota is spent.", "param": None} if status == "failed" else None
    for _ in range(2):
        with pytest.raises(InputError, match=r"supervised job ftjob-1 .*another --out"):
            run()
    assert len(hosted.jobs) == 1


def test_a_file_that_openai_does_not_like_is_told(
    run: Run, hosted: FineTuningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the code and the field."""
    monkeypatch.setattr("tests.support.finetuning.FEWEST", 99)
    with pytest.raises(InputError, match=r"failed \(invalid_training_file, training_file\): Training file has 13 example"):
        run()


@pytest.mark.parametrize("change", [{"beta": 0.5}, {"model": "gpt-4.1-2025-04-14"}, {"epochs": 2}, {"suffix": "other"}])
def test_a_folder_holds_one_fine_tuning(change: dict[str, Any], run: Run) -> None:
    """Another one would pay in the name of the first."""
    run()
    with pytest.raises(InputError, match=f"another {next(iter(change))}"):
        run(**change)


def test_every_line_is_what_its_method_trains_on() -> None:
    """Earlier answers of a conversation are context."""
    for method in ("supervised", "dpo"):
        file = training_file(PAIRS, method)  # type: ignore[arg-type]
        for line in file.text.splitlines():
            check_line(json.loads(line), method)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "more than text"),
        ([{"role": "narrator", "content": "x"}], "'narrator'"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "not a user's"),
        ([{"role": "user", "content": ""}], "is empty"),
        ([{"role": "user", "content": "word " * 70_000}], "65536"),
    ],
)
def test_what_openai_cannot_train_on_is_left_out(request_: Any, said: str) -> None:
    """And told by the pair's id."""
    odd = PreferencePair(request=request_, chosen="a", rejected="b")
    fit = usable([*PAIRS, odd])
    assert list(fit.pairs) == PAIRS
    assert (fit.left_out, odd.id in fit.why, said in fit.why) == (1, True, True)


def test_too_few_examples_are_told_before_anything_is_sent() -> None:
    """A chosen side that comes twice is one example."""
    twice = [PreferencePair(request="Hi", chosen="a", rejected=f"b{n}") for n in range(12)]
    assert training_file(twice, "dpo").examples == 12
    with pytest.raises(InputError, match="1 examples for the method supervised"):
        training_file(twice, "supervised")


def test_costs_are_tokens_by_epochs_by_price() -> None:
    """Of both sides, the request is counted twice."""
    files = FILES
    state = FineTune.of(FILES, model="gpt-4.1-mini-2025-04-14", beta=0.1, epochs=2)
    assert state.dollars == pytest.approx(5.0 * 2 * (files[0].tokens + files[1].tokens) / 1e6)
    assert files[0].tokens < files[1].tokens < 2 * files[0].tokens + 20
    assert count_tokens("Hello, world!") == 4


def test_prices_and_names() -> None:
    """By the base of a fine-tuned model, too."""
    assert dated("openai/gpt-4.1-mini") == "gpt-4.1-mini-2025-04-14"
    assert price_of("ft:gpt-4.1-nano-2025-04-14:org::1") == 1.5
    assert price_of("gpt-9", 2.0) == 2.0
    with pytest.raises(ConfigurationError, match="--price"):
        price_of("gpt-9")
    assert [default_epochs(examples) for examples in (4, 10, 40, 1000, 20_000, 90_000)] == [25, 10, 3, 3, 1, 1]
