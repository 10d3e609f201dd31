"""Eyes on a program: its verdicts in a log, hooks on its outcomes, spans and metrics, and a mode that only looks."""

from conscience.observability.background import flush_all as flush
from conscience.observability.context import RequestIdFilter, call_mode, request_context, request_id, tenant
from conscience.observability.mode import Observe
from conscience.observability.record import VerdictRecord

__all__ = ["Observe", "RequestIdFilter", "VerdictRecord", "call_mode", "flush", "request_context", "request_id", "tenant"]
