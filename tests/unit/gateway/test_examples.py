"""Every operation of the API is described, with examples that fit their schemas."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from litestar import Litestar
from litestar.exceptions import LitestarDeprecationWarning
from prometheus_client import CollectorRegistry

from streams.gateway import app as application
from streams.gateway.examples import ANSWERS
from streams.runtime.metrics import GatewayMetrics
from tests.doors.places import served


def described() -> dict[str, Any]:
    """The description of a gateway that is not connected."""
    handlers, calls = served()
    kept: list[Litestar] = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # How the framework will want parameters declared, in a later version.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        describe = application.describe_by_examples
        patch.setattr(
            application, "describe_by_examples", lambda app: (describe(app), kept.append(app))
        )
        application.create_app(
            handlers, calls, metrics=GatewayMetrics(CollectorRegistry()), max_body_bytes=1000
        )
    # As a client gets it: some defaults are objects.
    found: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(kept[0].openapi_schema.to_schema())
    )
    return found


DESCRIPTION = described()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DESCRIPTION["paths"].items()
    for method, operation in item.items()
}


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything of an operation that has a schema."""
    for parameter in operation.get("parameters", []):
        yield f"parameter {parameter['name']}", parameter
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"body {media}", content
    for code, answer in operation["responses"].items():
        for media, content in answer.get("content", {}).items():
            yield f"answer {code} {media}", content


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_is_described_with_examples_that_fit(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"]
    for place, described in examples(operation):
        assert "example" in described, place
        schema = {**described.get("schema", {}), "components": DESCRIPTION["components"]}
        faults = list(jsonschema_rs.Draft202012Validator(schema).iter_errors(described["example"]))
        assert not faults, f"{place}: {faults[0].message}: {described['example']}"


def test_answers_that_may_be_anything_are_given_by_hand() -> None:
    assert set(ANSWERS) <= set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        for place, described in examples(operation):
            if place.startswith("answer 2"):
                assert described["example"] not in ({}, [], [{}], "", None), f"{name}: {place}"


def test_groups_come_in_the_declared_order_with_votes_and_results_first() -> None:
    declared = [tag["name"] for tag in DESCRIPTION["tags"]]
    groups = [operation["tags"][0] for operation in OPERATIONS.values()]
    assert list(dict.fromkeys(groups)) == declared
    assert declared[:3] == ["votes", "contests", "results"]


def test_there_are_operations() -> None:
    assert len(OPERATIONS) > 60
