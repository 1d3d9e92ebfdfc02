"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hypothesis
import pytest

from streams.devstack import Stack, packages, ports

# How long an example takes says something of the machine only; pytest-timeout bounds every test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Not one of the settings: taken out, so that processes under test do not refuse it.
_REUSED = os.environ.pop("SCRUTIN_TEST_STACK_DIR", "")


def _install(*, browser: bool) -> None:
    Stack(environ={}).install()
    if browser:
        find = partial(packages.which, "chromium")
        packages.ensure([packages.Need("chromium", "chromium", find)], print)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Install what the stack needs before tests are handed to several processes."""
    config = session.config
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        _install(browser=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the stack needs before any test's deadline runs."""
    if session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    paths = {item.path.as_posix() for item in session.items}
    if any("tests/unit/" not in path for path in paths):
        _install(browser=any(path.endswith("test_page.py") for path in paths))


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
