"""Spans and metrics by the GenAI conventions, against OpenTelemetry's SDK, and logging with the ids of requests."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from conscience import Conscience, request_context
from conscience.observability import RequestIdFilter, flush
from conscience.observability.telemetry import CAPTURE_TEXTS
from conscience.testing import Fault
from tests.support.scripts import bad_then_good

exporter = InMemorySpanExporter()
reader = InMemoryMetricReader()


@pytest.fixture(scope="module", autouse=True)
def _providers() -> Iterator[None]:
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    yield
    tracers.shutdown()  # what other files do in this process is not kept
    meters.shutdown()


@pytest.fixture
def spans() -> Iterator[Any]:
    reader.get_metrics_data()
    exporter.clear()
    yield exporter.get_finished_spans
    exporter.clear()


def points(name: str) -> dict[tuple[Any, ...], Any]:
    """What a metric holds, by its labels."""
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    found.update({tuple(sorted(point.attributes.items())): point for point in metric.data.data_points})
    return found


def called(program: Conscience, way: str) -> Any:
    with request_context(id="r-1", tenant="acme"):
        return program(question="q") if way == "sync" else asyncio.run(program.acall(question="q"))


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_call_is_a_span_and_each_stage_one_inside(way: str, spans: Any) -> None:
    program = Conscience("question -> answer", lm=bad_then_good(), name="support")
    with trace.get_tracer("app").start_as_current_span("request") as request:
        called(program, way)
    *stages, call, _ = spans()
    assert [span.name for span in stages] == ["generate lm", "gate lm", "critique lm", "revise lm", "gate lm"]
    assert call.name == "invoke_workflow support"
    assert call.parent.span_id == request.get_span_context().span_id
    assert {span.parent.span_id for span in stages} == {call.context.span_id}
    said = call.attributes
    assert (said["gen_ai.operation.name"], said["gen_ai.workflow.name"]) == ("invoke_workflow", "support")
    assert (said["conscience.status"], said["conscience.mode"], said["conscience.flagged"]) == ("revised", "enforce", True)
    assert (said["conscience.request.id"], said["conscience.tenant"]) == ("r-1", "acme")
    generate = stages[0].attributes
    assert (generate["gen_ai.operation.name"], generate["gen_ai.provider.name"]) == ("chat", "scripted")
    assert (generate["gen_ai.request.model"], generate["conscience.stage"]) == ("lm", "generate")
    assert generate["gen_ai.usage.input_tokens"] > 0
    assert not trace.get_current_span().get_span_context().is_valid


def test_tokens_of_the_stages_add_up_to_those_of_the_call(spans: Any) -> None:
    outcome = Conscience("question -> answer", lm=bad_then_good())(question="q")
    stages = [span.attributes for span in spans() if "conscience.stage" in span.attributes]
    spent = [stage["gen_ai.usage.input_tokens"] + stage["gen_ai.usage.output_tokens"] for stage in stages]
    assert sum(spent) == outcome.usage.tokens
    assert sum(stage["conscience.calls"] for stage in stages) == outcome.usage.calls


def test_no_text_is_in_a_span_unless_it_is_asked_for_and_a_draft_never(spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Conscience("question -> answer", lm=bad_then_good())
    program(question="What is it?")
    silent = "".join(span.to_json() for span in spans())
    assert not any(text in silent for text in ("What is it?", "Good.", "Bad."))
    exporter.clear()
    monkeypatch.setenv(CAPTURE_TEXTS, "true")
    program(question="What is it?")
    [call] = [span for span in spans() if span.name.startswith("invoke")]
    [turn] = json.loads(call.attributes["gen_ai.output.messages"])
    assert turn == {"role": "assistant", "parts": [{"type": "text", "content": "Good."}]}
    assert "What is it?" in call.attributes["gen_ai.input.messages"]
    assert "Bad." not in "".join(span.to_json() for span in spans())


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_error_is_on_the_span_by_its_type(way: str, spans: Any) -> None:
    program = Conscience("question -> answer", lm=bad_then_good(generate=Fault("auth")))
    with pytest.raises(Exception, match="scripted"):
        called(program, way)
    stage, call = spans()
    assert (stage.name, call.attributes["error.type"]) == ("generate", "BackendError")
    assert (call.status.status_code.name, call.attributes["conscience.status"]) == ("ERROR", "failed")


def test_the_review_of_an_observed_answer_is_a_span_of_its_own_below_the_call(spans: Any) -> None:
    program = Conscience("question -> answer", lm=bad_then_good(), mode="observe", name="support")
    program(question="q")
    assert flush(30)
    by_name = {span.name: span for span in spans()}
    call, review = by_name["invoke_workflow support"], by_name["observe support"]
    assert review.parent.span_id == call.context.span_id
    assert (call.attributes["conscience.status"], review.attributes["conscience.status"]) == ("observed", "revised")
    assert by_name["critique lm"].parent.span_id == review.context.span_id


def test_metrics_count_each_outcome_and_its_tokens_once(spans: Any) -> None:
    for mode in ("enforce", "observe"):
        Conscience("question -> answer", lm=bad_then_good(), name=f"m-{mode}", mode=mode)(question="q")
    assert flush(30)
    outcomes = points("conscience.outcomes")
    mine = [(dict(labels), point.value) for labels, point in outcomes.items() if "m-" in str(labels)]
    assert sorted((labels["conscience.mode"], labels["conscience.status"], count) for labels, count in mine) == [
        ("enforce", "revised", 1),
        ("observe", "revised", 1),
    ]
    workflows = points("gen_ai.workflow.duration")
    assert sum(point.count for labels, point in workflows.items() if "m-" in str(labels)) == 2
    stages = {dict(labels)["conscience.stage"] for labels in points("gen_ai.client.operation.duration")}
    assert stages == {"generate", "gate", "critique", "revise"}
    assert {dict(labels)["gen_ai.token.type"] for labels in points("gen_ai.client.token.usage")} == {"input", "output"}


def test_an_exporter_that_fails_harms_no_answer(spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no")

    program = Conscience("question -> answer", lm=bad_then_good())
    for name in ("on_start", "on_end"):
        with monkeypatch.context() as broken:
            broken.setattr(SimpleSpanProcessor, name, fails)
            assert program(question="q").answer == "Good."


QUIET = """
import sys
from conscience import Conscience
from conscience.testing import ScriptedLM, by_stage
Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")))(question="q")
print([name for name in sys.modules if name.startswith("opentelemetry")])
import opentelemetry.metrics
import opentelemetry.trace
from conscience.observability.telemetry import is_used
print(is_used())
from opentelemetry.sdk.trace import TracerProvider
opentelemetry.trace.set_tracer_provider(TracerProvider())
print(is_used())
"""


def test_nothing_is_imported_nor_done_for_who_does_not_use_it() -> None:
    """Nor where another package has loaded the API."""
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\nFalse\nTrue\n", "")


# Logging ---------------------------------------------------------------------------------------------------------------


def test_a_call_is_a_line_with_its_requests_id_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "conscience"):
        called(Conscience("question -> answer", lm=bad_then_good()), "sync")
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("request ")]
    assert line.startswith("request r-1: revised (enforce), probability 0.9")
    assert not any(text in caplog.text for text in ("Good.", "Bad."))


def test_every_line_below_a_request_can_show_its_id() -> None:
    """Also those of the application's own code; a call without an id has one while it is watched."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Handler()
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(logging.Formatter("%(request_id)s %(message)s"))
    logger = logging.getLogger("app")
    logger.addHandler(handler)
    try:
        logger.error("outside")
        with request_context(id="r-1"):
            logger.error("inside")
    finally:
        logger.removeHandler(handler)
    assert lines == ["- outside", "r-1 inside"]
