"""Message bodies: every documented form of a vote, and every kind of malformed message.

Pure. Values come from :mod:`streams.load.election` and need no JSON escaping.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

MICROSECONDS: Final = 1_000_000


class SyntheticBallot(NamedTuple):
    """One voter's ballot, independent of the message form."""

    hash: str
    """Voter's hash, 64 hexadecimal digits in lower case."""
    nas: int
    code: str
    citizen_id: str
    contest: str
    """A law's id, or `election:` followed by an election's id or nothing."""
    choice: str
    """`oui`, `non`, or a candidate's id."""


class Stamp:
    """Formats times, given in Unix microseconds, as senders do."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def naive(self, when_us: int) -> str:
        """ISO 8601 without a zone, meaning UTC, with microseconds."""
        second, rest = divmod(when_us, MICROSECONDS)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{rest:06d}"

    def zulu(self, when_us: int) -> str:
        """ISO 8601 with `Z`."""
        return self.naive(when_us) + "Z"

    def offset(self, when_us: int) -> str:
        """ISO 8601 with the offset +01:00."""
        return self.naive(when_us + 3600 * MICROSECONDS) + "+01:00"


Form = Callable[[SyntheticBallot, int, Stamp], str]
"""Formats a ballot; the integer is its time in Unix microseconds."""


def _documented(b: SyntheticBallot, t: int, s: Stamp) -> str:
    return (
        f'{{"vote_hash":"{b.hash}","citizen_id":"{b.citizen_id}","law_id":"{b.contest}",'
        f'"choice":"{b.choice}","timestamp":"{s.zulu(t)}"}}'
    )


def _with_metadata(b: SyntheticBallot, t: int, s: Stamp) -> str:
    return (
        f'{{"vote_hash":"{b.hash}","citizen_id":"{b.citizen_id}","law_id":"{b.contest}",'
        f'"choice":"{b.choice}","timestamp":"{s.zulu(t)}",'
        '"metadata":{"ip_address":"192.0.2.1","user_agent":"load"}}'
    )


def _deployed(b: SyntheticBallot, t: int, s: Stamp) -> str:
    now = s.naive(t)
    return (
        f'{{"hash":"{b.hash}","nas":"{b.nas}","code":"{b.code}","law_id":"{b.contest}",'
        f'"vote":"{b.choice}","submitted_at":"{now}","vote_timestamp":"{now}"}}'
    )


def _short_upper(b: SyntheticBallot, t: int, s: Stamp) -> str:
    return (
        f'{{"voter_hash":"{b.hash.upper()}","law_id":"{b.contest}","vote":"{b.choice.upper()}",'
        f'"vote_timestamp":"{s.offset(t)}"}}'
    )


def _epoch(b: SyntheticBallot, t: int, _: Stamp) -> str:
    return (
        f'{{"vote_hash":"{b.hash}","citizen_id":"{b.citizen_id}","law_id":"{b.contest}",'
        f'"choice":"{b.choice.capitalize()}","timestamp":{t / MICROSECONDS:.6f}}}'
    )


def _both_names(b: SyntheticBallot, t: int, s: Stamp) -> str:
    now = s.zulu(t)
    return (
        f'{{"vote_hash":"{b.hash}","voter_hash":"{b.hash}","law_id":"{b.contest}",'
        f'"choice":"{b.choice}","vote":"{b.choice}","timestamp":"{now}","vote_timestamp":"{now}"}}'
    )


def _untimed(b: SyntheticBallot, _: int, __: Stamp) -> str:
    return f'{{"voter_hash":"{b.hash}","law_id":"{b.contest}","vote":"{b.choice}"}}'


def _validated(b: SyntheticBallot, t: int, s: Stamp) -> str:
    now = s.naive(t)
    return (
        f'{{"voter_hash":"{b.hash}","law_id":"{b.contest}","vote":"{b.choice}",'
        f'"vote_timestamp":"{now}","status":"valid","processed_timestamp":"{now}"}}'
    )


VALIDATION_FORMS: Final[tuple[Form, ...]] = (
    _documented,
    _deployed,
    _documented,
    _deployed,
    _short_upper,
    _epoch,
    _both_names,
    _untimed,
)
"""Forms of a law vote on `votes.validation`; the documented and the deployed form twice."""

AGGREGATION_FORMS: Final[tuple[Form, ...]] = (_documented, _validated, _with_metadata)
"""Forms of a law vote on `votes.aggregation`."""


def _with_unknown(b: SyntheticBallot, t: int, s: Stamp) -> str:
    return (
        f'{{"vote_hash":"{b.hash}","citizen_id":"{b.citizen_id}","law_id":"{b.contest}",'
        f'"choice":"{b.choice}","timestamp":"{s.zulu(t)}","channel":"kiosk-{b.nas % 50}"}}'
    )


MIXTURE_FORMS: Final[tuple[Form, ...]] = (_documented, _with_metadata, _with_unknown)
"""A law vote as documented, with its `metadata`, and with a field that nobody documented."""


def candidate_body(b: SyntheticBallot, t: int, s: Stamp) -> str:
    """The vote for a candidate; its id is sent as a number, as in the documented message."""
    election = b.contest.removeprefix("election:")
    named = f'"election_id":"{election}",' if election else ""
    return (
        f'{{"voter_hash":"{b.hash}",{named}"candidate_id":{b.choice},'
        f'"vote_timestamp":"{s.zulu(t)}"}}'
    )


class Fault(NamedTuple):
    """A kind of malformed message."""

    reason: str
    """The expected reason of rejection."""
    body: Callable[[SyntheticBallot, int, int], bytes]
    """Makes one, given a ballot, its number and the size limit; no two are equal."""


def _fields(b: SyntheticBallot, number: int, **changes: str | None) -> str:
    """A documented message with fields replaced by raw JSON, or left out if None."""
    fields: dict[str, str | None] = {
        "vote_hash": f'"{b.hash}"',
        "law_id": f'"{b.contest}"',
        "choice": f'"{b.choice}"',
        "timestamp": '"2026-03-01T12:00:00Z"',
        "citizen_id": f'"malformed-{number}"',
        **changes,
    }
    return "{" + ",".join(f'"{k}":{v}' for k, v in fields.items() if v is not None) + "}"


def _too_large(b: SyntheticBallot, number: int, limit: int) -> bytes:
    body = _fields(b, number, padding='"' + "x" * limit + '"')
    return body.encode()


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("not_json", lambda b, n, _: _fields(b, n)[:-2].encode()),
    Fault("wrong_type", lambda b, n, _: _fields(b, n, vote_hash=str(n)).encode()),
    Fault("missing_hash", lambda b, n, _: _fields(b, n, vote_hash=None).encode()),
    Fault("missing_contest", lambda b, n, _: _fields(b, n, law_id=None).encode()),
    Fault("missing_choice", lambda b, n, _: _fields(b, n, choice=None).encode()),
    Fault("too_large", _too_large),
    Fault(
        "conflicting_fields",
        lambda b, n, _: _fields(b, n, voter_hash=f'"{b.hash[::-1]}"').encode(),
    ),
    Fault("not_utf8", lambda b, n, _: _fields(b, n).encode()[:-2] + b'\xff"}'),
    Fault("bad_timestamp", lambda b, n, _: _fields(b, n, timestamp='"99999-12-31"').encode()),
    Fault("nul_in_string", lambda b, n, _: _fields(b, n, law_id='"law\\u0000"').encode()),
    Fault("not_an_object", lambda _, n, __: f'["vote",{n}]'.encode()),
)
