"""Operators' keys: kept as scrypt digests, compared in constant time. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streams.errors import SettingsError

ENTRY: Final = re.compile(r"^([\w.@-]{1,64})=([0-9a-f]{32}):([0-9a-f]{64})$")
MAX_KEY_CHARACTERS: Final = 200
_N, _R, _P = 2**14, 8, 1
"""16 MiB and some hundredths of a second for each attempt."""


def _digest(key: str, salt: bytes) -> bytes:
    return hashlib.scrypt(key.encode(errors="replace"), salt=salt, n=_N, r=_R, p=_P, dklen=32)


def new_entry(name: str, key: str) -> str:
    """The entry of an operator in `SCRUTIN_CONSOLE_OPERATORS`."""
    salt = secrets.token_bytes(16)
    return f"{name}={salt.hex()}:{_digest(key, salt).hex()}"


@dataclass(frozen=True)
class Operators:
    """Who may log in by key.

    Args:
        entries: name -> salt and digest.
    """

    entries: dict[str, tuple[bytes, bytes]]

    @classmethod
    def read(cls, entries: Iterable[str]) -> Operators:
        """From the settings.

        Raises:
            SettingsError: an entry has another form, or a name is there twice.
        """
        found: dict[str, tuple[bytes, bytes]] = {}
        for entry in entries:
            match = ENTRY.match(entry)
            if match is None or match[1] in found:
                raise SettingsError(
                    "An operator's entry cannot be read, or is there twice",
                    where={"variable": "SCRUTIN_CONSOLE_OPERATORS"},
                    todo="Make it with `scrutin console --new-key NAME`",
                )
            found[match[1]] = (bytes.fromhex(match[2]), bytes.fromhex(match[3]))
        return cls(found)

    def admits(self, name: str, key: str) -> bool:
        """Whether a key is the operator's; an unknown name takes as long."""
        known = self.entries.get(name)
        salt, digest = known or (bytes(16), bytes(32))
        same = hmac.compare_digest(_digest(key[:MAX_KEY_CHARACTERS], salt), digest)
        return same and known is not None
