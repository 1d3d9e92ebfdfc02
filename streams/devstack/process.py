"""Start, recognise, signal and end processes that outlive this one.

A pid alone is never trusted: another process may have it by now. Signals go only to a process whose
start time is still the recorded one.
"""

from __future__ import annotations

import os
import pwd
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from streams.devstack.state import ProcessRecord
from streams.errors import StackError

PROC = Path("/proc")
_limits = threading.Lock()


@dataclass(frozen=True)
class Command:
    """A program to run for a service."""

    role: str
    argv: list[str]
    cwd: Path
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    """Run as this user; empty for the current user."""


def clean_environment(**extra: str) -> dict[str, str]:
    """An environment without variables that would configure a service, such as `RABBITMQ_*`."""
    kept = {name: os.environ[name] for name in ("JAVA_HOME", "TZ") if name in os.environ}
    return {"PATH": program_path(), "LANG": "C.UTF-8", "HOME": str(Path.home()), **kept, **extra}


def program_path() -> str:
    """PATH with the folders of system programs, which the PATH of ordinary users often lacks."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([*folders, "/usr/sbin", "/usr/bin", "/sbin", "/bin"]))


def user_arguments(user: str) -> dict[str, object]:
    """Arguments for `subprocess` to run as `user` with its own groups."""
    if not user:
        return {}
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def spawn(command: Command, log: Path) -> ProcessRecord:
    """Start a detached program in its own session, writing to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as output, _many_files():
            process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603
                command.argv,
                cwd=command.cwd,
                env=command.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **user_arguments(command.user),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(
            f"{command.role} could not be started",
            where={"program": command.argv[0], "error": error},
        ) from error
    pid: int = process.pid
    started = start_time(pid) or ""
    # The process may outlive this object, which would otherwise warn.
    process.returncode = 0
    return ProcessRecord(role=command.role, pid=pid, started=started)


@contextmanager
def _many_files() -> Iterator[None]:
    """Allow children as many open files as the system permits: brokers need many."""
    with _limits:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; empty if there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> str | None:
    """Start time of a process as boot id and clock ticks; None if it is not running."""
    fields = _stat(pid)
    # A process whose main thread ended is not a zombie while other threads hold files and ports.
    if not fields or (fields[0] in "ZX" and int(fields[17]) <= 1):
        return None
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def alive(record: ProcessRecord) -> bool:
    """Whether the recorded process still runs (a zombie does not)."""
    with suppress(ChildProcessError):
        os.waitpid(record.pid, os.WNOHANG)
    return bool(record.started) and start_time(record.pid) == record.started


def paused(record: ProcessRecord) -> bool:
    """Whether the process is stopped by SIGSTOP."""
    return alive(record) and _stat(record.pid)[:1] == ["T"]


def descendants(record: ProcessRecord) -> list[ProcessRecord]:
    """All descendants of a recorded process, also those in other sessions."""
    if not alive(record):
        return []
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[ProcessRecord] = []
    open_pids = [record.pid]
    while open_pids:
        for pid in children.get(open_pids.pop(), []):
            if started := start_time(pid):
                found.append(
                    ProcessRecord(role=f"child of {record.role}", pid=pid, started=started)
                )
                open_pids.append(pid)
    return found


def send(record: ProcessRecord, sig: signal.Signals) -> bool:
    """Signal the recorded process; False if it ended, even if its pid was reused."""
    try:
        handle = os.pidfd_open(record.pid)
    except (ProcessLookupError, OSError):
        return False
    try:
        if not alive(record):
            return False
        signal.pidfd_send_signal(handle, sig)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise StackError(
            f"No right to signal {record.role}",
            where={"pid": record.pid, "signal": sig.name},
            todo="Run the command as the user who brought the stack up",
        ) from error
    finally:
        os.close(handle)
    return True


def send_tree(record: ProcessRecord, sig: signal.Signals) -> None:
    """Signal a process and its descendants; for SIGSTOP, SIGCONT and SIGKILL."""
    family = descendants(record)
    for member in [record, *family]:
        send(member, sig)


def wait_ended(records: list[ProcessRecord], deadline_seconds: float) -> bool:
    """Wait until all processes have ended; False if the deadline passed."""
    end = time.monotonic() + deadline_seconds
    while any(alive(record) for record in records):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def end(record: ProcessRecord, sig: signal.Signals, deadline_seconds: float) -> bool:
    """End a process and its children: `sig` first, SIGKILL for those left at the deadline.

    Returns:
        Whether `sig` was enough.
    """
    family = [record, *descendants(record)]
    if sig == signal.SIGKILL:
        for member in family:
            send(member, sig)
    else:
        send(record, sig)
        # A stopped process handles the signal only once it continues.
        for member in family:
            send(member, signal.SIGCONT)
    if wait_ended(family, deadline_seconds):
        return True
    for member in family:
        send(member, signal.SIGKILL)
    if not wait_ended(family, 10.0):
        raise StackError(
            f"{record.role} does not end even after SIGKILL", where={"pid": record.pid}
        )
    return False
