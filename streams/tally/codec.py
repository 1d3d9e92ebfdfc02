"""MessagePack encoding of the tally's records."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.tally import JobState, TallyEvent, TallyTask

DecodeError = msgspec.DecodeError
"""Raised by every `decode_*` of this module."""

_encoder: Final = msgspec.msgpack.Encoder()
_event: Final[msgspec.msgpack.Decoder[TallyEvent]] = msgspec.msgpack.Decoder(TallyEvent)
_task: Final = msgspec.msgpack.Decoder(TallyTask)
_state: Final = msgspec.msgpack.Decoder(JobState)


def encode(record: TallyEvent | TallyTask | JobState) -> bytes:
    """Encode a record of the tally."""
    return _encoder.encode(record)


def decode_event(data: bytes) -> TallyEvent:
    """Decode a value of `tally.events`."""
    return _event.decode(data)


def decode_task(data: bytes) -> TallyTask:
    """Decode a value of `tally.tasks`."""
    return _task.decode(data)


def decode_state(data: bytes) -> JobState:
    """Decode a value of the changelog of `tally_jobs`."""
    return _state.decode(data)
