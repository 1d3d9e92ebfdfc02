"""A witness: follows the checkpoints of a log, refuses what does not continue, and countersigns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from streams.core.merkle import HASH_BYTES
from streams.proof.chain import BrokenChain, CheckpointChain
from streams.proof.checkpoints import Checkpoint, Head
from streams.proof.notes import BadNote, Signer, Verifier

STATE_FORMAT: Final = "scrutin-witness/1"


class WitnessState(msgspec.Struct, frozen=True):
    """What a witness remembers."""

    format: str
    size: int
    peaks: str
    """Of the tree of statements, in hexadecimal."""
    note: str
    """The last checkpoint that it countersigned."""


@dataclass
class Witness:
    """Follows one log.

    Args:
        chain: as far as the log was followed.
        signer: of cosignatures; None: nothing is signed.
    """

    chain: CheckpointChain
    signer: Signer | None = None

    @classmethod
    def load(cls, file: Path, keys: Sequence[Verifier], signer: Signer | None) -> Witness:
        """A witness with its memory; a new one if there is no file yet.

        Args:
            file: with the memory.
            keys: first keys of the log.
            signer: of cosignatures.

        Raises:
            BadNote: the file is not such a memory.
        """
        if not file.exists():
            return cls(CheckpointChain(list(keys)), signer)
        try:
            state = msgspec.json.decode(file.read_bytes(), type=WitnessState)
            peaks = bytes.fromhex(state.peaks)
        except (msgspec.DecodeError, ValueError) as error:
            raise BadNote(f"the memory of the witness cannot be read: {error}") from None
        if state.format != STATE_FORMAT or len(peaks) != state.size.bit_count() * HASH_BYTES:
            raise BadNote("the memory of the witness has another format")
        last = Checkpoint.parse(state.note)
        head = Head(state.size, peaks)
        if (last.size, last.root) != (head.size, head.root):
            raise BadNote("the memory of the witness contradicts itself")
        return cls(CheckpointChain(list(last.statement.keys), head, last), signer)

    def save(self, file: Path) -> None:
        """Write the memory, so that it is whole whenever the machine fails."""
        last = self.chain.last
        if last is None:
            return
        head = self.chain.head
        state = WitnessState(STATE_FORMAT, head.size, head.peaks.hex(), last.note.text())
        new = file.with_name(f"{file.name}.new")
        with new.open("wb") as opened:
            opened.write(msgspec.json.encode(state))
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)

    def check_latest(self, latest: Checkpoint | None) -> None:
        """Compare the latest checkpoint of a source with the memory.

        Raises:
            BrokenChain: the log was rolled back, or shows two views.
        """
        last = self.chain.last
        if last is None:
            return
        shown = latest.size if latest is not None else 0
        if shown < last.size:
            raise BrokenChain(
                f"the log was rolled back: it shows {shown} checkpoints, and had {last.size}"
            )
        if latest is not None and shown == last.size:
            check_views(last, latest)

    def follow(self, note: str) -> Checkpoint:
        """Accept the next checkpoint.

        Raises:
            BadNote: no listed key signed it.
            BrokenChain: it does not continue the log.
        """
        checkpoint = Checkpoint.parse(note)
        self.chain.add(checkpoint)
        return checkpoint

    def countersigned(self, checkpoint: Checkpoint, time_s: int) -> str:
        """The note with the cosignature of this witness; only for an accepted checkpoint."""
        note = checkpoint.note
        if self.signer is None:
            return note.text()
        return note.text() + self.signer.line(note.body, time_s)


def check_views(one: Checkpoint, other: Checkpoint) -> None:
    """Compare two checkpoints of one log and number.

    Raises:
        BrokenChain: they are two views.
    """
    if one.size == other.size and one.note.body != other.note.body:
        raise BrokenChain(f"two views of the log: checkpoint {one.size} has two contents")


def cosigners(checkpoint: Checkpoint, witnesses: Sequence[Verifier]) -> dict[str, int]:
    """Which witnesses signed a checkpoint, and when (Unix time).

    Raises:
        BadNote: a cosignature does not hold.
    """
    found = {}
    for witness in witnesses:
        time_s = checkpoint.note.signed_by(witness)
        if time_s is not None:
            found[witness.name] = time_s
    return found
