"""What a client is told when a request fails: OpenAI's error shape, with a status that says whose fault it is.

A verdict is never told as an outage, nor an outage as a verdict: what a model's failure led to is 5xx, and only a caller's
own fault, a request that a model refuses, or a text that stayed flagged where the policy is "raise", is 4xx. OpenAI's
clients repeat what is 408, 409, 429 and 5xx unless ``x-should-retry`` says otherwise, so that header is sent where asking
again cannot help.

A model's failure is described by its kind alone. The provider's words, which may name addresses, go to the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience.errors import (
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    ConscienceError,
    ContextTooLong,
    EmptyAnswer,
    InputError,
    ReviewError,
    UnresolvedError,
)

Headers = Mapping[str, str]


class ApiError(Exception):
    """An error as a client sees it.

    Args:
        status: the HTTP status.
        message: one line, which quotes nothing of what was generated.
        kind: OpenAI's ``type``.
        code: OpenAI's ``code``: what a program can act on.
        param: the parameter that is at fault.
        headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """``{"error": {"message", "type", "param", "code"}}``"""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


_AGAIN = {"retry-after": "1"}
_NOT_AGAIN = {"x-should-retry": "false"}


def invalid(message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> ApiError:
    """A request that cannot be used."""
    return ApiError(status, message, code=code, param=param)


def unauthorized(message: str) -> ApiError:
    """No key, or one that is not known."""
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def forbidden(message: str) -> ApiError:
    """A key that is known and may not do this."""
    return ApiError(403, message, kind="permission_error", code="forbidden")


def no_such_model(name: str) -> ApiError:
    """A model that this server has not, or not for this key."""
    return invalid(f"The model {name[:100]!r} does not exist or you do not have access to it.", status=404,
                   code="model_not_found", param="model")  # fmt: skip


def too_busy(message: str) -> ApiError:
    """The server has no room for the request now."""
    return ApiError(429, message, kind="rate_limit_error", code="server_busy", headers=_AGAIN)


def out_of_time(seconds: float) -> ApiError:
    """The request took longer than the server allows."""
    return ApiError(504, f"The request took longer than {seconds:g} s.", kind="server_error", code="timeout")


def shutting_down() -> ApiError:
    """The server ends before the answer does."""
    return ApiError(503, "The server is shutting down.", kind="server_error", code="shutting_down", headers=_AGAIN)


def internal() -> ApiError:
    """A fault of the server's own."""
    return ApiError(
        500, "The server had an error of its own.", kind="server_error", code="internal_error", headers=_NOT_AGAIN
    )


def api_error(error: ConscienceError) -> ApiError:
    """What a program call's error is to a client."""
    match error:
        case BackendError(in_review=True):
            again = _AGAIN if error.retryable else _NOT_AGAIN
            return _upstream("The answer could not be reviewed, so it is not shown.", "review_failed", again)
        case InputError():
            return invalid(str(error), code="invalid_value", param=getattr(error, "param", None))
        case UnresolvedError():  # a verdict, where the policy is "raise"
            message = "The answer goes against the constitution that this server answers by, and no revision passed."
            return invalid(message, code="content_filter")
        case ContextTooLong():
            message = "The request does not fit the context of the model. Shorten it."
            return invalid(message, code="context_length_exceeded", param="messages")
        case EmptyAnswer(reason="filtered"):
            message = "The provider's own content filter held the answer back."
            return invalid(message, code="provider_content_filter", param="messages")
        case EmptyAnswer(reason="cut"):
            message = "The model's tokens ended before its first word. Raise the limit of tokens."
            return invalid(message, code="max_tokens_too_low", param="max_tokens")
        case BackendError(retryable=True):
            return _upstream("The model behind this server does not answer now.", "model_unavailable", _AGAIN)
        case BackendError(gone=False):
            return invalid(
                "The model behind this server refuses this request, or a parameter of it.", code="refused_by_model"
            )
        case BackendError():
            return _upstream("The model behind this server refuses the call.", "model_error", _NOT_AGAIN, status=502)
        case BudgetExceeded():
            return _upstream("The budget of this call is spent.", "budget_exceeded", _NOT_AGAIN)
        case ReviewError():
            return _upstream("The answer could not be reviewed, so it is not shown.", "review_failed", _AGAIN)
        case ConfigurationError():
            message = "This server's model is not set up."
            return ApiError(500, message, kind="server_error", code="configuration_error", headers=_NOT_AGAIN)
        case _:
            return internal()


def _upstream(message: str, code: str, headers: Headers, *, status: int = 503) -> ApiError:
    return ApiError(status, message, kind="server_error", code=code, headers=headers)
