"""The files of an election record, in Scrutin's layout or in that of published records.

Scrutin's:
    manifest.json context.json guardians.json    definition of the election
    constants.json                               the group
    ballots.jsonl                                every ballot, cast and spoiled, with its proofs
    tallies.jsonl                                every decrypted product with all shares and proofs
    result.json                                  the count

ElectionGuard 1.0 and 1.1, as its Python reference publishes it:
    manifest.json context.json constants.json coefficients.json
    guardians/*.json submitted_ballots/*.json spoiled_ballots/*.json
    encrypted_tally.json tally.json

All documents but the result have the form of that reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from gmpy2 import mpz

from streams.errors import ExitCode
from streams.tally.ballot_file import MAX_DOCUMENT_BYTES, lines_of
from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.decryption import PlainTally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context
from streams.tally.crypto.group import G, P, Q, R
from streams.tally.crypto.shares import lagrange
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.steps import VerificationStep, during
from streams.tally.work import DescribedElection

MANIFEST: Final = "manifest.json"
CONTEXT: Final = "context.json"
CONSTANTS: Final = "constants.json"
GUARDIANS: Final = "guardians.json"
BALLOTS: Final = "ballots.jsonl"
TALLIES: Final = "tallies.jsonl"
RESULT: Final = "result.json"
ABOUT: Final = "about.txt"
COEFFICIENTS: Final = "coefficients.json"
GUARDIAN_FOLDER: Final = "guardians"
BALLOT_FOLDER: Final = "submitted_ballots"
SPOILED_FOLDER: Final = "spoiled_ballots"
DEVICE_FOLDER: Final = "encryption_devices"
ENCRYPTED: Final = "encrypted_tally.json"
TALLY: Final = "tally.json"

_SUPPORTED = (
    "Supported are records of `scrutin tally export`, and of ElectionGuard 1.0, 1.1 and 2 with the"
    " standard group of 4096 bits"
)
_NEWER_P = "B17217F7D1CF79AB"
"""Part of the prime of ElectionGuard 1.9 and 2: digits of ln 2."""
GUARDIAN_FIELDS = {
    "guardian_id": "owner_id",
    "election_public_key": "key",
    "election_commitments": "coefficient_commitments",
    "election_proofs": "coefficient_proofs",
}
"""Published names of a guardian's fields."""


class NotARecord(Refused):
    """The files are no record, an incomplete one, or one of an unsupported version."""

    exit_code = ExitCode.NOT_A_RECORD

    def __init__(self, what: str, *, where: dict[str, object] | None = None) -> None:
        super().__init__(RefusalCheck.FORMAT, what, where=where, todo=_SUPPORTED)


class RecordedTally(msgspec.Struct, frozen=True):
    """A line of `tallies.jsonl`: an encrypted tally and its decryption."""

    kind: Literal["total", "chunk", "spoiled"]
    encrypted: EncryptedTally | None
    """None for a spoiled ballot of a published record, which has it among the ballots only."""
    plain: PlainTally


@dataclass(frozen=True)
class RecordFiles:
    """The content of a record."""

    described: DescribedElection
    ballots: Callable[[], Iterator[bytes]]
    """Documents of the ballots, one at a time."""
    tallies: Callable[[], Iterator[RecordedTally]]
    stated: str | None
    """The result document; None if the record has none."""
    notes: list[str]
    """What is missing without need, and what is not checked."""


def open_record(directory: Path) -> RecordFiles:
    """Find the layout of a record, and read what describes the election.

    Raises:
        NotARecord: there is none, or its version is not supported.
        Refused: a document contradicts itself.
    """
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise NotARecord("there is no folder with a record", where={"path": directory}) from error
    if MANIFEST not in names:
        # The reference writes a private folder beside the public one, and zips have a top folder.
        inner = [path.parent for path in directory.glob(f"*/{MANIFEST}")]
        if len(inner) == 1:
            return open_record(inner[0])
    published = BALLOT_FOLDER in names or ENCRYPTED in names
    needed = (
        {MANIFEST, CONTEXT, GUARDIAN_FOLDER, BALLOT_FOLDER, ENCRYPTED, TALLY}
        if published
        else {MANIFEST, CONTEXT, GUARDIANS, BALLOTS, TALLIES}
    )
    _check_version(directory, names)
    if needed - names:
        raise NotARecord(
            f"the record lacks {', '.join(sorted(needed - names))}", where={"path": directory}
        )
    expected = {CONSTANTS, COEFFICIENTS, SPOILED_FOLDER} if published else {CONSTANTS, RESULT}
    notes = [f"{name} is missing" for name in sorted(expected - names)]
    notes += [f"{name} is not checked" for name in sorted(names - needed - expected - {ABOUT})]
    return (_published if published else _own)(directory, notes)


