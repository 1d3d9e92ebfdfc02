"""Refusals in an encrypted election, with one name for every check."""

from __future__ import annotations

from enum import StrEnum

from streams.errors import ScrutinError


class RefusalCheck(StrEnum):
    """Names of the checks; each refusal carries exactly one."""

    RANGE = "range"
    """A number is outside Z_q."""
    SUBGROUP = "subgroup"
    """A group element is outside the subgroup of order q."""
    CHALLENGE = "challenge"
    """A proof's challenge is not the hash of the values it is about."""
    EQUATION = "equation"
    """A proof's equation does not hold."""
    LIMIT = "limit"
    """A contest's proof is about a different number of votes than the contest allows."""
    ACCUMULATION = "accumulation"
    """A contest's accumulated ciphertext is not the product of its selections."""
    HASH = "hash"
    """A description, selection, contest or ballot hash does not match its content."""
    CODE = "code"
    """A ballot's confirmation code does not follow from its seed, time and hash."""
    STYLE = "style"
    """A ballot has other contests or selections than its style."""
    NONCE = "nonce"
    """A ballot reveals a nonce, which makes the vote readable."""
    STATE = "state"
    """A ballot is neither cast nor spoiled."""
    REPEATED = "repeated"
    """A ballot or a guardian's share occurs twice."""
    OVERVOTE = "overvote"
    """A voter chose more than the contest allows."""
    UNKNOWN_CHOICE = "unknown_choice"
    """A voter chose a contest or selection that is not on the ballot."""
    GUARDIANS = "guardians"
    """Guardians do not belong to the election, or are numbered wrongly."""
    KEY = "key"
    """A public key does not follow from the guardians' commitments."""
    BACKUP = "backup"
    """A backup cannot be opened, or is not on its owner's polynomial."""
    SHARE = "share"
    """A share is for another election, tally, guardian or set of selections."""
    QUORUM = "quorum"
    """Fewer shares than the quorum."""
    MINIMUM = "minimum"
    """A product is of so few ballots that its count would reveal votes."""
    TALLY = "tally"
    """A tally does not follow from its ballots or shares."""
    MANIFEST = "manifest"
    """The election's manifest contradicts itself."""
    CONTEXT = "context"
    """A base hash, joint key or quorum does not belong to this election."""
    FORMAT = "format"
    """A document is not of the expected kind."""
    SECRET = "secret"  # noqa: S105 - a name
    """A secret is missing, unusable or in plain text."""


class Refused(ScrutinError):
    """Something does not verify; `check` names the check, `where` the place."""

    def __init__(
        self,
        check: RefusalCheck,
        what: str,
        *,
        where: dict[str, object] | None = None,
        todo: str = "",
    ) -> None:
        super().__init__(what, where={"check": check.value, **(where or {})}, todo=todo)
        self.check = check
        self.step: int | None = None
        """The number of the specification's verification step, where a record is verified."""


MAX_NAME = 200
"""Longest id or name, in characters."""


def plain_name(name: str) -> bool:
    """Whether an id can be stored, logged and displayed: not empty, not too long, printable."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def require(holds: bool, check: RefusalCheck, what: str, **where: object) -> None:
    """Raise a refusal unless a condition holds.

    Raises:
        Refused: with this check's name.
    """
    if not holds:
        raise Refused(check, what, where=where)
