"""Why something of an encrypted election was refused: one name for every check."""

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
    """A proof's challenge is not the hash of what it speaks about."""
    EQUATION = "equation"
    """A proof's equation does not hold."""
    LIMIT = "limit"
    """A contest's proof speaks about another number of votes than the contest allows."""
    ACCUMULATION = "accumulation"
    """A contest's accumulated ciphertext is not the product of its selections."""
    HASH = "hash"
    """A description, selection, contest or ballot hash is not what it should be."""
    CODE = "code"
    """A ballot's confirmation code does not follow from its seed, time and hash."""
    STYLE = "style"
    """A ballot has other contests or selections than its style."""
    NONCE = "nonce"
    """A ballot gives a nonce away: whoever reads it can read the vote."""
    STATE = "state"
    """A ballot is neither cast nor spoiled."""
    REPEATED = "repeated"
    """The same ballot, or the same guardian's share, twice."""
    OVERVOTE = "overvote"
    """A voter chose more than the contest allows."""
    UNKNOWN_CHOICE = "unknown_choice"
    """A voter chose what is not on the ballot."""
    GUARDIANS = "guardians"
    """Guardians are not those of the election, or numbered wrongly."""
    KEY = "key"
    """A public key is not the one that follows from the guardians' commitments."""
    BACKUP = "backup"
    """A backup cannot be opened, or is not on its owner's polynomial."""
    SHARE = "share"
    """A share is for another election, tally, guardian or set of selections."""
    QUORUM = "quorum"
    """Fewer shares than the quorum."""
    TALLY = "tally"
    """A tally is not what its ballots or shares make it."""
    MANIFEST = "manifest"
    """The election's description contradicts itself."""
    CONTEXT = "context"
    """A base hash, joint key or quorum does not belong to this election."""
    FORMAT = "format"
    """Not a document of the expected kind at all."""
    SECRET = "secret"  # noqa: S105 - a name
    """A secret stands where everybody can read it."""


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


MAX_NAME = 200
"""Characters of an id or name."""


def plain_name(name: str) -> bool:
    """Whether an id can be stored, logged and shown: not empty, not long, printable."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def require(holds: bool, check: RefusalCheck, what: str, **where: object) -> None:
    """Go on only if it holds.

    Raises:
        Refused: with this check's name.
    """
    if not holds:
        raise Refused(check, what, where=where)
