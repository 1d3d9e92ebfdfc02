"""From votes as HTTP clients send them to messages of the validation queue; pure."""

from __future__ import annotations

import hashlib
import secrets
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.votes import Kind
from streams.core import ranking
from streams.core.keys import ELECTION_PREFIX, ENCRYPTED_CHOICE, normalise_hash, stored_hash
from streams.core.polls import POLL_PREFIX
from streams.core.texts import is_plain
from streams.intake.receipts import Submission
from streams.messages.decode import identity_of
from streams.messages.fields import MAX_HASH_BYTES, MAX_ID_BYTES
from streams.messages.timestamps import format_us

NAS_DIGITS: Final = 9
MAX_CODE_CHARACTERS: Final = 10


class LawMessage(msgspec.Struct, omit_defaults=True):
    """A vote on a law, with the documented field names."""

    vote_hash: str
    law_id: str
    choice: str
    timestamp: str
    citizen_id: str | None = None


class CandidateMessage(msgspec.Struct, omit_defaults=True):
    """A vote for a candidate."""

    voter_hash: str
    vote_timestamp: str
    candidate_id: str | None = None
    election_id: str | None = None
    region_id: str | None = None
    voting_method: str | None = None
    ranked_choices: list[str] | None = None
    encrypted_ballot: str | None = None


@dataclass(frozen=True)
class Outgoing:
    """A message, and the submission that its receipt needs."""

    body: bytes
    message_id: str
    submission: Submission


class Faulty(ValueError):
    """A field of the request does not fit.

    Attributes:
        field: its name.
        fault: what is wrong with it.
    """

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}")
        self.field = field
        self.fault = fault


class RequestClock:
    """A clock that never repeats a microsecond, so that a voter's submissions differ."""

    def __init__(self) -> None:
        self._last_us = 0

    def now_us(self) -> int:
        """Unix time in microseconds, later than the previous call's."""
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
        return self._last_us


def person_of(nas: str) -> str:
    """What stands for a person in limits: the number without blanks and dashes.

    Raises:
        Faulty: it has not nine digits.
    """
    return _nas(nas)


def law_hashes(nas: str, code: str, law_id: str) -> list[str]:
    """Hashes by which the roll may know a voter: SHA-256 of `nas|code|law_id`.

    The first has the code as given, the last has it in upper case, as the replaced service does.

    Raises:
        Faulty: a field does not fit.
    """
    number = _nas(nas)
    return [_sha256(f"{number}|{each}|{law_id}") for each in _codes(code)]


def election_hashes(nas: str, code: str) -> list[str]:
    """The same for elections: SHA-256 of `nas+code`, or of `nas|code` as some loaders join them.

    Raises:
        Faulty: a field does not fit.
    """
    number = _nas(nas)
    return [_sha256(f"{number}{by}{each}") for each in _codes(code) for by in ("", "|")]


def law_vote(vote_hash: str, law_id: str, choice: str, *, at_us: int) -> Outgoing:
    """A vote on a law.

    Args:
        vote_hash: the voter's for this law.
        law_id: the law.
        choice: `oui` or `non`, in any case.
        at_us: Unix time in microseconds.

    Raises:
        Faulty: a field does not fit.
    """
    known = normalise_hash(sized("vote_hash", vote_hash, MAX_HASH_BYTES))
    law = sized("law_id", law_id)
    if law.startswith((ELECTION_PREFIX, POLL_PREFIX)):
        raise Faulty("law_id", "is reserved")
    word = choice.strip().lower()
    if word not in {"oui", "non"}:
        raise Faulty("vote", "must be `oui` or `non`")
    message = LawMessage(known, law, word, format_us(at_us))
    return _outgoing(message, stored_hash(known, law, Kind.LAW), law, at_us)


def candidate_vote(
    voter_hash: str,
    candidate_id: str | None,
    *,
    election_id: str | None,
    region_id: str | None = None,
    ranked: Sequence[str] = (),
    encrypted: str | None = None,
    at_us: int,
) -> Outgoing:
    """A vote for a candidate, or a ranking that begins with them, or an encrypted ballot.

    Args:
        voter_hash: the voter's.
        candidate_id: the candidate; the first of the ranking; None: a blank ballot.
        election_id: the election.
        region_id: the voter's.
        ranked: candidates, most preferred first, if there is a ranking.
        encrypted: the ballot, if the candidate is the choice of encrypted ballots.
        at_us: Unix time in microseconds.

    Raises:
        Faulty: a field does not fit.
    """
    known = normalise_hash(sized("voter_hash", voter_hash, MAX_HASH_BYTES))
    candidate = None if candidate_id is None else sized("candidate_id", candidate_id)
    election = None if election_id is None else sized("election_id", election_id)
    contest = ELECTION_PREFIX + (election or "")
    region = None if region_id is None else sized("region_id", region_id)
    message = CandidateMessage(known, format_us(at_us), candidate, election, region)
    if encrypted is not None:
        if candidate != ENCRYPTED_CHOICE:
            raise Faulty("encrypted_ballot", f"belongs to candidate_id `{ENCRYPTED_CHOICE}` only")
        _text("encrypted_ballot", encrypted)
        message.encrypted_ballot = encrypted
    if candidate is None:
        message.ranked_choices = []
    if ranked:
        ranks = [sized("ranked_choices", each) for each in ranked]
        # A voter at a screen can still correct it; a marked paper counts by the rules.
        if len(set(ranks)) < len(ranks):
            raise Faulty("ranked_choices", "must name every candidate once")
        try:
            ranking.to_text(ranks)
        except ValueError as error:
            raise Faulty(
                "ranked_choices", "is too long, or has an id that cannot be one"
            ) from error
        if ranked[0] != candidate:
            raise Faulty("candidate_id", "must be the first of ranked_choices")
        message.ranked_choices, message.voting_method = ranks, "ranked_choice"
    return _outgoing(message, stored_hash(known, contest, Kind.CANDIDATE), contest, at_us)


def _outgoing(message: msgspec.Struct, stored: str, contest: str, at_us: int) -> Outgoing:
    body = msgspec.json.encode(message)
    message_id = secrets.token_hex(16)
    identity = identity_of(message_id.encode(), body)
    return Outgoing(body, message_id, Submission(stored, at_us, identity, contest))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _nas(nas: str) -> str:
    # Full-width digits, no-break blanks and all hyphens are what people paste.
    number = "".join(
        c
        for c in unicodedata.normalize("NFKC", nas)
        if not c.isspace() and unicodedata.category(c) not in {"Pd", "Cf"} and c != "\N{MINUS SIGN}"
    )
    if len(number) != NAS_DIGITS or not (number.isascii() and number.isdigit()):
        raise Faulty("nas", f"must have {NAS_DIGITS} digits")
    return number


def _codes(code: str) -> list[str]:
    given = code.strip()
    if not 1 <= len(given) <= MAX_CODE_CHARACTERS:
        raise Faulty("code", f"must have 1 to {MAX_CODE_CHARACTERS} characters")
    _text("code", given)
    return list(dict.fromkeys((given, given.upper())))


def sized(field: str, text: str, max_bytes: int = MAX_ID_BYTES) -> str:
    """A text of a request.

    Raises:
        Faulty: it is empty or too long, or not all of it is seen.
    """
    _text(field, text)
    if not 1 <= len(text.encode()) <= max_bytes:
        raise Faulty(field, f"must have 1 to {max_bytes} bytes")
    return text


def _text(field: str, text: str) -> None:
    if not is_plain(text):
        raise Faulty(field, "must hold no control characters and none without width")
