"""Metrics and health over HTTP."""

from __future__ import annotations

import errno
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from streams.devstack import ports
from streams.errors import ExitCode, PortTaken
from streams.runtime.status_server import StatusServer


def server(
    *,
    port: int = 0,
    live: list[str] | None = None,
    ready: list[str] | None = None,
    registry: CollectorRegistry | None = None,
    refresh: object = None,
) -> StatusServer:
    options = {} if refresh is None else {"refresh": refresh}
    return StatusServer(
        host="127.0.0.1",
        port=port,
        registry=registry or CollectorRegistry(),
        live=lambda: live or [],
        ready=lambda: ready or [],
        port_variable="PROMETHEUS_PORT",
        **options,  # type: ignore[arg-type]
    )


async def get(served: StatusServer, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{served.port}{path}") as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


async def test_a_free_port_is_found_and_told() -> None:
    async with server() as served:
        assert served.port > 0
        assert (await get(served, "/live"))[0] == 200


async def test_healthy() -> None:
    async with server() as served:
        for path in ("/live", "/ready"):
            status, _, body = await get(served, path)
            assert (status, body) == (200, '{"status": "ok", "faults": []}')


async def test_alive_but_not_ready() -> None:
    async with server(ready=["PostgreSQL does not answer", "starting"]) as served:
        assert (await get(served, "/live"))[0] == 200
        status, kind, body = await get(served, "/ready")
        assert status == 503
        assert kind.startswith("application/json")
        assert body == '{"status": "failing", "faults": ["PostgreSQL does not answer", "starting"]}'


async def test_to_be_restarted() -> None:
    async with server(live=["stuck"]) as served:
        assert (await get(served, "/live"))[0] == 503


async def test_health_is_asked_at_every_call() -> None:
    faults: list[str] = []
    served = StatusServer(
        host="127.0.0.1",
        port=0,
        registry=CollectorRegistry(),
        live=list,
        ready=lambda: faults,
        port_variable="PROMETHEUS_PORT",
    )
    async with served:
        assert (await get(served, "/ready"))[0] == 200
        faults.append("late")
        assert (await get(served, "/ready"))[0] == 503
        faults.clear()
        assert (await get(served, "/ready"))[0] == 200


async def test_metrics_are_refreshed_before_each_scrape() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("things", "Things", registry=registry)
    async with server(registry=registry, refresh=gauge.inc) as served:
        assert "things 1.0" in (await get(served, "/metrics"))[2]
        status, kind, body = await get(served, "/metrics")
        assert status == 200
        assert kind.startswith("text/plain")
        assert "things 2.0" in body


async def test_there_is_nothing_else_to_see() -> None:
    async with server() as served:
        for path in ("/", "/tables", "/metrics/x"):
            assert (await get(served, path))[0] == 404


async def test_a_port_in_use_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            await server(port=port).start()
    assert caught.value.exit_code == ExitCode.PORT_TAKEN
    assert str(port) in str(caught.value)
    assert "PROMETHEUS_PORT" in str(caught.value)


async def test_the_port_is_free_again_after_the_end() -> None:
    # One that no outgoing connection gets meanwhile.
    [port] = ports.choose(1)
    for _ in range(2):
        async with server(port=port) as served:
            assert served.port == port


async def test_stopping_what_never_started_is_no_fault() -> None:
    await server().stop()


async def test_a_port_that_may_not_be_used_is_not_called_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("aiohttp.web.TCPSite.start", refuse)
    with pytest.raises(PortTaken, match="may not be used"):
        await server(port=80).start()
