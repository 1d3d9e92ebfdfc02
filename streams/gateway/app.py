"""The application: handlers, errors, limits and the description of the API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.types import ASGIApp

from streams.gateway.cors import CrossOrigin
from streams.gateway.description import (
    describe_by_examples,
    describe_problems,
    describe_vote_calls,
)
from streams.gateway.middleware import RequestMiddleware
from streams.gateway.problems import Localised, on_error, unchanged
from streams.gateway.vote_calls import VoteCall, VoteCalls
from streams.runtime.metrics import GatewayMetrics


def create_app(
    handlers: Sequence[BaseRouteHandler],
    calls: Sequence[VoteCall],
    *,
    metrics: GatewayMetrics,
    max_body_bytes: int,
    cors_origins: Sequence[str] = (),
    embed_origins: Sequence[str] = (),
    photo_origins: Sequence[str] = (),
    localised: Localised = unchanged,
) -> ASGIApp:
    """The application of a gateway.

    Args:
        handlers: serve all but votes.
        calls: cast votes.
        metrics: of the gateway.
        max_body_bytes: longer bodies are refused.
        cors_origins: web origins whose pages may call the API.
        embed_origins: web origins whose pages may show a contest in a frame.
        photo_origins: web origins of photos of candidates.
        localised: gives problems in the caller's language.
    """
    framework = Litestar(
        list(handlers),
        exception_handlers={Exception: partial(on_error, localised=localised)},
        request_max_body_size=max_body_bytes,
        openapi_config=OpenAPIConfig(
            title="Scrutin",
            version="1",
            description="Votes, results and polls. Errors are application/problem+json.",
            path="/schema",
            render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        ),
        logging_config=None,
        debug=False,
    )
    describe_vote_calls(framework, calls)
    describe_problems(framework)
    describe_by_examples(framework)
    return RequestMiddleware(
        VoteCalls(calls, otherwise=framework, max_body_bytes=max_body_bytes, localised=localised),
        metrics,
        CrossOrigin(cors_origins) if cors_origins else None,
        embed_origins,
        photo_origins,
    )
