"""The tally's computations as a separate program, so that a worker's event loop never blocks.

A helper reads requests one by one from standard input and writes the answers to standard output,
each preceded by its length. It holds keys only during a request, stores nothing on disk, and may be
killed at any time.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.batch import GatheredBallots, verify_ballots, without_powers
from streams.tally.crypto.ceremony import Backup, GuardianKey, open_backup
from streams.tally.crypto.decryption import DiscreteLog, decrypt_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context, CryptoElection
from streams.tally.crypto.manifest import Manifest
from streams.tally.crypto.shares import (
    CompensatedShare,
    DecryptionShare,
    make_compensated_share,
    make_share,
)
from streams.tally.crypto.tallies import (
    Accumulator,
    BallotLines,
    EncryptedTally,
    check_tally,
    spoiled_tally,
)
from streams.tally.packing import add_packed, pack_lines, unpack_lines
from streams.tally.refusals import RefusalCheck, Refused
from streams.tally.sealing import open_sealed
from streams.tally.steps import of_ballot

LENGTH_BYTES: Final = 4
"""Size of the big-endian length before every message."""


class DescribedElection(msgspec.Struct, frozen=True):
    """An election as stored in the database."""

    election_id: str
    manifest: str
    context: str
    guardians: str


class Admit(msgspec.Struct, tag=True):
    """Check ballots with all proofs; the answer is an :class:`Admitted` for each."""

    election: DescribedElection
    ballots: list[bytes]
    run: str = ""
    """If given, the equations are checked in one batch, of which :class:`Settle` tells."""
    expected: int = 0
    """About how many ballots of the run each helper gets."""


class Settle(msgspec.Struct, tag=True):
    """Check the equations of a run; the answer is a :class:`Settled`."""

    election: DescribedElection
    run: str


class Settled(msgspec.Struct):
    """What this helper has checked of a run."""

    checked: int
    """Ballots whose equations were checked."""
    hold: bool
    """Whether all of them hold."""


class Admitted(msgspec.Struct):
    """The verdict on one ballot."""

    ballot_id: str = ""
    state: int = 0
    ciphertexts: bytes = b""
    refused: str = ""
    """Why it is refused; empty if it is admitted."""
    step: int = 0
    """The verification step that refuses it."""


class Multiply(msgspec.Struct, tag=True):
    """Multiply ballots into a product; the answer is the packed product."""

    election: DescribedElection
    product: bytes
    """Of the previous ballots; empty at first."""
    ballots: list[bytes]


class MultiplyTallies(msgspec.Struct, tag=True):
    """Multiply encrypted tallies into a product; the answer is the packed product."""

    election: DescribedElection
    product: bytes
    tallies: list[str]
    """JSON lists with one element."""


class Describe(msgspec.Struct, tag=True):
    """Convert a packed product to an encrypted tally; the answer is a JSON list with it."""

    election: DescribedElection
    product: bytes
    name: str


class Spoil(msgspec.Struct, tag=True):
    """Convert spoiled ballots to encrypted tallies; the answer is a JSON list."""

    election: DescribedElection
    ballots: list[str]


class MakeShares(msgspec.Struct, tag=True):
    """Compute a guardian's shares of encrypted tallies; the answer is a JSON list."""

    election: DescribedElection
    guardian: str
    tallies: str
    sealed: bytes
    key_file: str


class MakeCompensated(msgspec.Struct, tag=True):
    """Compute a guardian's shares for a missing guardian; the answer is a JSON list."""

    election: DescribedElection
    guardian: str
    missing: str
    backup: str
    tallies: str
    sealed: bytes
    key_file: str


class CombineWork(msgspec.Struct, tag=True):
    """Check all shares and decrypt; the answer is a JSON list of counts."""

    election: DescribedElection
    tallies: str
    shares: list[str]
    """JSON lists, one for each present guardian."""
    compensated: list[str]
    limit: int
    """Upper bound of the counts."""


Request = (
    Admit
    | Settle
    | Multiply
    | MultiplyTallies
    | Describe
    | Spoil
    | MakeShares
    | MakeCompensated
    | CombineWork
)


class Answer(msgspec.Struct):
    """The answer to a request."""

    result: bytes = b""
    error: str = ""
    """Why it failed; contains no secret and no vote."""


encoder: Final = msgspec.msgpack.Encoder()
requests: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
answers: Final = msgspec.msgpack.Decoder(Answer)
admitted: Final = msgspec.msgpack.Decoder(list[Admitted])
settlements: Final = msgspec.msgpack.Decoder(Settled)
_gathered: dict[str, GatheredBallots] = {}
"""Ballots of the current run; those of an earlier one are dropped."""


@lru_cache(maxsize=4)
def load_election(described: DescribedElection) -> tuple[CryptoElection, list[GuardianKey]]:
    """Manifest, context and guardians, checked against each other."""
    manifest = from_json(Manifest, described.manifest)
    election = CryptoElection(manifest, from_json(Context, described.context))
    return election, from_json(list[GuardianKey], described.guardians)


def handle(request: Request) -> bytes:
    """Process a request.

    Raises:
        Refused: something does not verify.
    """
    election, keys = load_election(request.election)
    match request:
        case MakeShares():
            result = _share(request, election, keys)
        case MakeCompensated():
            result = _compensate(request, election, keys)
        case CombineWork():
            result = _combine(request, election, keys)
        case _:
            result = _add_up(request, election)
    return result


