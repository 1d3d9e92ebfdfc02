"""Decisions about the latest input records, so that decided verdicts can still be emitted."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

import msgspec

from schemas.verdicts import Acceptance, Rejection

RECENT_RECORDS: Final = 4096
"""How many input records of a partition keep their rejections."""

_PACKED_FROM: Final = 32
"""Rejections of a record are compressed from this many on. A flood of junk fills every record with
rejections; as objects, those of the latest records would take hundreds of megabytes."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Rejection]).decode


@dataclass
class RecentVerdicts:
    """Rejections, and more about accepted votes, by input offset, which only grows."""

    records: int = RECENT_RECORDS
    """How many are kept."""
    _by_offset: dict[int, list[Rejection] | bytes] = field(default_factory=dict)
    _acceptances: dict[int, list[Acceptance]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of input records."""
        return len(self._by_offset)

    def put(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance] | None = None
    ) -> None:
        """Keep those of a record, and drop those of the record :attr:`records` before it."""
        few = len(rejections) < _PACKED_FROM
        self._by_offset[offset] = rejections if few else zlib.compress(_encode(rejections), level=1)
        self._by_offset.pop(offset - self.records, None)
        if acceptances:
            self._acceptances[offset] = acceptances
        if self._acceptances:
            self._acceptances.pop(offset - self.records, None)

    def acceptances(self, offset: int) -> list[Acceptance]:
        """More about a record's accepted votes; nothing if the record is too old."""
        return self._acceptances.get(offset, [])

    def get(self, offset: int) -> list[Rejection]:
        """The rejections of a record.

        Raises:
            KeyError: the record is older than those that are kept.
        """
        found = self._by_offset[offset]
        return _decode(zlib.decompress(found)) if isinstance(found, bytes) else found
