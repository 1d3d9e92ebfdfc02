"""The election record: all public data as files, and its verification from these files alone.

    manifest.json context.json guardians.json    definition of the election
    ballots.jsonl                                every ballot, cast and spoiled, with its proofs
    tallies.jsonl                                every decrypted product with all shares and proofs
    result.json                                  the count

All but the result are documents in the format of ElectionGuard's Python reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from streams.tally import work
from streams.tally.ballot_file import MAX_DOCUMENT_BYTES, lines_of, published_ballots
from streams.tally.crypto.ceremony import GuardianKey, joint_key, verify_guardians
from streams.tally.crypto.decryption import PlainTally, verify_plain_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.tallies import (
    Accumulator,
    BallotLines,
    EncryptedTally,
    check_tally,
    combine_tallies,
    spoiled_tally,
)
from streams.tally.files import Product, ToDecrypt
from streams.tally.helpers import Helpers
from streams.tally.opening import BallotsHead
from streams.tally.packing import add_packed, unpack_lines
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.results import Result, add_counts
from streams.tally.store import CAST, SPOILED, TallyStore
from streams.tally.work import DescribedElection

MANIFEST: Final = "manifest.json"
CONTEXT: Final = "context.json"
GUARDIANS: Final = "guardians.json"
BALLOTS: Final = "ballots.jsonl"
TALLIES: Final = "tallies.jsonl"
RESULT: Final = "result.json"


class RecordedTally(msgspec.Struct, frozen=True):
    """A line of `tallies.jsonl`: an encrypted tally and its decryption."""

    kind: str
    """`total`, `chunk` or `spoiled`."""
    encrypted: EncryptedTally
    plain: PlainTally


@dataclass(frozen=True)
class Verified:
    """The outcome of verifying a record."""

    election_id: str
    """The id stated in the record; no proof depends on it."""
    guardians: int
    quorum: int
    cast: int
    spoiled: int
    tallies: int
    counts: dict[str, int]
    head: str
    """The :class:`~streams.tally.opening.BallotsHead` of the ballots."""


async def export(
    store: TallyStore, election_id: str, directory: Path, *, advance: Callable[[int], None]
) -> None:
    """Write the record of a published election, with one ballot in memory at a time.

    Raises:
        Refused: `tally`, if the result is not published yet.
        OSError: a file cannot be written.
    """
    described = await store.election(election_id)
    result = await store.published(election_id)
    if result is None:
        raise Refused(
            RefusalCheck.TALLY,
            "the election has no published result yet",
            where={"election": election_id},
            todo="`scrutin tally status` shows the progress",
        )
    _begin(directory, described)
    await write_ballots(store, election_id, directory / BALLOTS, advance=advance)
    with (directory / TALLIES).open("wb") as lines:
        async for row in store.centers(election_id):
            if row["election_result"] is None:
                continue
            encrypted = from_json(list[EncryptedTally], row["encrypted_tally"])
            plain = from_json(list[PlainTally], row["election_result"])
            for pair in zip(encrypted, plain, strict=True):
                lines.write(to_json(RecordedTally(row["kind"], *pair)) + b"\n")
    (directory / RESULT).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


async def write_ballots(
    store: TallyStore, election_id: str, file: Path, *, advance: Callable[[int], None]
) -> None:
    """Write all ballots with their proofs, one JSON document a line."""
    with file.open("w") as lines:
        async for _, _, ballot in store.ballots(election_id):
            lines.write(ballot.replace("\n", " ") + "\n")
            advance(1)


async def products_of(store: TallyStore, election_id: str) -> ToDecrypt:
    """What the guardians of an election decrypt."""
    described = await store.election(election_id)
    places = await store.chunk_places(election_id)
    products = []
    for unit in range(await store.count_centers(election_id)):
        center = await store.center(election_id, unit)
        ballots = places[center.number] if center.kind == "chunk" else []
        tallies = from_json(list[EncryptedTally], center.tallies)
        products.append(Product(unit, center.kind, tallies, ballots))
    return ToDecrypt(
        election_id, described.manifest, described.context, described.guardians, products
    )


def _begin(directory: Path, described: DescribedElection) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).write_text(described.manifest)
    (directory / CONTEXT).write_text(described.context)
    (directory / GUARDIANS).write_text(described.guardians)


async def verify(
    directory: Path, helpers: Helpers, *, advance: Callable[[int], None] = lambda _: None
) -> Verified:
    """Verify a record from its files alone.

    Args:
        advance: called with the number of ballots just checked.

    Raises:
        Refused: with the name of the first check that fails, and the place.
    """
    described = _described(directory)
    election, keys = work.load_election(described)
    context = election.context
    require(
        len(keys) == context.number_of_guardians,
        RefusalCheck.GUARDIANS,
        "the number of guardians differs from the election's",
    )
    verify_guardians(keys, context.quorum)
    require(
        joint_key(keys) == (election.public_key, context.commitment_hash),
        RefusalCheck.KEY,
        "the election's key does not follow from its guardians' keys",
    )
    ballots = await _verify_ballots(directory, election, described, helpers, advance)
    decrypted = _verify_tallies(directory, election, keys, ballots)
    _verify_result(directory, described, ballots, decrypted)
    return Verified(
        described.election_id,
        context.number_of_guardians,
        context.quorum,
        ballots.cast,
        len(ballots.spoiled),
        decrypted.tallies,
        decrypted.counts,
        ballots.head,
    )


def _described(directory: Path) -> DescribedElection:
    return DescribedElection(
        _stated(directory).election,
        _read(directory / MANIFEST),
        _read(directory / CONTEXT),
        _read(directory / GUARDIANS),
    )


class _Stated(msgspec.Struct):
    """The part of the result that is needed before it is compared as a whole."""

    election: str


def _stated(directory: Path) -> _Stated:
    return from_json(_Stated, _read(directory / RESULT))


def _read(path: Path) -> str:
    try:
        require(
            path.stat().st_size <= MAX_DOCUMENT_BYTES,
            RefusalCheck.FORMAT,
            f"a file is longer than {MAX_DOCUMENT_BYTES:,} bytes",
            file=path,
        )
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            RefusalCheck.FORMAT, "a file of the record cannot be read", where={"file": path}
        ) from error


@dataclass
class _Ballots:
    cast: int
    spoiled: dict[str, EncryptedTally]
    product: EncryptedTally
    head: str


async def _verify_ballots(
    directory: Path,
    election: CryptoElection,
    described: DescribedElection,
    helpers: Helpers,
    advance: Callable[[int], None],
) -> _Ballots:
    spoiled: dict[str, EncryptedTally] = {}
    product, cast, head = b"", 0, BallotsHead()
    async for ballot in published_ballots(directory / BALLOTS, described, helpers, advance=advance):
        each = ballot.admitted
        head.add(each.state, ballot.content)
        if each.state == CAST:
            product = add_packed(election, product, [each.ciphertexts])
            cast += 1
        elif each.state == SPOILED:
            lines = from_json(BallotLines, ballot.text)
            spoiled[each.ballot_id] = spoiled_tally(each.ballot_id, lines, election)
    accumulator = Accumulator(election)
    if product:
        accumulator.add(unpack_lines(election, product))
    return _Ballots(cast, spoiled, accumulator.result("tally"), head.value())


@dataclass
class _Decrypted:
    present: set[str]
    """Guardians that computed all their shares themselves."""
    tallies: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    spoiled: dict[str, dict[str, int]] = field(default_factory=dict)


def _verify_tallies(
    directory: Path, election: CryptoElection, keys: list[GuardianKey], ballots: _Ballots
) -> _Decrypted:
    """Check that every decrypted product is that of the ballots, and that its count follows."""
    added: list[EncryptedTally] = []
    found = _Decrypted({key.owner_id for key in keys})
    spoiled = found.spoiled
    for line in lines_of(directory / TALLIES):
        recorded = from_json(RecordedTally, line)
        found.tallies += 1
        verify_plain_tally(
            recorded.plain,
            recorded.encrypted,
            keys,
            quorum=election.context.quorum,
            extended_hash=election.extended_hash,
            limit=1 if recorded.kind == "spoiled" else ballots.cast,
        )
        found.present -= _recovered(recorded.plain)
        name = recorded.encrypted.object_id
        if recorded.kind == "spoiled":
            require(
                name not in spoiled and recorded.encrypted == ballots.spoiled.get(name),
                RefusalCheck.TALLY,
                "a decrypted spoiled ballot is not a spoiled ballot of the record",
                ballot=name,
            )
            spoiled[name] = recorded.plain.counts()
        else:
            check_tally(recorded.encrypted, election)
            added.append(recorded.encrypted)
            add_counts(found.counts, [recorded.plain])
    require(
        spoiled.keys() == ballots.spoiled.keys(),
        RefusalCheck.TALLY,
        "not every spoiled ballot is decrypted",
    )
    require(
        combine_tallies(election, "tally", added) == ballots.product,
        RefusalCheck.TALLY,
        "the decrypted products do not match the cast ballots",
    )
    return found


def _recovered(plain: PlainTally) -> set[str]:
    """Guardians whose shares were reconstructed by others."""
    return {
        share.guardian_id
        for contest in plain.contests.values()
        for selection in contest.selections.values()
        for share in selection.shares
        if share.recovered_parts is not None
    }


def _verify_result(
    directory: Path, described: DescribedElection, ballots: _Ballots, decrypted: _Decrypted
) -> None:
    expected = Result(
        ballots.cast,
        len(ballots.spoiled),
        decrypted.counts,
        decrypted.spoiled,
        sorted(decrypted.present),
    )
    stated = json.loads(_read(directory / RESULT))
    # Compared as text, because 1 == True in Python.
    require(
        json.dumps(stated, sort_keys=True)
        == json.dumps(expected.document(described), sort_keys=True),
        RefusalCheck.TALLY,
        "the result does not match the decrypted products",
    )
