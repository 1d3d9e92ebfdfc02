"""`scrutin doctor`: this host and this installation."""

from __future__ import annotations

import importlib
import importlib.util
import resource
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from streams.inspect.checks import Check, CheckedService
from streams.runtime import failpoints
from streams.settings.processes import DoctorConfig

SERVICE: Final = CheckedService("host")
_LEAST_FREE: Final = 1 << 30
_LEAST_HANDLES: Final = 1024


def evaluate(config: DoctorConfig) -> Iterator[Check]:
    """Check Python, Faust, disks and limits."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - the installation may have been forced
        yield SERVICE.failure("python", version, "Python 3.11 or newer is needed")
    else:
        yield SERVICE.ok("python", version)
    yield _faust_extension()
    yield from evaluate_marks(config)
    yield from _disks(config.folders)
    yield evaluate_handles(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def evaluate_marks(config: DoctorConfig) -> Iterator[Check]:
    """Check settings that must not be used in a real count."""
    if config.failpoints:
        yield SERVICE.failure(
            "failpoints",
            f"failures injected on purpose: {config.failpoints}",
            f"Unset {failpoints.VARIABLE} where real votes are counted",
        )
    elif config.test_deployment:
        yield SERVICE.warning(
            "deployment",
            "marked as a test",
            "Unset SCRUTIN_TEST_DEPLOYMENT where real votes are counted",
        )


def _faust_extension() -> Check:
    # Once imported, it is a module without a spec, at which find_spec raises.
    if "faust" not in sys.modules and importlib.util.find_spec("faust") is None:
        return SERVICE.not_checked(
            "faust extension", "Faust is not installed; only workers need it"
        )
    try:
        importlib.import_module("faust._cython.streams")
    except ImportError as error:
        return SERVICE.failure(
            "faust extension",
            f"Faust's C extension does not load: {error}",
            "Without it events are acknowledged differently; install faust-streaming from a wheel",
        )
    return SERVICE.ok("faust extension", "loaded")


def _disks(folders: Iterable[Path]) -> Iterator[Check]:
    seen: set[int] = set()
    for folder in folders:
        existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        if existing.stat().st_dev in seen:
            continue
        seen.add(existing.stat().st_dev)
        yield evaluate_disk(str(folder), shutil.disk_usage(existing).free)


def evaluate_disk(folder: str, free: int) -> Check:
    """Check the free bytes on a folder's disk."""
    detail = f"{free / (1 << 30):.1f} GiB free for {folder}"
    if free < _LEAST_FREE:
        return SERVICE.warning(
            "disk", detail, "Free disk space: a service with a full disk stops, and votes queue up"
        )
    return SERVICE.ok("disk", detail)


def evaluate_handles(limit: int) -> Check:
    """Check the limit of open files; -1 is unlimited."""
    if limit == resource.RLIM_INFINITY:
        return SERVICE.ok("file handles", "unlimited")
    if limit < _LEAST_HANDLES:
        return SERVICE.warning(
            "file handles",
            f"{limit:,}",
            f"Raise it: ulimit -n {_LEAST_HANDLES}, or LimitNOFILE= of the service",
        )
    return SERVICE.ok("file handles", f"{limit:,}")