def read_document(path: Path) -> str:
    """The text of a document.

    Raises:
        Refused: `format`, if it cannot be read or is too long.
    """
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


def constants() -> bytes:
    """The document of the group, as the reference writes it."""
    return to_json({"large_prime": P, "small_prime": mpz(Q), "cofactor": R, "generator": G})


def about(context: Context) -> str:
    """What a record shows and what it does not, for who opens it."""
    return (
        "This is the record of an encrypted election. `scrutin tally verify` checks it from these\n"
        "files alone: every key, ballot, product, share and count. That shows that the published\n"
        "ballots were counted correctly. It does not show\n"
        "\n"
        "- what else was decrypted: any "
        f"{context.quorum} of the {context.number_of_guardians} guardians could together open\n"
        "  any single ballot, and nobody would notice;\n"
        "- that a voter's device encrypted what the voter chose: that shows where voters\n"
        "  challenge ballots and check them on another device (`scrutin tally challenge`);\n"
        "- that the candidates have the names in `manifest.json`, which no hash covers;\n"
        "- that who voted was entitled to.\n"
        "\n"
        "The cryptography of Scrutin has not been audited by others. It is checked against\n"
        "electionguard 1.4.0 on elections made in every run of its tests.\n"
    )


def _own(directory: Path, notes: list[str]) -> RecordFiles:
    stated = read_document(directory / RESULT) if (directory / RESULT).exists() else None
    manifest = read_document(directory / MANIFEST)
    described = DescribedElection(
        _scope(manifest) if stated is None else from_json(_Stated, stated).election,
        manifest,
        read_document(directory / CONTEXT),
        read_document(directory / GUARDIANS),
    )

    def tallies() -> Iterator[RecordedTally]:
        for line in lines_of(directory / TALLIES):
            recorded = from_json(RecordedTally, line)
            require(
                recorded.encrypted is not None,
                RefusalCheck.FORMAT,
                "a decrypted tally has no encrypted one",
            )
            yield recorded

    return RecordFiles(described, lambda: lines_of(directory / BALLOTS), tallies, stated, notes)


def _published(directory: Path, notes: list[str]) -> RecordFiles:
    keys = [
        _guardian(read_document(path), path) for path in _documents(directory / GUARDIAN_FOLDER)
    ]
    keys.sort(key=lambda key: key.sequence_order)
    if (directory / COEFFICIENTS).exists():
        with during(VerificationStep.REPLACEMENTS):
            _check_coefficients(directory / COEFFICIENTS, keys)
    manifest = read_document(directory / MANIFEST)
    described = DescribedElection(
        _scope(manifest),
        manifest,
        read_document(directory / CONTEXT),
        to_json(keys).decode(),
    )

    def ballots() -> Iterator[bytes]:
        for path in _documents(directory / BALLOT_FOLDER):
            yield read_document(path).encode()

    def tallies() -> Iterator[RecordedTally]:
        yield RecordedTally(
            "total",
            from_json(EncryptedTally, read_document(directory / ENCRYPTED)),
            from_json(PlainTally, read_document(directory / TALLY)),
        )
        for path in _documents(directory / SPOILED_FOLDER):
            yield RecordedTally("spoiled", None, from_json(PlainTally, read_document(path)))

    return RecordFiles(described, ballots, tallies, None, notes)


class _Stated(msgspec.Struct):
    """The part of the result that is needed before it is compared as a whole."""

    election: str


