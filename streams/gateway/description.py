"""Additions to the framework's description of the API: the vote calls, and the form of errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec
from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Schema,
    Tag,
)

from streams.gateway.examples import ANSWERS, example_of
from streams.gateway.problems import MEDIA_TYPE
from streams.gateway.vote_calls import VoteCall

_NAME: Final = "Problem"
PROBLEM: Final = {
    "type": "about:blank",
    "title": "Not Found",
    "status": 404,
    "detail": "No such contest",
}
TAGS: Final = {
    "votes": "Votes and their outcomes",
    "contests": "The result of any contest, in one form",
    "results": "Totals",
    "elections": "What is elected, and where",
    "polls": "Polls and their votes",
    "live": "Totals as they change",
    "proof": "That a vote is in the signed log",
    "tally": "Encrypted tallies",
    "operators": "Figures for operators",
    "health": "Whether the gateway works",
}
"""Groups of operations in their order, with what they are about."""
_COMPONENT: Final = "#/components/schemas/{name}"

_PROBLEM: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="RFC 9457. Faults of a form are also members, named as its fields.",
    properties={
        "type": Schema(type=OpenAPIType.STRING),
        "title": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.ARRAY],
            description="The status in words; below `/api/polls` the faults of that field.",
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


def describe_vote_calls(app: Litestar, calls: Iterable[VoteCall]) -> None:
    """Add the calls that the framework does not serve."""
    schema = app.openapi_schema
    assert schema.components.schemas is not None
    paths = schema.paths = schema.paths or {}
    for call in calls:
        (body, answer), components = msgspec.json.schema_components(
            [call.body, call.answer], ref_template=_COMPONENT
        )
        # JSON Schema as it is: the description is written from nested dictionaries too.
        schema.components.schemas.update(cast("dict[str, Schema]", components))
        for path in call.paths:
            operation = Operation(
                tags=[call.tag],
                summary=call.summary,
                operation_id="".join(part.title() for part in path.split("/")),
                request_body=RequestBody(_json(body), required=True),
                responses={"202": OpenAPIResponse("A broker has the vote", content=_json(answer))},
            )
            paths[path] = PathItem(post=operation)


def _json(reference: dict[str, str]) -> dict[str, OpenAPIMediaType]:
    return {"application/json": OpenAPIMediaType(schema=Reference(ref=reference["$ref"]))}


def describe_problems(app: Litestar) -> None:
    """Let every operation's description name the problems it may answer with."""
    schema = app.openapi_schema
    assert schema.components.schemas is not None
    schema.components.schemas[_NAME] = _PROBLEM
    for path in (schema.paths or {}).values():
        for operation in (path.get, path.post, path.put, path.delete):
            if operation is not None:
                _describe(operation)


def describe_by_examples(app: Litestar) -> None:
    """Give every parameter, body and answer an example; paths come in the order of their groups."""
    schema = app.openapi_schema
    schema.tags = [Tag(name, description) for name, description in TAGS.items()]
    order = list(TAGS)

    # The framework collects paths of one handler in a set.
    def place(one: tuple[str, PathItem]) -> tuple[int, str]:
        path, item = one
        first = next(each for each in (item.get, item.post, item.put, item.delete) if each)
        return order.index(str((first.tags or ["health"])[0])), path

    schema.paths = dict(sorted((schema.paths or {}).items(), key=place))
    plain = schema.to_schema()
    components = plain["components"]["schemas"]
    for path, item in (schema.paths or {}).items():
        for method in ("get", "post", "put", "delete"):
            operation: Operation | None = getattr(item, method)
            if operation is None:
                continue
            described = plain["paths"][path][method]
            for parameter, one in zip(
                operation.parameters or [], described.get("parameters", []), strict=True
            ):
                if isinstance(parameter, Parameter):
                    parameter.example = example_of(one["schema"], components, one["name"])
            if isinstance(operation.request_body, RequestBody):
                _fill(operation.request_body.content, described["requestBody"], components, None)
            answer = ANSWERS.get(f"{method.upper()} {path}")
            for code, response in (operation.responses or {}).items():
                if isinstance(response, OpenAPIResponse) and response.content:
                    own = answer if code.startswith("2") else None
                    _fill(response.content, described["responses"][code], components, own)


def _fill(
    content: dict[str, OpenAPIMediaType], described: Any, components: Any, known: object
) -> None:
    for media, one in content.items():
        schema = described["content"][media].get("schema", {})
        if isinstance(one.schema, Schema) and one.schema.one_of:
            # What has all fields of one form may have those of another too.
            one.schema.any_of, one.schema.one_of = one.schema.one_of, None
        if media == MEDIA_TYPE:
            one.example = PROBLEM
        else:
            one.example = example_of(schema, components) if known is None else known


def _describe(operation: Operation) -> None:
    responses = operation.responses
    assert responses is not None
    responses.pop("400", None)
    content = {MEDIA_TYPE: OpenAPIMediaType(schema=Reference(ref=_COMPONENT.format(name=_NAME)))}
    responses["4XX"] = OpenAPIResponse(
        "The request cannot be served as sent", content=dict(content)
    )
    responses["5XX"] = OpenAPIResponse("The gateway cannot serve it now", content=dict(content))