def _add_up(
    request: Admit | Settle | Multiply | MultiplyTallies | Describe | Spoil,
    election: CryptoElection,
) -> bytes:
    match request:
        case Admit():
            result = encoder.encode(_admit(request, election))
        case Settle():
            gathered = _gathered.pop(request.run, None) or GatheredBallots(election, 0)
            result = encoder.encode(Settled(gathered.count, gathered.hold()))
        case Multiply():
            result = add_packed(election, request.product, request.ballots)
        case MultiplyTallies():
            packed = []
            for text in request.tallies:
                for tally in from_json(list[EncryptedTally], text):
                    check_tally(tally, election)
                    packed.append(pack_lines(election, tally.lines()))
            result = add_packed(election, request.product, packed)
        case Describe():
            accumulator = Accumulator(election)
            if request.product:
                accumulator.add(unpack_lines(election, request.product))
            result = to_json([accumulator.result(request.name)])
        case Spoil():
            ballots = [from_json(BallotLines, ballot) for ballot in request.ballots]
            result = to_json([spoiled_tally(b.object_id, b, election) for b in ballots])
    return result


def _admit(request: Admit, election: CryptoElection) -> list[Admitted]:
    read: list[EncryptedBallot | Refused] = []
    for data in request.ballots:
        try:
            read.append(from_json(EncryptedBallot, data))
        except Refused as unreadable:
            read.append(unreadable)
    ballots = [ballot for ballot in read if isinstance(ballot, EncryptedBallot)]
    verdicts = iter(_verdicts(ballots, election, request))
    outcome = []
    for ballot in read:
        refused = next(verdicts) if isinstance(ballot, EncryptedBallot) else ballot
        if refused is not None:
            outcome.append(Admitted(refused=str(refused), step=of_ballot(refused)))
        else:
            assert isinstance(ballot, EncryptedBallot)
            packed = pack_lines(election, ballot.lines())
            outcome.append(Admitted(ballot.object_id, int(ballot.state), packed))
    return outcome


def _verdicts(
    ballots: list[EncryptedBallot], election: CryptoElection, request: Admit
) -> list[Refused | None]:
    if not request.run:
        return verify_ballots(ballots, election)
    verdicts = [without_powers(ballot, election) for ballot in ballots]
    if request.run not in _gathered:
        _gathered.clear()
        _gathered[request.run] = GatheredBallots(election, request.expected)
    _gathered[request.run].add(
        [ballot for ballot, refused in zip(ballots, verdicts, strict=True) if refused is None]
    )
    return verdicts


def _key_of(keys: list[GuardianKey], name: str) -> GuardianKey:
    for key in keys:
        if key.owner_id == name:
            return key
    raise Refused(RefusalCheck.GUARDIANS, "no such guardian", where={"guardian": name})


def _share(request: MakeShares, election: CryptoElection, keys: list[GuardianKey]) -> bytes:
    key = _key_of(keys, request.guardian)
    secret = open_sealed(request.sealed, Path(request.key_file), request.election.election_id, key)
    tallies = from_json(list[EncryptedTally], request.tallies)
    return to_json([make_share(t, secret, key, election.extended_hash) for t in tallies])


def _compensate(
    request: MakeCompensated, election: CryptoElection, keys: list[GuardianKey]
) -> bytes:
    key, missing = _key_of(keys, request.guardian), _key_of(keys, request.missing)
    secret = open_sealed(request.sealed, Path(request.key_file), request.election.election_id, key)
    coordinate: mpz = open_backup(from_json(Backup, request.backup), secret, missing)
    tallies = from_json(list[EncryptedTally], request.tallies)
    return to_json(
        [
            make_compensated_share(t, coordinate, key, missing, election.extended_hash)
            for t in tallies
        ]
    )


def _combine(request: CombineWork, election: CryptoElection, keys: list[GuardianKey]) -> bytes:
    tallies = from_json(list[EncryptedTally], request.tallies)
    shares = [from_json(list[DecryptionShare], text) for text in request.shares]
    compensated = [from_json(list[CompensatedShare], text) for text in request.compensated]
    lengths = {len(each) for each in shares} | {len(each) for each in compensated}
    if lengths - {len(tallies)}:
        raise Refused(
            RefusalCheck.SHARE, "the number of a guardian's shares differs from that of tallies"
        )
    logarithm = DiscreteLog(request.limit)
    return to_json(
        [
            decrypt_tally(
                tally,
                [each[index] for each in shares],
                [each[index] for each in compensated],
                keys,
                quorum=election.context.quorum,
                extended_hash=election.extended_hash,
                logarithm=logarithm,
            )
            for index, tally in enumerate(tallies)
        ]
    )


def answer(data: bytes) -> bytes:
    """Decode a request, process it, encode the answer."""
    try:
        return encoder.encode(Answer(handle(requests.decode(data))))
    except Refused as refused:
        return encoder.encode(Answer(error=str(refused)))
    except Exception as error:  # noqa: BLE001 - only named: its text may quote the input
        return encoder.encode(Answer(error=f"unexpected {type(error).__name__}"))


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer requests until the input closes."""
    while header := incoming.read(LENGTH_BYTES):
        reply = answer(incoming.read(int.from_bytes(header)))
        outgoing.write(len(reply).to_bytes(LENGTH_BYTES) + reply)
        outgoing.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
