"""Verifies a record of ElectionGuard 2 from its files, by the steps of its specification.

Hashes are those of 2.0, as all published records of 2.0 and 2.1 have them that were found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gmpy2 import mpz

from streams.tally.crypto.documents import from_json
from streams.tally.crypto.group import ONE, Q
from streams.tally.record_files import ENCRYPTED, TALLY, read_document
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.second.ballots import CAST, SecondElection, checked, more_of, product_of
from streams.tally.second.documents import (
    Decrypted,
    DecryptedPart,
    SecondBallot,
    SecondContest,
    SecondManifest,
    SecondPair,
    SecondTally,
)
from streams.tally.second.files import SecondFiles
from streams.tally.second.group import G, P, element, hash_bytes, table
from streams.tally.second.proofs import (
    Keys,
    read_pair,
    verify_coefficient,
    verify_decryption,
    verify_notes,
)
from streams.tally.steps import Steps, during

NAMES: Final = {
    1: "Parameters",
    2: "Keys of the guardians",
    3: "Key of the election",
    4: "Extended base hash",
    5: "Encryptions of selections",
    6: "Vote limits",
    7: "Confirmation codes",
    8: "Product of the cast ballots",
    9: "Decryptions of the tally",
    10: "Contests of the tally",
    11: "Contest data of the tally",
    12: "Decryptions of challenged ballots",
    13: "Contests of challenged ballots",
    14: "Contest data of challenged ballots",
    15: "Encryptions of ballots made before voting",
    16: "Vote limits of ballots made before voting",
    17: "Confirmation codes of ballots made before voting",
    18: "Short codes of ballots made before voting",
}
_CODE: Final = 0x24

Lines = dict[tuple[str, str], tuple[mpz, mpz]]
"""Ciphertexts by contest and selection."""


@dataclass(frozen=True)
class SecondVerified:
    """The outcome of a verification."""

    election_id: str
    guardians: int
    quorum: int
    cast: int
    spoiled: int
    """Challenged ballots."""
    counts: dict[str, int]
    """By `contest/selection`; empty without a tally."""
    notes: list[str]


@dataclass
class _Read:
    """What the ballots add up to."""

    product: Lines = field(default_factory=dict)
    cast: list[str] = field(default_factory=list)
    challenged: dict[str, SecondBallot] = field(default_factory=dict)
    links: dict[str, dict[str, tuple[bytes, bytes]]] = field(default_factory=dict)
    """By device and ballot: its code and B_aux."""


def verify_second(
    files: SecondFiles,
    steps: Steps,
    *,
    processes: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> SecondVerified:
    """Verify a record.

    Args:
        steps: of :data:`NAMES`; gets the outcome of each.
        processes: for the proofs of ballots.
        advance: called with the number of ballots just checked.

    Raises:
        Refused: with the name of the first check that fails, and the place.
        NotARecord: ballots were encrypted before voting.
    """
    config = files.config
    steps.skip("a tally has none", 11)
    steps.skip("such ballots are not read", 15, 16, 17, 18)
    with steps.at(1):
        parameters = hash_bytes(
            files.version.encode().ljust(32, b"\0"), 0, P, int(Q).to_bytes(32), G
        )
        manifest_hash = hash_bytes(parameters, 1, len(files.manifest), files.manifest)
        n, k = config.number_of_guardians, config.quorum
        base = hash_bytes(parameters, 2, manifest_hash, n, k)
        require(
            (config.parameter_base_hash, config.manifest_hash, config.election_base_hash)
            == (parameters, manifest_hash, base)
            and 1 <= k <= n,
            RefusalCheck.CONTEXT,
            "the base hashes do not follow from the group, the manifest and the quorum",
        )
        manifest = from_json(SecondManifest, files.manifest)
    with steps.at(2):
        keys = _verify_guardians(files, parameters)
    with steps.at(3):
        key = element(files.initialized.joint_public_key)
        product = ONE
        for each in keys:
            product = product * each % P
        require(
            key == product and ONE not in keys,
            RefusalCheck.KEY,
            "the election's key is not the product of its guardians' keys",
        )
    with steps.at(4):
        extended = hash_bytes(base, 0x12, key)
        require(
            files.initialized.extended_base_hash == extended,
            RefusalCheck.CONTEXT,
            "the extended base hash does not follow from the election's key",
        )
    election = SecondElection(Keys(key, extended), manifest)
    with steps.at(5, 6, 7):
        read = _verify_ballots(files, election, processes, advance)
        with during(7):
            _verify_chains(files, election, read)
    counts: dict[str, int] = {}
    if files.is_tallied:
        counts = _verify_tally(files, election, read, steps)
    else:
        steps.skip("the record has no tally yet", 8, 9, 10, 12, 13, 14)
    return SecondVerified(
        manifest.election_scope_id,
        n,
        k,
        len(read.cast),
        len(read.challenged),
        counts,
        files.notes,
    )


def _verify_guardians(files: SecondFiles, parameters: bytes) -> list[mpz]:
    guardians = sorted(files.initialized.guardians, key=lambda each: each.x_coordinate)
    numbers = [each.x_coordinate for each in guardians]
    require(
        numbers == list(range(1, files.config.number_of_guardians + 1))
        and len({each.guardian_id for each in guardians}) == len(guardians)
        and all(len(each.coefficient_proofs) == files.config.quorum for each in guardians),
        RefusalCheck.GUARDIANS,
        "guardians, their numbers or their coefficients are not those of the election",
    )
    keys = []
    for guardian in guardians:
        try:
            commitments = [
                verify_coefficient(proof, parameters, guardian.x_coordinate, index)
                for index, proof in enumerate(guardian.coefficient_proofs)
            ]
        except Refused as refused:
            where: dict[str, object] = {"guardian": guardian.guardian_id}
            raise Refused(refused.check, refused.what, where=where) from refused
        keys.append(commitments[0])
    return keys


def _verify_ballots(
    files: SecondFiles,
    election: SecondElection,
    processes: int,
    advance: Callable[[int], None],
) -> _Read:
    read = _Read()
    codes: set[bytes] = set()
    ids: set[str] = set()
    for ballot, refused in checked(files.ballots(), election, processes):
        advance(1)
        if refused is not None:
            check, what, where, step = refused
            with during(step):
                raise Refused(check, what, where=where)
        with during(7):
            require(
                ballot.confirmation_code not in codes and ballot.ballot_id not in ids,
                RefusalCheck.REPEATED,
                "a ballot's code or id occurs twice",
                ballot=ballot.ballot_id,
            )
        ids.add(ballot.ballot_id)
        codes.add(ballot.confirmation_code)
        links = read.links.setdefault(ballot.encrypting_device, {})
        links[ballot.ballot_id] = ballot.confirmation_code, more_of(ballot)
        if ballot.state != CAST:
            read.challenged[ballot.ballot_id] = ballot
            continue
        read.cast.append(ballot.ballot_id)
        for part in ballot.contests:
            for line in part.selections:
                place = part.contest_id, line.selection_id
                pairs = [read.product.get(place, (ONE, ONE)), _numbers(line.encrypted_vote)]
                read.product[place] = product_of(pairs)
    return read


def _verify_chains(files: SecondFiles, election: SecondElection, read: _Read) -> None:
    """Check that each code is bound to the one before it (7.D to 7.G)."""
    extended = election.keys.extended_hash
    chains = files.chains()
    require(
        chains.keys() == (read.links.keys() if files.config.chain_confirmation_codes else set()),
        RefusalCheck.CODE,
        "there is not one chain of codes for each device, or codes are not said to be chained",
    )
    for device, chain in chains.items():
        links = read.links[device]
        first = files.config.baux0 or device.encode()
        before = hash_bytes(extended, _CODE, first)
        require(
            sorted(chain.ballot_ids) == sorted(links),
            RefusalCheck.CODE,
            "a chain does not have exactly the ballots of its device",
            device=device,
        )
        for name in chain.ballot_ids:
            code, more = links[name]
            require(
                more == before + first,
                RefusalCheck.CODE,
                "a ballot's code does not follow from the one before it",
                ballot=name,
            )
            before = code
        require(
            chain.closing_hash == hash_bytes(extended, _CODE, before + first + b"CLOSE"),
            RefusalCheck.CODE,
            "a chain's closing hash does not match its ballots",
            device=device,
        )


def _verify_tally(
    files: SecondFiles, election: SecondElection, read: _Read, steps: Steps
) -> dict[str, int]:
    with steps.at(8):
        encrypted = from_json(SecondTally, read_document(files.folder / ENCRYPTED))
        sums = {
            (part.contest_id, line.selection_id): _numbers(line.encrypted_vote)
            for part in encrypted.contests
            for line in part.selections
        }
        missing = sums.keys() - read.product.keys()
        require(
            {place: pair for place, pair in sums.items() if place not in missing} == read.product
            and all(sums[place] == (ONE, ONE) for place in missing)
            and sorted(encrypted.cast_ballot_ids) == sorted(read.cast),
            RefusalCheck.TALLY,
            "the encrypted tally is not the product of the cast ballots",
        )
    with steps.at(9, 10):
        decrypted = from_json(Decrypted, read_document(files.folder / TALLY))
        found: Lines = {}
        counts: dict[str, int] = {}
        for part in decrypted.contests:
            contest = election.contest(part.contest_id)
            limit = len(read.cast) * contest.option_selection_limit
            with during(9):
                _verify_lines(part, contest, election, decrypted, limit)
            for line in part.selections:
                found[part.contest_id, line.selection_id] = _numbers(line.encrypted_vote)
                counts[f"{part.contest_id}/{line.selection_id}"] = line.tally
        with during(10):
            require(
                found == sums,
                RefusalCheck.TALLY,
                "the decrypted tally is not that of the encrypted tally",
            )
    with steps.at(12, 13, 14):
        names = [_verify_challenged(each, election, read) for each in files.challenged()]
        with during(12):
            require(
                sorted(names) == sorted(read.challenged),
                RefusalCheck.TALLY,
                "not every challenged ballot is decrypted once",
            )
        if not read.challenged:
            steps.skip("no ballot was challenged", 12, 13, 14)
    return counts


def _verify_lines(
    part: DecryptedPart,
    contest: SecondContest,
    election: SecondElection,
    whole: Decrypted,
    limit: int,
) -> None:
    """Check the decrypted lines of a contest, each with at most `limit` votes."""
    where = {"of": whole.id, "contest": part.contest_id}
    require(
        whole.election_id == election.keys.extended_hash
        and sorted(line.selection_id for line in part.selections)
        == sorted(line.object_id for line in contest.ballot_selections),
        RefusalCheck.STYLE,
        "a decrypted contest is of another election, or has other selections",
        **where,
    )
    for line in part.selections:
        # Before any power, so that no number of a record sizes work.
        require(
            0 <= line.tally <= limit,
            RefusalCheck.TALLY,
            "a count is higher than the ballots allow",
            **where,
            selection=line.selection_id,
        )
        decrypted = element(line.b_over_m)
        require(
            table(election.keys.key).power(mpz(line.tally)) == decrypted,
            RefusalCheck.TALLY,
            "a count is not what was decrypted",
            **where,
            selection=line.selection_id,
        )
        verify_decryption(line.proof, read_pair(line.encrypted_vote), decrypted, election.keys)


def _verify_challenged(decrypted: Decrypted, election: SecondElection, read: _Read) -> str:
    """Check a decrypted ballot; returns its id."""
    with during(12):
        ballot = read.challenged.get(decrypted.id)
        require(
            ballot is not None,
            RefusalCheck.TALLY,
            "a decrypted ballot is not a challenged one of the record",
            ballot=decrypted.id,
        )
        assert ballot is not None
        given = {part.contest_id: part for part in ballot.contests}
        require(
            sorted(given) == sorted(part.contest_id for part in decrypted.contests),
            RefusalCheck.STYLE,
            "a decrypted ballot has other contests",
            ballot=decrypted.id,
        )
    for part in decrypted.contests:
        contest, encrypted = election.contest(part.contest_id), given[part.contest_id]
        with during(12):
            require(
                {line.selection_id: line.encrypted_vote for line in part.selections}
                == {line.selection_id: line.encrypted_vote for line in encrypted.selections},
                RefusalCheck.TALLY,
                "a decrypted ballot has other ciphertexts",
                ballot=decrypted.id,
                contest=part.contest_id,
            )
            _verify_lines(part, contest, election, decrypted, contest.option_selection_limit)
        with during(13):
            require(
                sum(line.tally for line in part.selections) <= contest.votes_allowed,
                RefusalCheck.LIMIT,
                "a challenged ballot has more votes than its contest allows",
                ballot=decrypted.id,
                contest=part.contest_id,
            )
        if part.decrypted_contest_data is not None:
            with during(14):
                require(
                    part.decrypted_contest_data.encrypted_contest_data
                    == encrypted.encrypted_contest_data,
                    RefusalCheck.TALLY,
                    "decrypted notes on a contest are of another ciphertext",
                    ballot=decrypted.id,
                    contest=part.contest_id,
                )
                verify_notes(part.decrypted_contest_data, election.keys)
    return decrypted.id


def _numbers(pair: SecondPair) -> tuple[mpz, mpz]:
    return mpz(int.from_bytes(pair.pad)), mpz(int.from_bytes(pair.data))