class _Scope(msgspec.Struct):
    election_scope_id: str


class _Coefficients(msgspec.Struct):
    coefficients: dict[str, mpz]


def _scope(manifest: str) -> str:
    return from_json(_Scope, manifest).election_scope_id


def _documents(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _guardian(text: str, path: Path) -> GuardianKey:
    document = _loose(text)
    if isinstance(document, dict):
        for published, name in GUARDIAN_FIELDS.items():
            if published in document and name not in document:
                document[name] = document.pop(published)
    try:
        return from_json(GuardianKey, json.dumps(document))
    except Refused as refused:
        raise Refused(refused.check, refused.what, where={**refused.where, "file": path}) from None


def _check_coefficients(path: Path, keys: list[GuardianKey]) -> None:
    """Check the published Lagrange coefficients of the guardians that took part."""
    given = from_json(_Coefficients, read_document(path)).coefficients
    orders = {key.owner_id: key.sequence_order for key in keys if key.owner_id in given}
    require(
        given.keys() == orders.keys() and len(set(orders.values())) == len(orders),
        RefusalCheck.GUARDIANS,
        "coefficients are those of other guardians",
        file=path,
    )
    for name, order in orders.items():
        others = [other for guardian, other in orders.items() if guardian != name]
        require(
            given[name] == lagrange(order, others),
            RefusalCheck.SHARE,
            "a coefficient does not follow from the guardians' numbers",
            file=path,
            guardian=name,
        )


def _loose(text: str) -> Any:
    """A document of any version; None if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _check_version(directory: Path, names: set[str]) -> None:
    """Name what is not supported, and check the group of what is.

    Raises:
        NotARecord: another version.
        Refused: `context`, if the group is nearly the standard one.
    """
    where: dict[str, object] = {"path": directory}
    for name in names:
        if name.lower().replace("_", "").startswith(("electioninitialized", "electionconfig")):
            raise NotARecord(
                f"{name} is of ElectionGuard 1.9, or of an incomplete record of 2",
                where=where,
            )
    if CONSTANTS in names:
        _check_constants(_loose(read_document(directory / CONSTANTS)), directory / CONSTANTS)
    if CONTEXT in names:
        context = _loose(read_document(directory / CONTEXT))
        key = context.get("elgamal_public_key") if isinstance(context, dict) else None
        if isinstance(key, dict):
            raise NotARecord(
                "numbers are objects, as in ElectionGuard 0.95 and previews of 1.0", where=where
            )
        if isinstance(key, str) and len(key) > 1100 and key.isdigit():
            raise NotARecord("numbers are decimal, as in ElectionGuard 0.95", where=where)
    first = next(iter(_documents(directory / BALLOT_FOLDER)), None)
    if first is not None and '"range_limit"' in read_document(first):
        raise NotARecord(
            "ballots have range proofs, as in ElectionGuard 1.5 and later", where=where
        )


def _check_constants(document: Any, path: Path) -> None:
    where: dict[str, object] = {"file": path}
    numbers = {}
    for name in ("large_prime", "small_prime", "cofactor", "generator"):
        value = document.get(name) if isinstance(document, dict) else None
        try:
            numbers[name] = mpz(value if isinstance(value, int) else int(str(value)[:4096], 16))
        except (TypeError, ValueError) as error:
            raise Refused(RefusalCheck.FORMAT, f"{name} is not a number", where=where) from error
    prime = numbers["large_prime"]
    bits, standard_bits = int(prime).bit_length(), int(P).bit_length()
    if _NEWER_P in prime.digits(16).upper():
        raise NotARecord("the group is that of ElectionGuard 1.9 and 2", where=where)
    if bits != standard_bits:
        raise NotARecord(
            f"the group has {bits} bits, not the {standard_bits} of the standard:"
            " another version or a test group",
            where=where,
        )
    standard = {"large_prime": P, "small_prime": Q, "cofactor": R, "generator": G}
    for name, number in numbers.items():
        require(
            number == standard[name],
            RefusalCheck.CONTEXT,
            f"{name} is not that of the standard group",
            file=path,
        )
