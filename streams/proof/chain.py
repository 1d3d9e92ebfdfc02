"""Whether checkpoints continue each other, as far as their texts tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from streams.proof.checkpoints import Checkpoint, Head, Statement
from streams.proof.notes import BadNote, Verifier


@dataclass
class CheckpointChain:
    """The checkpoints of a log, read in order from the first.

    Args:
        keys: of which one signs the next checkpoint; empty: the keys of the first are trusted.
        head: the tree of statements so far.
        last: the last checkpoint that was read.
    """

    keys: list[Verifier] = field(default_factory=list)
    head: Head = field(default_factory=Head)
    last: Checkpoint | None = None

    def add(self, checkpoint: Checkpoint) -> None:
        """Read the next one.

        Raises:
            BadNote: no listed key signed it.
            BrokenChain: it does not continue the one before.
        """
        checkpoint.signer(self.keys or checkpoint.statement.keys)
        head = self.head.after(checkpoint.text)
        if (checkpoint.size, checkpoint.root) != (head.size, head.root):
            raise BrokenChain(f"it is not number {head.size} of this log")
        if self.last is not None:
            if checkpoint.origin != self.last.origin:
                raise BrokenChain("it has another origin")
            for fault in faults_between(self.last.statement, checkpoint.statement):
                raise BrokenChain(fault)
        self.head, self.last = head, checkpoint
        self.keys = list(checkpoint.statement.keys)


class BrokenChain(ValueError):
    """A checkpoint that does not continue the one before."""


def faults_between(earlier: Statement, later: Statement) -> Iterator[str]:
    """What cannot be of two statements of one log; the roots are compared elsewhere."""
    if later.at < earlier.at:
        yield "it is older"
    if later.epoch < earlier.epoch:
        yield "its epoch is earlier"
    trees = {tree.partition: tree for tree in later.trees}
    for tree in earlier.trees:
        now = trees.get(tree.partition)
        if now is None or now.log_id != tree.log_id:
            yield f"tree {tree.partition} is of another log"
        elif now.size < tree.size or now.offset < tree.offset:
            yield f"tree {tree.partition} is smaller"
        elif now.size == tree.size and now.root != tree.root:
            yield f"tree {tree.partition} has another root at the same size"
    if later.epoch == earlier.epoch:
        places = {closing.contest: closing.offsets for closing in later.closings}
        for closing in earlier.closings:
            now_at = places.get(closing.contest, {})
            if any(now_at.get(p) != offset for p, offset in closing.offsets.items()):
                yield "a closing point is another one"
                break


def verified(notes: Iterable[str], keys: Sequence[Verifier]) -> CheckpointChain:
    """The chain of all checkpoints of a log.

    Raises:
        BadNote, BrokenChain: as :meth:`CheckpointChain.add`, with the number.
    """
    chain = CheckpointChain(list(keys))
    for number, note in enumerate(notes, start=1):
        try:
            chain.add(Checkpoint.parse(note))
        except BrokenChain as error:
            raise BrokenChain(f"checkpoint {number}: {error}") from None
        except BadNote as error:
            raise BadNote(f"checkpoint {number}: {error}") from None
    return chain
