"""OpenTelemetry spans and metrics of a program's calls, by the GenAI semantic conventions.

A call is a span ``invoke_workflow``, each of its stages a span inside, with the model and the tokens of that stage. Nothing
is imported here: where the application has not loaded OpenTelemetry, nobody would take what is measured. No text is in any
attribute unless ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is true, as the conventions have it; a draft never.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from conscience._redaction import redact
from conscience.messages.rendering import Request, request_text
from conscience.observability.record import VerdictRecord
from conscience.outcome import Outcome
from conscience.usage import CallUsage, Role, UsageTracker

if TYPE_CHECKING:
    from conscience.backends.roles import Roles

SCOPE = "conscience"
CAPTURE_TEXTS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_ROLE_OF: Mapping[str, Role] = {"generate": "generate", "gate": "review", "critique": "review", "revise": "revise"}

_PROVIDERS = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "bedrock": "aws.bedrock", "gemini": "gcp.gemini",
    "mistral": "mistral_ai", "vertex_ai": "gcp.vertex_ai", "watsonx": "ibm.watsonx.ai", "xai": "x_ai",
}  # fmt: skip
"""LiteLLM's name of a provider → that of the conventions, where they differ."""

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))
_SHARES = tuple(tenth / 10 for tenth in range(1, 10))


class _Instruments(NamedTuple):
    tracer: Any
    workflow_seconds: Any
    operation_seconds: Any
    tokens: Any
    outcomes: Any
    probability: Any


def is_used() -> bool:
    """Whether somebody takes spans or metrics: other packages load the API too, and then it leads nowhere."""
    trace, metrics = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.metrics")
    try:
        return bool(
            (trace and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider))
            or (metrics and "Proxy" not in type(metrics.get_meter_provider()).__name__)
        )
    except Exception:  # a provider that the environment names, and that cannot be loaded
        return False


@lru_cache(maxsize=1)
def _instruments() -> _Instruments:
    """The API's own objects stand for the application's providers, also for those that are set later."""
    from opentelemetry import metrics, trace

    meter = metrics.get_meter(SCOPE)

    def histogram(name: str, unit: str, description: str, bounds: tuple[float, ...]) -> Any:
        try:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=list(bounds))
        except TypeError:  # an API before 1.30
            return meter.create_histogram(name, unit, description)

    return _Instruments(
        tracer=trace.get_tracer(SCOPE),
        workflow_seconds=histogram("gen_ai.workflow.duration", "s", "Seconds of a program's calls.", _SECONDS),
        operation_seconds=histogram("gen_ai.client.operation.duration", "s", "Seconds of a call's stages.", _SECONDS),
        tokens=histogram("gen_ai.client.token.usage", "{token}", "Tokens of a call's stages.", _TOKENS),
        outcomes=meter.create_counter("conscience.outcomes", "{outcome}", "Outcomes by status."),
        probability=histogram("conscience.verdict.probability", "1", "The gate's probability, of drafts.", _SHARES),
    )


