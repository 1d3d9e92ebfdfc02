"""Errors as `application/problem+json` (RFC 9457).

Clients of the replaced services read `detail`, and find the faults of a form under the names of its
fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from streams.core.contests import ContestRefused
from streams.errors import ScrutinError, ServiceUnavailable
from streams.gateway.client_address import AnyRequest

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
"""During an outage."""

_TALLY_PATHS: Final = (
    *("/api/election/", "/api/guardian/", "/api/jobs/", "/api/combine-", "/api/create-tally"),
    *("/api/initiate-", "/api/create-partial-decryption"),
)
_AT_FIELD: Final = re.compile(r"(?P<fault>.*) - at `\$\.(?P<field>\w+)")
"""How msgspec names the field that does not fit."""


class Problem(Exception):
    """A request that cannot be served, and what the caller is told.

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


Localised = Callable[[Problem, str], Problem]


class Unavailable(Problem):
    """A service that the request needs is unavailable; nothing was accepted."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_S)}
        )


def problem_response(problem: Problem, path: str = "") -> Response[bytes]:
    """The response for a problem.

    Args:
        problem: to describe.
        path: of the request. Below `/api/polls`, deployed clients read faults of the field `title`
            under that name, so there they replace the member `title`.
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
    if path.startswith(_TALLY_PATHS):
        # What deployed clients of the tally read.
        body |= {"success": False, "message": problem.detail}
    if "title" in problem.faults and path.startswith("/api/polls"):
        body["title"] = problem.faults["title"]
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def unchanged(problem: Problem, _: str) -> Problem:
    """A problem as it is, in English."""
    return problem


def on_error(
    request: AnyRequest, error: Exception, localised: Localised = unchanged
) -> Response[bytes]:
    """The response for any error of a request.

    Args:
        request: the request.
        error: raised by a handler or by the framework.
        localised: gives a problem in a language that an `Accept-Language` names.
    """
    path = request.url.path
    problem = problem_of(error, path)
    if problem is None:
        # The caller learns nothing. The path may hold a receipt, so the log line does without it.
        if isinstance(error, ScrutinError):
            log.error("a request failed", error=str(error))
        else:
            name = type(error).__name__
            log.error("a request failed", error=name, method=request.method, exc_info=error)
        problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed")
    return problem_response(localised(problem, request.headers.get("accept-language", "")), path)


def problem_of(error: Exception, path: str) -> Problem | None:
    """The problem that an error is to the caller; None for a fault of the gateway.

    Args:
        error: raised by a handler or by the framework.
        path: of the request.
    """
    match error:
        case Problem():
            return error
        case ValidationException():
            return _unfit(path, error.detail, _faults(error))
        case HTTPException():
            return Problem(error.status_code, error.detail, headers=dict(error.headers or {}))
        case ContestRefused() | UnicodeDecodeError() | RecursionError():
            # The framework reads bodies of polls.
            what = error.what if isinstance(error, ContestRefused) else "The body is not JSON"
            return Problem(HTTPStatus.BAD_REQUEST, what)
        case ServiceUnavailable():
            return Unavailable(error.what)
    return None


def unreadable_body(error: Exception, path: str) -> Problem:
    """The problem of a body that is not the JSON that a vote call takes.

    Args:
        error: raised by the decoder.
        path: of the request.
    """
    if not isinstance(error, msgspec.ValidationError):
        return Problem(_unfit_status(path), "The body is not JSON")
    found = _AT_FIELD.match(str(error))
    field, fault = (found["field"], found["fault"]) if found else ("data", str(error))
    return _unfit(path, f"Validation failed for POST {path}", {field: [fault]})


def _unfit(path: str, detail: str, faults: Mapping[str, list[str]]) -> Problem:
    return Problem(_unfit_status(path), detail, faults=faults)


def _unfit_status(path: str) -> HTTPStatus:
    # Clients of the vote API expect 422, those of the polls 400.
    if path.startswith("/api/v1/"):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.BAD_REQUEST


def _faults(error: ValidationException) -> dict[str, list[str]]:
    faults: dict[str, list[str]] = {}
    extra = error.extra
    for fault in extra if isinstance(extra, list) else []:
        if isinstance(fault, dict):
            name = str(fault.get("key") or "body")
            faults.setdefault(name, []).append(str(fault.get("message", "is not valid")))
    return faults
