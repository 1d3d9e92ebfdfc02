"""Voters of polls: from a request's credentials to the hash that stands for the voter; pure.

The hashes are keyed, so that a reader cannot guess names, and they differ from poll to poll, so
that a reader cannot follow a voter through polls.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from typing import Final

import msgspec

from schemas.votes import Kind
from streams.core.keys import normalise_hash, stored_hash
from streams.core.polls import POLL_PREFIX, Who, keyed_hash, name_hash, sign
from streams.gateway.submissions import Outgoing
from streams.intake.receipts import Submission
from streams.messages.decode import identity_of
from streams.messages.timestamps import format_us

COOKIE: Final = "scrutin_voter"


class Voters:
    """Makes voters' hashes, cookies and signed votes.

    Args:
        key: :func:`streams.core.polls.poll_key`.
        api_keys: SHA-256 of the API keys that may vote, in hexadecimal.
    """

    def __init__(self, key: bytes, api_keys: Collection[str]) -> None:
        self._key = key
        self._api_keys = frozenset(digest.lower() for digest in api_keys)

    @property
    def enabled(self) -> bool:
        """Whether there are polls: they need a secret."""
        return bool(self._key)

    def by_name(self, contest: str, name: str) -> str:
        """The hash of a name; case and the width of blanks make no difference."""
        return name_hash(self._key, contest, name)

    def by_cookie(self, contest: str, token: str) -> str:
        """The hash of a browser."""
        return self._hash("cookie", contest, token)

    def by_api_key(self, contest: str, api_key: str) -> str | None:
        """The hash of a holder of an API key; None if the key is unknown."""
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        return self._hash("key", contest, digest) if digest in self._api_keys else None

    def new_cookie(self) -> tuple[str, str]:
        """A token, and the cookie that holds it."""
        token = secrets.token_hex(16)
        return token, f"{token}.{self._hash('token', '', token)[:32]}"

    def read_cookie(self, cookie: str | None) -> str | None:
        """The token of a cookie; None if no gateway of this deployment made it."""
        token, _, mac = (cookie or "").partition(".")
        expected = self._hash("token", "", token)[:32]
        return token if hmac.compare_digest(mac.encode(), expected.encode()) else None

    def vote(
        self,
        poll_id: int,
        option: int,
        voter_hash: str,
        *,
        who: Who,
        voter_name: str | None,
        at_us: int,
    ) -> Outgoing:
        """A signed vote."""
        contest = f"{POLL_PREFIX}{poll_id}"
        known = normalise_hash(voter_hash)
        fields = {
            "poll_id": str(poll_id),
            "option_id": str(option),
            "voter_hash": known,
            "vote_timestamp": format_us(at_us),
            "who": str(who),
        }
        if voter_name is not None:
            fields["voter_name"] = voter_name
        body = msgspec.json.encode({**fields, "signature": sign(self._key, fields)})
        message_id = secrets.token_hex(16)
        submission = Submission(
            stored_hash(known, contest, Kind.CANDIDATE),
            at_us,
            identity_of(message_id.encode(), body),
            contest,
        )
        return Outgoing(body, message_id, submission)

    def _hash(self, kind: str, contest: str, text: str) -> str:
        return keyed_hash(self._key, kind, contest, text)