class CallSpans:
    """The spans of one call, and what is measured when it ends.

    Args:
        tracker: what the call spends.
        roles: which model serves which stage.
        program, id, tenant, mode: of the call.
        behind: whether this is the review of an answer that its caller has already.
    """

    def __init__(
        self, tracker: UsageTracker, roles: Roles, *, program: str, id: str, tenant: str, mode: str, behind: bool = False
    ) -> None:
        from opentelemetry import trace

        self._trace, self._made = trace, _instruments()
        self._tracker, self._roles = tracker, roles
        self._begun = time.perf_counter()
        name = program or SCOPE
        self._behind = behind
        self._common = {"gen_ai.workflow.name": name}
        if not behind:
            self._common["gen_ai.operation.name"] = "invoke_workflow"
        attributes = {**self._common, "conscience.request.id": id, "conscience.mode": mode}
        if tenant:
            attributes["conscience.tenant"] = tenant
        operation = "observe" if behind else "invoke_workflow"
        self._span = self._made.tracer.start_span(f"{operation} {name}", attributes=attributes)
        self._current = self._enter(self._span)
        self._stage: tuple[Any, Any, str, dict[str, CallUsage], float] | None = None

    def _enter(self, span: Any) -> Any:
        from opentelemetry import context

        return context.attach(self._trace.set_span_in_context(span))

    def _leave(self, token: Any) -> None:
        from opentelemetry import context

        context.detach(token)

    def stage(self, name: str) -> None:
        """A stage begins, and the one before has ended."""
        self.end_stage()
        span = self._made.tracer.start_span(name, attributes={"conscience.stage": name})
        self._stage = (span, self._enter(span), name, dict(self._tracker.usage().by_role), time.perf_counter())

    def end_stage(self) -> None:
        """The stage that is under way has ended."""
        if self._stage is None:
            return
        (span, token, name, before, begun), self._stage = self._stage, None
        try:
            self._describe(span, name, before, time.perf_counter() - begun)
            span.end()
        finally:
            self._leave(token)

    def _describe(self, span: Any, name: str, before: Mapping[str, CallUsage], seconds: float) -> None:
        """What a stage was asked of and has spent, on its span and in the metrics; nothing where no model was asked."""
        role = _ROLE_OF.get(name, "generate")
        spent = self._tracker.usage().by_role.get(role, CallUsage()) - before.get(role, CallUsage())
        if not spent.calls and not spent.cached:
            return
        attributes = self._model(role)
        span.update_name(f"{name} {attributes.get('gen_ai.request.model', '')}".strip())
        span.set_attributes(
            {
                **attributes,
                "gen_ai.usage.input_tokens": spent.input_tokens,
                "gen_ai.usage.output_tokens": spent.output_tokens,
                "gen_ai.usage.cache_read.input_tokens": spent.reused_tokens,
                "conscience.calls": spent.calls,
            }
        )
        labels = {**attributes, "conscience.stage": name}
        self._made.operation_seconds.record(seconds, labels)
        for kind, count in (("input", spent.input_tokens), ("output", spent.output_tokens)):
            self._made.tokens.record(count, {**labels, "gen_ai.token.type": kind})

    def _model(self, role: Role) -> dict[str, Any]:
        backend = self._roles.own(role)
        if backend is None:
            return {"gen_ai.operation.name": "chat"}
        provider, _, model = backend.name.rpartition("/")
        provider = provider.partition("/")[0]
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
        return {**attributes, "gen_ai.provider.name": _PROVIDERS.get(provider, provider or SCOPE)}

    def end(
        self,
        record: VerdictRecord,
        outcome: Outcome | None,
        request: Request | None,
        error: Exception | None,
        *,
        judged: bool,
    ) -> None:
        """The call has ended.

        Args:
            record: what the log holds of it.
            outcome: what the caller gets; None where that is an error, or where it has its answer already.
            request: what was asked.
            error: what was raised.
            judged: whether this is the end of the review too, which may be yet to come.
        """
        try:
            self._tell(record, outcome, request, error, judged)
        finally:
            self._close()

    def _tell(
        self,
        record: VerdictRecord,
        outcome: Outcome | None,
        request: Request | None,
        error: BaseException | None,
        judged: bool,
    ) -> None:
        self.end_stage()
        status = record.status if judged else "observed"
        labels = {**self._common, "conscience.status": status, "conscience.mode": record.mode}
        if error is not None:
            labels["error.type"] = type(error).__name__
            self._span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, record.error))
        attributes: dict[str, Any] = {**labels, "conscience.calls": record.calls}
        if judged:
            attributes |= {
                "conscience.flagged": record.flagged,
                "conscience.threshold": record.threshold,
                "conscience.method": record.method,
                "conscience.revisions": record.revisions,
                "conscience.principles": list(record.principles),
            }
            self._made.outcomes.add(1, labels)
        if record.probability is not None:
            attributes["conscience.probability"] = record.probability
            self._made.probability.record(record.probability, labels)
        if os.environ.get(CAPTURE_TEXTS, "").lower() == "true" and outcome is not None:
            asked = "" if request is None else request_text(request)
            attributes["gen_ai.input.messages"] = _message("user", asked)
            attributes["gen_ai.output.messages"] = _message("assistant", outcome.response)
        self._span.set_attributes(attributes)
        if not self._behind:
            self._made.workflow_seconds.record(time.perf_counter() - self._begun, labels)

    def _close(self) -> None:
        try:
            self.end_stage()
            self._span.end()
        finally:
            self._leave(self._current)


def _message(role: str, text: str) -> str:
    """A turn as the conventions write it."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": redact(text)}]}], ensure_ascii=False)
