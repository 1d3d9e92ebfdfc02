"""Rejections of the last input records, so that what was decided but not emitted can be emitted."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

import msgspec

from schemas.verdicts import Rejection

KEPT_VERDICTS: Final = 4096
"""Input records of a partition whose rejections are kept."""

_PACKED_FROM: Final = 32
"""From so many rejections on they are compressed: a flood of junk fills every record with them, and
as objects the last records would take hundreds of megabytes."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Rejection]).decode


@dataclass
class KeptVerdicts:
    """By input offset, which only grows."""

    _kept: dict[int, list[Rejection] | bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of input records."""
        return len(self._kept)

    def put(self, offset: int, rejections: list[Rejection]) -> None:
        """Keep those of a record, and forget the one :data:`KEPT_VERDICTS` before it."""
        few = len(rejections) < _PACKED_FROM
        self._kept[offset] = rejections if few else zlib.compress(_encode(rejections), level=1)
        self._kept.pop(offset - KEPT_VERDICTS, None)

    def get(self, offset: int) -> list[Rejection]:
        """Those of a record.

        Raises:
            KeyError: it is further back than what is kept.
        """
        kept = self._kept[offset]
        return _decode(zlib.decompress(kept)) if isinstance(kept, bytes) else kept
