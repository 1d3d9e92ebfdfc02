"""What the API's description says of errors: the framework's own form of them is not ours."""

from __future__ import annotations

from typing import Final

from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    Schema,
)

from streams.gateway.problems import MEDIA_TYPE

_NAME: Final = "Problem"

_PROBLEM: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="RFC 9457. Faults of a form stand under the names of its fields too.",
    properties={
        "type": Schema(type=OpenAPIType.STRING),
        "title": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.ARRAY],
            description="Of the status; below `/api/polls` the faults of a field of that name.",
        ),
        "status": Schema(type=OpenAPIType.INTEGER),
        "detail": Schema(type=OpenAPIType.STRING),
        "errors": Schema(
            type=OpenAPIType.OBJECT,
            additional_properties=Schema(
                type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING)
            ),
        ),
    },
    required=["type", "title", "status", "detail"],
)


def describe_problems(app: Litestar) -> None:
    """Let every operation's description name the problems it may answer with."""
    schema = app.openapi_schema
    assert schema.components.schemas is not None
    schema.components.schemas[_NAME] = _PROBLEM
    for path in (schema.paths or {}).values():
        for operation in (path.get, path.post, path.put, path.delete):
            if operation is not None:
                _describe(operation)


def _describe(operation: Operation) -> None:
    responses = operation.responses
    assert responses is not None
    responses.pop("400", None)
    content = {MEDIA_TYPE: OpenAPIMediaType(schema=Reference(ref=f"#/components/schemas/{_NAME}"))}
    responses["4XX"] = OpenAPIResponse("What is wrong with the request", content=dict(content))
    responses["5XX"] = OpenAPIResponse("What the gateway cannot do now", content=dict(content))
