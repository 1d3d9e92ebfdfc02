"""State file of what a stack has started: the source for `down`, `status`, `env` and `logs`.

The file is replaced atomically after each started process, so that a stack whose `up` was killed
can still be ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from streams.errors import StackError

FORMAT = 1
Kind = Literal["given", "docker", "native"]


class ProcessRecord(msgspec.Struct):
    """A process that `up` started.

    `started` holds the machine's boot id and the start time in clock ticks since boot; with the
    pid it identifies the process.
    """

    role: str
    pid: int
    started: str


class ServiceRecord(msgspec.Struct):
    """One service: its address and its backend."""

    name: str
    stack: str
    """The stack's id."""
    kind: Kind
    host: str
    ports: dict[str, int]
    options: dict[str, str] = {}
    """User, password, database and the like."""
    data: str = ""
    """The data folder, absolute."""
    log: str = ""
    processes: list[ProcessRecord] = []
    container: str = ""


class StackRecord(msgspec.Struct):
    """The state file."""

    format: int
    id: str
    """Eight hex digits from the folder's path: in node names and container labels."""
    created: float
    """Seconds since the epoch."""
    services: dict[str, ServiceRecord] = {}


class StateFile:
    """The state file of one stack folder and the lock that serialises its commands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.path = self.directory / "state.json"

    def load(self) -> StackRecord | None:
        """Read the state; None if there is no stack in this folder."""
        try:
            raw = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StackError(
                "The state of the stack cannot be read",
                where={"file": self.path, "error": error.strerror},
                todo="Run the command as the user who started the stack",
            ) from error
        try:
            record = msgspec.json.decode(raw, type=StackRecord)
        except msgspec.DecodeError as error:
            raise StackError(
                "The state of the stack is not valid JSON of this format",
                where={"file": self.path, "error": error},
                todo="End the stack's processes by hand, then remove the folder",
            ) from error
        if record.format != FORMAT:
            raise StackError(
                f"The stack was started by a version with state format {record.format}, "
                f"this version knows {FORMAT}",
                where={"file": self.path},
                todo="Stop it with the version that started it",
            )
        return record

    def new(self) -> StackRecord:
        """A record without services for this folder."""
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()
        return StackRecord(format=FORMAT, id=digest[:8], created=time.time())

    def save(self, record: StackRecord) -> None:
        """Replace the state file; it holds passwords, so only its owner may read it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    @contextmanager
    def locked(self, deadline_seconds: float = 180.0) -> Iterator[None]:
        """Lock the stack, so that one command runs at a time."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(
                "The folder of the stack cannot be created",
                where={"folder": self.directory, "error": error.strerror},
                todo="Choose another one with SCRUTIN_STACK_DIR",
            ) from error
        with file_lock(self.directory / "lock", deadline_seconds):
            yield


@contextmanager
def file_lock(path: Path, deadline_seconds: float) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it when the process ends."""
    end = time.monotonic() + deadline_seconds
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # `down` removes the file; a lock on a deleted file would exclude nobody.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        except (BlockingIOError, FileNotFoundError) as error:
            if time.monotonic() > end:
                file.close()
                raise StackError(
                    f"Another command has held the lock for {deadline_seconds:.0f} s",
                    where={"lock": path},
                    todo="Wait for it or end it, then try again",
                ) from error
            time.sleep(0.1)
        file.close()
    with file:
        yield
