"""What is kept of a voter's `citizen_id`, which the documented messages may hold. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from schemas.votes import Malformed, Vote

DIGEST_BYTES: Final = 16
_PURPOSE: Final = b"scrutin citizen/1\0"


class CitizenRule(StrEnum):
    """What is kept."""

    PLAIN = "plain"
    DIGEST = "digest"
    """A keyed digest: votes of one person can be joined, and the person cannot be found."""
    NONE = "none"


@dataclass(frozen=True)
class CitizenIds:
    """Hides `citizen_id` before a vote is written to the log.

    Args:
        rule: a :class:`CitizenRule`.
        secret: of the deployment, for digests.
    """

    rule: str
    secret: bytes = b""

    def hide(self, item: Vote | Malformed) -> Vote | Malformed:
        """The item as it is written."""
        if self.rule == CitizenRule.PLAIN:
            return item
        if isinstance(item, Malformed):
            # What is kept of its body may hold the id in any form.
            return msgspec.structs.replace(item, head=b"")
        if item.citizen_id is None:
            return item
        return msgspec.structs.replace(item, citizen_id=self._hidden(item.citizen_id))

    def _hidden(self, citizen_id: str) -> str | None:
        if self.rule == CitizenRule.NONE:
            return None
        digest = hashlib.blake2b(
            _PURPOSE + citizen_id.encode(), key=self.secret[:64], digest_size=DIGEST_BYTES
        )
        return digest.hexdigest()
