"""The application: handlers, errors, limits and the description of the API."""

from __future__ import annotations

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.types import ASGIApp

from streams.errors import ScrutinError
from streams.gateway.description import describe_problems
from streams.gateway.fast_path import Shortcut
from streams.gateway.handlers.elections import election_handlers
from streams.gateway.handlers.live import live_handlers
from streams.gateway.handlers.operators import operator_handlers
from streams.gateway.handlers.pages import page_handlers
from streams.gateway.handlers.polls import poll_handlers
from streams.gateway.handlers.results import result_handlers
from streams.gateway.handlers.status import status_handlers
from streams.gateway.handlers.tally import tally_handlers
from streams.gateway.handlers.votes import vote_handlers
from streams.gateway.middleware import Edge
from streams.gateway.problems import Problem, on_http, on_problem, on_scrutin, on_unexpected
from streams.gateway.services import Parts


def create_app(parts: Parts) -> ASGIApp:
    """The application over its parts, which must be open while it serves."""
    settings = parts.settings
    handlers: list[BaseRouteHandler] = [
        *status_handlers(parts),
        *vote_handlers(parts),
        *result_handlers(parts),
        *election_handlers(parts),
        *live_handlers(parts),
        *poll_handlers(parts),
        *operator_handlers(parts),
        *tally_handlers(parts),
        *page_handlers(),
    ]
    app = Litestar(
        handlers,
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http,
            ScrutinError: on_scrutin,
            Exception: on_unexpected,
        },
        cors_config=_cors(settings.cors_origins),
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig(
            title="Scrutin",
            version="1",
            description="Votes, results and polls. Errors are `application/problem+json`.",
            path="/schema",
            render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        ),
        logging_config=None,
        debug=False,
    )
    describe_problems(app)
    shortcut = Shortcut(handlers, max_body_bytes=settings.max_body_bytes)
    return Edge(app, shortcut, parts.metrics)


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Content-Type", "X-API-Key", "X-Edit-Token", "X-Request-ID"],
        expose_headers=["Retry-After", "Location", "X-Request-ID"],
        max_age=600,
    )
