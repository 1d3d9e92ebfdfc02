"""The election record: all public data as files, and its verification from these files alone.

The files are those of :mod:`streams.tally.record_files`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from streams.tally import work
from streams.tally.ballot_file import published_ballots
from streams.tally.crypto.ceremony import GuardianKey, joint_key, verify_guardians
from streams.tally.crypto.decryption import PlainTally, verify_plain_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context, CryptoElection
from streams.tally.crypto.tallies import (
    Accumulator,
    BallotLines,
    EncryptedTally,
    combine_tallies,
    spoiled_tally,
    without_placeholders,
)
from streams.tally.files import Product, ToDecrypt
from streams.tally.helpers import Helpers
from streams.tally.opening import BallotsHead
from streams.tally.packing import unpack_lines
from streams.tally.record_files import (
    ABOUT,
    BALLOTS,
    CONSTANTS,
    CONTEXT,
    GUARDIANS,
    MANIFEST,
    RESULT,
    TALLIES,
    RecordedTally,
    RecordFiles,
    about,
    constants,
    open_record,
)
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.results import Result, add_counts
from streams.tally.steps import CONTEST_DATA, Steps, VerificationStep, during, of_spoiled
from streams.tally.store import CAST, SPOILED, TallyStore
from streams.tally.work import DescribedElection


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
    notes: list[str]
    """Files that are missing without need, or not checked."""


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
    (directory / CONSTANTS).write_bytes(constants())
    (directory / CONTEXT).write_text(described.context)
    (directory / GUARDIANS).write_text(described.guardians)
    (directory / ABOUT).write_text(about(from_json(Context, described.context)))


async def verify(
    directory: Path,
    helpers: Helpers,
    *,
    advance: Callable[[int], None] = lambda _: None,
    steps: Steps | None = None,
) -> Verified:
    """Verify a record from its files alone.

    Args:
        advance: called with the number of ballots just checked.
        steps: gets the outcome of each step, also if one fails.

    Raises:
        Refused: with the name of the first check that fails, and the place.
        NotARecord: the files are none, or of an unsupported version.
    """
    steps = Steps() if steps is None else steps
    steps.skip("contest data are not decrypted in a record", *CONTEST_DATA)
    with steps.at(VerificationStep.PARAMETERS):
        files = open_record(directory)
        described = files.described
        election, keys = work.load_election(described)
    context = election.context
    with steps.at(VerificationStep.GUARDIANS):
        require(
            len(keys) == context.number_of_guardians,
            RefusalCheck.GUARDIANS,
            "the number of guardians differs from the election's",
        )
        verify_guardians(keys, context.quorum)
    with steps.at(VerificationStep.KEY):
        require(
            joint_key(keys) == (election.public_key, context.commitment_hash),
            RefusalCheck.KEY,
            "the election's key does not follow from its guardians' keys",
        )
    with steps.at(VerificationStep.SELECTIONS, VerificationStep.LIMITS, VerificationStep.CODES):
        ballots = await _verify_ballots(files, election, helpers, advance)
    with steps.at(VerificationStep.AGGREGATION):
        _verify_products(files, election, ballots)
    with steps.at(*range(VerificationStep.SHARES, VerificationStep.SPOILED + 1)):
        decrypted = _verify_tallies(files, election, keys, ballots)
        if len(decrypted.present) == len(keys):
            steps.skip("no guardian was missing", 9, 10, 13, 14)
        if not ballots.spoiled:
            steps.skip("no ballot was spoiled", *range(12, VerificationStep.SPOILED + 1))
    with steps.at(VerificationStep.COUNTS):
        if files.stated is not None:
            _verify_result(files.stated, described, ballots, decrypted)
    return Verified(
        described.election_id,
        context.number_of_guardians,
        context.quorum,
        ballots.cast,
        len(ballots.spoiled),
        decrypted.tallies,
        decrypted.counts,
        ballots.head,
        files.notes,
    )


@dataclass
class _Ballots:
    cast: int
    spoiled: dict[str, EncryptedTally]
    product: EncryptedTally
    head: str


async def _verify_ballots(
    files: RecordFiles,
    election: CryptoElection,
    helpers: Helpers,
    advance: Callable[[int], None],
) -> _Ballots:
    spoiled: dict[str, EncryptedTally] = {}
    accumulator, cast, head = Accumulator(election), 0, BallotsHead()
    async for ballot in published_ballots(files.ballots, files.described, helpers, advance=advance):
        each = ballot.admitted
        head.add(each.state, ballot.content)
        if each.state == CAST:
            accumulator.add(unpack_lines(election, each.ciphertexts))
            cast += 1
        elif each.state == SPOILED:
            lines = from_json(BallotLines, ballot.text)
            spoiled[each.ballot_id] = spoiled_tally(each.ballot_id, lines, election)
    return _Ballots(cast, spoiled, accumulator.result("tally"), head.value())


@dataclass
class _Decrypted:
    present: set[str]
    """Guardians that computed all their shares themselves."""
    tallies: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    spoiled: dict[str, dict[str, int]] = field(default_factory=dict)


def _verify_products(files: RecordFiles, election: CryptoElection, ballots: _Ballots) -> None:
    """Check that the decrypted products are that of the cast ballots."""
    product = combine_tallies(
        election,
        "tally",
        (each.encrypted for each in files.tallies() if each.encrypted and each.kind != "spoiled"),
    )
    require(
        product == ballots.product,
        RefusalCheck.TALLY,
        "the decrypted products do not match the cast ballots",
    )


def _verify_tallies(
    files: RecordFiles, election: CryptoElection, keys: list[GuardianKey], ballots: _Ballots
) -> _Decrypted:
    """Check that the count of every product and of every spoiled ballot follows."""
    found = _Decrypted({key.owner_id for key in keys})
    for recorded in files.tallies():
        found.tallies += 1
        if recorded.kind == "spoiled":
            with of_spoiled():
                _verify_spoiled(recorded, election, keys, ballots, found)
        else:
            assert recorded.encrypted is not None
            _verify_plain(recorded.plain, recorded.encrypted, election, keys, ballots.cast)
            add_counts(found.counts, [recorded.plain])
        found.present -= recorded.plain.recovered()
    with during(VerificationStep.SPOILED):
        require(
            found.spoiled.keys() == ballots.spoiled.keys(),
            RefusalCheck.TALLY,
            "not every spoiled ballot is decrypted",
        )
    return found


def _verify_spoiled(
    recorded: RecordedTally,
    election: CryptoElection,
    keys: list[GuardianKey],
    ballots: _Ballots,
    found: _Decrypted,
) -> None:
    with during(VerificationStep.SPOILED):
        encrypted = _encrypted(recorded, election, ballots)
        name = encrypted.object_id
        require(
            name not in found.spoiled,
            RefusalCheck.TALLY,
            "a spoiled ballot is decrypted twice",
            ballot=name,
        )
    with during(VerificationStep.SHARES):
        _verify_plain(recorded.plain, encrypted, election, keys, 1)
    found.spoiled[name] = recorded.plain.counts()


def _verify_plain(
    plain: PlainTally,
    encrypted: EncryptedTally,
    election: CryptoElection,
    keys: list[GuardianKey],
    limit: int,
) -> None:
    verify_plain_tally(
        plain,
        encrypted,
        keys,
        quorum=election.context.quorum,
        extended_hash=election.extended_hash,
        limit=limit,
    )


def _encrypted(
    recorded: RecordedTally, election: CryptoElection, ballots: _Ballots
) -> EncryptedTally:
    """What a decrypted spoiled ballot is of, with placeholders or without."""
    name = recorded.plain.object_id
    ballot = ballots.spoiled.get(name)
    if ballot is not None and not recorded.plain.counts().keys() & _placeholders(election):
        ballot = without_placeholders(ballot, election)
    require(
        ballot is not None and recorded.encrypted in (None, ballot),
        RefusalCheck.TALLY,
        "a decrypted spoiled ballot is not a spoiled ballot of the record",
        ballot=name,
    )
    assert ballot is not None
    return ballot


def _placeholders(election: CryptoElection) -> set[str]:
    return {
        line.object_id
        for contest in election.contests.values()
        for line in contest.lines
        if line.placeholder
    }


def _verify_result(
    text: str, described: DescribedElection, ballots: _Ballots, decrypted: _Decrypted
) -> None:
    expected = Result(
        ballots.cast,
        len(ballots.spoiled),
        decrypted.counts,
        decrypted.spoiled,
        sorted(decrypted.present),
    )
    stated = json.loads(text)
    # Compared as text, because 1 == True in Python.
    require(
        json.dumps(stated, sort_keys=True)
        == json.dumps(expected.document(described), sort_keys=True),
        RefusalCheck.TALLY,
        "the result does not match the decrypted products",
    )
