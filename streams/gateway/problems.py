"""Errors as `application/problem+json` (RFC 9457).

`detail` is the member that deployed clients read of the services before, and the faults of a form
stand under the names of its fields, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from streams.core.contests import ContestRefused
from streams.errors import ScrutinError, ServiceUnavailable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
"""After an outage."""


class Problem(Exception):
    """A request that cannot be fulfilled, and what to tell about it.

    Args:
        status: HTTP status.
        detail: one sentence for the caller.
        headers: of the response.
        faults: field of the request -> what is wrong with it.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        faults: Mapping[str, list[str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.faults = dict(faults or {})


class Unavailable(Problem):
    """A service that is needed is away; nothing was accepted."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_S)}
        )


def problem_response(problem: Problem, path: str = "") -> Response[bytes]:
    """The response that tells a problem.

    Args:
        problem: to tell.
        path: of the request; where deployed clients of the polls call, the faults of the field
            `title` go before the member of that name.
    """
    body: dict[str, Any] = {
        **problem.faults,
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.faults:
        body["errors"] = problem.faults
    if "title" in problem.faults and path.startswith("/api/polls"):
        body["title"] = problem.faults["title"]
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    """Tell a problem of ours."""
    return problem_response(error, request.url.path)


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Tell an error of the framework.

    What does not fit is 422 to clients of the vote API and 400 to those of the polls, as before.
    """
    if isinstance(error, ValidationException):
        status = 422 if request.url.path.startswith("/api/v1/") else 400
        return problem_response(Problem(status, error.detail, faults=_faults(error)))
    return problem_response(
        Problem(error.status_code, error.detail, headers=dict(error.headers or {}))
    )


def _faults(error: ValidationException) -> dict[str, list[str]]:
    faults: dict[str, list[str]] = {}
    extra = error.extra
    for fault in extra if isinstance(extra, list) else []:
        if isinstance(fault, dict):
            name = str(fault.get("key") or "body")
            faults.setdefault(name, []).append(str(fault.get("message", "is not valid")))
    return faults


def on_scrutin(_: Request[Any, Any, Any], error: ScrutinError) -> Response[bytes]:
    """Tell an outage; anything else of ours is a fault of the gateway."""
    if isinstance(error, ContestRefused):
        return problem_response(Problem(HTTPStatus.BAD_REQUEST, error.what))
    if isinstance(error, ServiceUnavailable):
        return problem_response(Unavailable(error.what))
    log.error("a request failed", error=str(error))
    return problem_response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed"))


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Tell nothing; the log has the traceback. The path may hold a receipt, so it has the route."""
    log.error("a request failed", error=type(error).__name__, method=request.method, exc_info=error)
    return problem_response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed"))
