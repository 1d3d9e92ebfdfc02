"""Benchmarks run seldom, and outside CI: at least each of them must find what it measures."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import tests.bench


@pytest.mark.parametrize("name", [one.name for one in pkgutil.iter_modules(tests.bench.__path__)])
def test_a_benchmark_can_be_imported(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}")
