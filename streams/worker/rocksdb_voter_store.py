"""Voters of a partition in RocksDB, with unsaved changes in memory.

Keys begin with a letter: `v` and a voter key; `r` and an input offset for rejections; `a` and an
input offset for more about accepted votes; `c` and an input offset for control records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rocksdict import Rdict, WriteBatch

from schemas.verdicts import Acceptance, Rejection
from schemas.voted import FIRST_VOTE, Repeat, TableControl
from streams.core.decide import VoterEntry
from streams.core.recent_verdicts import RECENT_RECORDS
from streams.core.voter_stores import entry_of
from streams.errors import RecoveryFailed

VOTER: Final = b"v"
"""Prefix of a voter's key."""
_AFTER_VOTERS: Final = b"w"
_REJECTIONS: Final = b"r"
_ACCEPTANCES: Final = b"a"
_CONTROL: Final = b"c"
_OFFSET: Final = struct.Struct(">Q")
FIRST: Final = struct.Struct(">QH8s")
"""Value of a voter without later attempts: offset, index, identity."""
_ATTEMPTS: Final = struct.Struct(">I")
_IDENTITY: Final = 8

_encoder: Final = msgspec.msgpack.Encoder()
_rejections: Final = msgspec.msgpack.Decoder(list[Rejection])
_acceptances: Final = msgspec.msgpack.Decoder(list[Acceptance])
_control: Final[msgspec.msgpack.Decoder[TableControl]] = msgspec.msgpack.Decoder(TableControl)


class RocksDbVoterStore:
    """Voters on disk, with unsaved changes in memory.

    Args:
        db: of the partition.
        voters: number of voters in it.
    """

    def __init__(self, db: Rdict, voters: int) -> None:
        self._db = db
        self._count = voters
        self._unsaved: dict[bytes, VoterEntry] = {}
        # Keys that were looked up and not found since the last save.
        self._absent: set[bytes] = set()
        self._rejected: dict[int, list[Rejection]] = {}
        self._accepted: dict[int, list[Acceptance]] = {}
        self._controls: dict[int, TableControl] = {}
        self._cleared = False

    def __len__(self) -> int:
        """Number of voter keys."""
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Voter keys, in no particular order."""
        yield from self._unsaved
        if self._cleared:
            return
        for key in self._db.keys(from_key=VOTER):
            if not key.startswith(VOTER):
                return
            if key[1:] not in self._unsaved:
                yield key[1:]

    def get(self, key: bytes) -> VoterEntry | None:
        """The entry of a voter key; None if it has not voted."""
        entry = self._unsaved.get(key)
        if entry is not None or self._cleared:
            return entry
        stored = self._db.get(VOTER + key)
        if stored is None:
            self._absent.add(key)
            return None
        return _unpack(stored)

    def add(self, offset: int, first_votes: bytes) -> None:
        """Add the first votes of one input record."""
        for key, index, _, identity in FIRST_VOTE.iter_unpack(first_votes):
            # Mostly it was looked up a moment ago, to decide.
            if key in self._absent or self.get(key) is None:
                self._absent.discard(key)
                self._unsaved[key] = VoterEntry(offset, index, identity)
                self._count += 1

    def repeat(self, repeat: Repeat) -> None:
        """Add an attempt after the accepted vote."""
        self._absent.discard(repeat.key)
        self._unsaved[repeat.key] = entry_of(repeat)

    def reject(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance]
    ) -> None:
        """Add the decisions about an input record."""
        self._rejected[offset] = rejections
        if acceptances:
            self._accepted[offset] = acceptances

    def control(self, offset: int, control: TableControl) -> None:
        """Add a control record."""
        self._controls[offset] = control

    def clear(self) -> None:
        """Remove all voters."""
        self._unsaved.clear()
        self._count = 0
        self._cleared = True

    def fill(self, batch: WriteBatch) -> None:
        """Put unsaved changes into a write batch."""
        if self._cleared:
            batch.delete_range(VOTER, _AFTER_VOTERS)
        for key, entry in self._unsaved.items():
            batch.put(VOTER + key, packed_entry(entry))
        for offset, rejections in self._rejected.items():
            if rejections:
                batch.put(_REJECTIONS + _OFFSET.pack(offset), _encoder.encode(rejections))
            if offset >= RECENT_RECORDS:
                batch.delete(_REJECTIONS + _OFFSET.pack(offset - RECENT_RECORDS))
                batch.delete(_ACCEPTANCES + _OFFSET.pack(offset - RECENT_RECORDS))
        for offset, acceptances in self._accepted.items():
            batch.put(_ACCEPTANCES + _OFFSET.pack(offset), _encoder.encode(acceptances))
        for offset, control in self._controls.items():
            batch.put(_CONTROL + _OFFSET.pack(offset), _encoder.encode(control))

    def filled(self, voters: int) -> None:
        """Handle that first votes were put into the folder, which had none."""
        self._count = voters
        self._absent.clear()

    def saved(self) -> None:
        """Handle that the write batch is on disk."""
        self._unsaved = {}
        self._absent.clear()
        self._rejected = {}
        self._accepted = {}
        self._controls = {}
        self._cleared = False


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Name what to do if a partition's folder cannot be written.

    Raises:
        RecoveryFailed: for any error.
    """
    try:
        yield
    except Exception as error:
        # The binding has one exception type for all errors.
        raise RecoveryFailed(
            "The voted table cannot be saved",
            where={"folder": folder},
            todo="Check whether the disk of SCRUTIN_DATA_DIR is full or broken; "
            "without the folder the table is restored from its changelog",
        ) from error


def saved_controls(db: Rdict) -> Iterator[TableControl]:
    """Control records, in the order of the log."""
    return (_control.decode(value) for _, value in _with_prefix(db, _CONTROL))


def saved_rejections(db: Rdict) -> Iterator[tuple[int, list[Rejection]]]:
    """Rejections by input offset; records without any are left out."""
    return ((offset, _rejections.decode(value)) for offset, value in _with_prefix(db, _REJECTIONS))


def saved_acceptances(db: Rdict) -> dict[int, list[Acceptance]]:
    """More about accepted votes by input offset; records without any are left out."""
    return {o: _acceptances.decode(value) for o, value in _with_prefix(db, _ACCEPTANCES)}


def _with_prefix(db: Rdict, prefix: bytes) -> Iterator[tuple[int, bytes]]:
    for key, value in db.items(from_key=prefix):
        if not key.startswith(prefix):
            return
        yield _OFFSET.unpack(key[len(prefix) :])[0], value


def packed_entry(entry: VoterEntry) -> bytes:
    """Value of a voter."""
    first = FIRST.pack(entry.offset, entry.index, entry.identity)
    if not entry.attempts:
        return first
    return first + _ATTEMPTS.pack(entry.attempts) + b"".join(entry.later)


def _unpack(stored: bytes) -> VoterEntry:
    offset, index, identity = FIRST.unpack_from(stored)
    if len(stored) == FIRST.size:
        return VoterEntry(offset, index, identity)
    (attempts,) = _ATTEMPTS.unpack_from(stored, FIRST.size)
    start = FIRST.size + _ATTEMPTS.size
    later = [stored[at : at + _IDENTITY] for at in range(start, len(stored), _IDENTITY)]
    return VoterEntry(offset, index, identity, attempts, tuple(later))
