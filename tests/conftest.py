"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import hypothesis
import pytest

from streams.devstack import Stack, packages, ports

# How long an example takes says something of the machine only; pytest-timeout bounds every test.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

# Not one of the settings: taken out, so that processes under test do not refuse it.
_REUSED = os.environ.pop("SCRUTIN_TEST_STACK_DIR", "")


def _share_of_ports(worker: str, workers: int) -> None:
    """Choose ports that no test beside ours chooses: one that was chosen may not be in use yet."""
    lowest, end = ports.LOWEST, ports.highest() + 1
    share = (end - lowest) // workers
    first = lowest + int(worker.removeprefix("gw")) * share
    ports.LOWEST = first
    ports.highest = lambda: first + share - 1


if "PYTEST_XDIST_WORKER" in os.environ:
    _share_of_ports(os.environ["PYTEST_XDIST_WORKER"], int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))

_LONGEST = ("tests/integration/test_worker.py::", "tests/faults/")

# What single test modules need beside the stack.
_NEEDS = {
    "test_operator_session.py": packages.Need("curl", "curl", partial(packages.which, "curl")),
    "test_page.py": packages.Need("chromium", "chromium", partial(packages.which, "chromium")),
    "test_monitoring.py": packages.Need(
        "promtool", "prometheus", partial(packages.which, "promtool")
    ),
}


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    """End fixtures, and what they started, when a time limit ends the tests too."""
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, _interrupted)


def _install(modules: Container[str]) -> None:
    Stack(environ={}).install()
    packages.ensure([need for name, need in _NEEDS.items() if name in modules], print)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Install what the stack needs before tests are handed to several processes."""
    config = session.config
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        _install(_NEEDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest modules: at the end, one process would be alone with them."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the stack needs before any test's deadline runs."""
    if session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    paths = {item.path for item in session.items}
    if any("tests/unit/" not in path.as_posix() for path in paths):
        _install({path.name for path in paths})


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for the whole session; `stack.env()` has its addresses.

    SCRUTIN_TEST_STACK_DIR names one that is up already (or that is brought up and left) for a
    quick loop. Its data stays from test to test: use names of your own. Kafka takes clients through
    a proxy too, see `stack.proxied_kafka()`.
    """
    directory = Path(_REUSED) if _REUSED else tmp_path_factory.mktemp("stack")
    [proxy_port] = ports.choose(1)
    stack = Stack(directory, environ={}, kafka_proxy_port=proxy_port)
    stack.up()
    yield stack
    if not _REUSED:
        stack.down()


@pytest.fixture(scope="module", autouse=True)
def _leaves_nothing_open() -> Iterator[None]:
    """What a module did not close is its own error, not that of a test which runs much later."""
    yield
    gc.collect()
