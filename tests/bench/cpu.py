"""CPU that a process and all below it have used, and memory of a process."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path

from streams.devstack import Stack
from tests.harness import Chain

_TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def members_of(roots: Iterable[int]) -> set[int]:
    """Processes and their descendants."""
    parents = {
        int(entry.name): int(fields[1])
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (fields := _fields(int(entry.name)))
    }
    members = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def tree_seconds(roots: list[int]) -> float:
    """Seconds of processes and their descendants, those that have ended and were waited for too."""
    ticks = 0
    for pid in members_of(roots):
        fields = _fields(pid)
        # Own user and system time, and that of children that were waited for.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def cpu_of_ended_s() -> float:
    """Seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mib(pid: int | str = "self") -> tuple[float, float]:
    """What a process holds, and the most that it held; zeros if it has ended.

    `ru_maxrss` would not be below that of the process that started this one.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    held, peak = (
        int(status.partition(f"\n{name}:")[2].split()[0]) / 1024 if f"\n{name}:" in status else 0.0
        for name in ("VmRSS", "VmHWM")
    )
    return held, peak


def by_process(stack: Stack, chain: Chain) -> dict[str, float]:
    """Seconds of CPU of each service and each kind of Scrutin's processes, so far."""
    used = {status.name: tree_seconds(status.pids) for status in stack.status()}
    used["bridge"] = tree_seconds([p.pid for p in chain.bridges if p.running])
    used["worker"] = tree_seconds([p.pid for p in chain.workers if p.running])
    return used


def per_vote_us(
    before: Mapping[str, float], after: Mapping[str, float], votes: int
) -> dict[str, float]:
    """Microseconds of CPU a vote."""
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    return {name: round(seconds * 1e6 / votes, 1) for name, seconds in sorted(spent.items())}
