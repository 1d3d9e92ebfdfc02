"""What stands around the programs of a scenario before they start: proxies, other code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streams.devstack import Stack
from tests.faults.broken import broken_product
from tests.faults.proxy import LOOPBACK, Proxy
from tests.faults.services import VALIDATION, NotPossibleHere, Rabbit


@dataclass(frozen=True)
class Surroundings:
    """What the programs of a scenario find."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """More environment variables for all of them."""
    proxy: Proxy | None = None
    """Between them and a service; everybody else goes direct."""
    cwd: Path | None = None
    """Where they run, if they are to run other code than ours."""
    queue: Mapping[str, Any] | None = None
    """Arguments of `votes.validation`, if it is to be there before they start."""


Around = Callable[[Stack], AbstractAsyncContextManager[Surroundings]]
"""Makes surroundings for a stack that is up, and takes them away."""


@asynccontextmanager
async def nothing(stack: Stack) -> AsyncIterator[Surroundings]:
    """Nothing in particular."""
    del stack
    yield Surroundings()


@asynccontextmanager
async def proxied_kafka(stack: Stack) -> AsyncIterator[Surroundings]:
    """A proxy before Kafka, which names it as its own address."""
    place = stack.proxied_kafka()
    if place is None:
        raise NotPossibleHere("this stack was brought up without a listener for a proxy")
    with Proxy(place.host, place.port, port=place.proxy_port) as proxy:
        yield Surroundings({"KAFKA_BOOTSTRAP_SERVERS": f"{proxy.host}:{proxy.port}"}, proxy)


@asynccontextmanager
async def proxied_postgres(stack: Stack) -> AsyncIterator[Surroundings]:
    """A proxy before PostgreSQL."""
    with _proxy(stack, "POSTGRES") as proxy:
        yield Surroundings({"POSTGRES_HOST": LOOPBACK, "POSTGRES_PORT": str(proxy.port)}, proxy)


@asynccontextmanager
async def proxied_rabbitmq(stack: Stack) -> AsyncIterator[Surroundings]:
    """A proxy before RabbitMQ."""
    with _proxy(stack, "RABBITMQ") as proxy:
        yield Surroundings({"RABBITMQ_HOST": LOOPBACK, "RABBITMQ_PORT": str(proxy.port)}, proxy)


def _proxy(stack: Stack, prefix: str) -> Proxy:
    env = stack.env()
    return Proxy(env[f"{prefix}_HOST"], int(env[f"{prefix}_PORT"]))


def impatient_rabbitmq(timeout_ms: int) -> Around:
    """RabbitMQ closes channels on which deliveries are not acknowledged in time."""

    @asynccontextmanager
    async def around(stack: Stack) -> AsyncIterator[Surroundings]:
        async with Rabbit(stack).impatient(timeout_ms):
            yield Surroundings()

    return around


def queue_of(
    arguments: Mapping[str, Any],
    policy: Mapping[str, Any] | None = None,
    *,
    accepted: bool = False,
    own_limit: bool = False,
) -> Around:
    """`votes.validation` is declared before the bridges start.

    Args:
        arguments: of the queue.
        policy: for it; else one that lifts RabbitMQ's own delivery limit, where there is one.
        accepted: whether bridges read it although it may lose votes.
        own_limit: whether RabbitMQ's own limit stays, which must be there.
    """

    @asynccontextmanager
    async def around(stack: Stack) -> AsyncIterator[Surroundings]:
        rabbit = Rabbit(stack)
        limits = await rabbit.version() >= (4, 0)
        if own_limit and not limits:
            raise NotPossibleHere("this RabbitMQ has no delivery limit of its own")
        # RabbitMQ applies no policy of a delivery limit to a classic queue.
        lifted = limits and not own_limit and arguments.get("x-queue-type") == "quorum"
        wanted = policy or ({"delivery-limit": -1} if lifted else {})
        settings = {"SCRUTIN_ACCEPT_QUEUE_LOSS": VALIDATION} if accepted else {}
        async with AsyncExitStack() as after:
            if wanted:
                await after.enter_async_context(rabbit.policy("kind", VALIDATION, wanted))
            after.push_async_callback(rabbit.delete_queue, VALIDATION)
            yield Surroundings(settings, queue=arguments)

    return around


def broken(patch: str, within: Around = nothing) -> Around:
    """Programs run a product with an invariant broken.

    Args:
        patch: name of the patch that breaks it.
        within: what else there is.
    """

    @asynccontextmanager
    async def around(stack: Stack) -> AsyncIterator[Surroundings]:
        with TemporaryDirectory(prefix="scrutin-broken-") as folder:
            cwd = broken_product(patch, Path(folder) / patch)
            async with within(stack) as inner:
                yield replace(inner, cwd=cwd)

    return around
