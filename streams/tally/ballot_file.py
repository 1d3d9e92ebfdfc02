"""Reads the published ballots of an election, and verifies each completely."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
from gmpy2 import mpz

from streams.tally import work
from streams.tally.admission import BATCH, batches
from streams.tally.crypto.documents import from_json
from streams.tally.helpers import Helpers, WorkFailed
from streams.tally.opening import content_digest
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.steps import VerificationStep, during
from streams.tally.store import SPOILED
from streams.tally.work import Admit, Admitted, DescribedElection, Settle

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""Longest document or line that is read into memory."""
_BUFFER_BYTES: Final = 1024 * 1024
"""A ballot takes 83 KB, so a usual buffer would be filled ten times for it."""
_READ_TOGETHER: Final = 16
"""Ballots in one request to a helper."""


@dataclass(frozen=True)
class PublishedBallot:
    """A ballot that is well-formed and no copy of an earlier one of the file."""

    place: int
    """From 0."""
    admitted: Admitted
    content: bytes
    """Its :func:`~streams.tally.opening.content_digest`."""
    text: bytes


class _Code(msgspec.Struct):
    code: mpz


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, one at a time.

    Raises:
        Refused: `format`, if it cannot be read or a line is too long.
    """
    try:
        with path.open("rb", _BUFFER_BYTES) as file:
            while line := file.readline(MAX_DOCUMENT_BYTES + 1):
                require(
                    len(line) <= MAX_DOCUMENT_BYTES,
                    RefusalCheck.FORMAT,
                    f"a line is longer than {MAX_DOCUMENT_BYTES:,} bytes",
                    file=path,
                )
                yield line
    except OSError as error:
        raise Refused(
            RefusalCheck.FORMAT, "a file of the record cannot be read", where={"file": path}
        ) from error


async def published_ballots(
    ballots: Callable[[], Iterable[bytes]],
    election: DescribedElection,
    helpers: Helpers,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[PublishedBallot]:
    """Verify ballots with all their proofs, and that none of them occurs twice.

    Each helper checks the equations of all its ballots in one batch, so proofs are checked only
    when the iteration ends: conclude nothing before. If they do not hold, ballots are read again
    to find the wrong one.

    Two cast ballots may have one id, which is a label chosen by the voter's device; the id of a
    spoiled ballot names its decryption.

    Args:
        ballots: reads their documents.
        advance: called with the number of ballots just checked.

    Raises:
        Refused: a ballot does not verify, or is a copy.
        WorkFailed: a helper died.
    """
    codes: set[mpz] = set()
    contents: set[bytes] = set()
    spoiled: set[str] = set()
    run = token_hex(8)
    expected = -(-sum(1 for _ in ballots()) // helpers.count)
    async for answer, data in helpers.in_order(
        lambda batch: Admit(election, batch, run, expected), batches(ballots(), _READ_TOGETHER)
    ):
        for each, text in zip(work.admitted.decode(answer), data, strict=True):
            _require_verified(each.refused, each.step)
            code = from_json(_Code, text).code
            content = content_digest(each.ciphertexts)
            with during(VerificationStep.CODES):
                require(
                    code not in codes
                    and content not in contents
                    and not (each.state == SPOILED and each.ballot_id in spoiled),
                    RefusalCheck.REPEATED,
                    "a ballot's code or ciphertexts, or the id of a spoiled ballot, occur twice",
                    ballot=each.ballot_id,
                )
            if each.state == SPOILED:
                spoiled.add(each.ballot_id)
            yield PublishedBallot(len(codes), each, content, text)
            codes.add(code)
            contents.add(content)
        advance(len(data))
    settled = [
        work.settlements.decode(answer) for answer in await helpers.ask_each(Settle(election, run))
    ]
    if not all(each.hold for each in settled):
        await _name_wrong(ballots(), election, helpers)
    if sum(each.checked for each in settled) != len(codes):
        raise WorkFailed("a helper died, and with it the proofs that it had not checked yet")


async def _name_wrong(
    ballots: Iterable[bytes], election: DescribedElection, helpers: Helpers
) -> None:
    """Refuse the first ballot that does not verify."""
    async for answer, _ in helpers.in_order(
        lambda batch: Admit(election, batch), batches(ballots, BATCH)
    ):
        for each in work.admitted.decode(answer):
            _require_verified(each.refused, each.step)
    raise Refused(RefusalCheck.EQUATION, "a proof does not hold, and the ballots changed since")


def _require_verified(refused: str, step: int) -> None:
    with during(step or VerificationStep.SELECTIONS):
        require(not refused, RefusalCheck.EQUATION, f"a ballot does not verify: {refused}")
