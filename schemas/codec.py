"""MessagePack encoding of the types that travel through Kafka."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from schemas.control import Control
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.notices import Notice
from schemas.skip import Skip
from schemas.verdicts import VerdictBatch, WeighedVerdictBatch
from schemas.voted import ControlRecord, VotedRecord, WeighedVotedRecord
from schemas.votes import AdoptedVoteBatch, RuledVoteBatch, VoteBatch
from schemas.windows import WindowKey, WindowState

InputRecord = (
    Genesis | RehearsalGenesis | VoteBatch | RuledVoteBatch | AdoptedVoteBatch | Control | Skip
)
"""Record types of `votes.validation`."""

ChangelogRecord = VotedRecord | WeighedVotedRecord | ControlRecord
"""Record types of the voted table's changelog."""

KafkaRecord = InputRecord | ChangelogRecord | VerdictBatch | WindowKey | WindowState | Notice

T = TypeVar("T")

_encoder: Final = msgspec.msgpack.Encoder()
_input: Final[msgspec.msgpack.Decoder[InputRecord]] = msgspec.msgpack.Decoder(InputRecord)
_voted: Final[msgspec.msgpack.Decoder[ChangelogRecord]] = msgspec.msgpack.Decoder(ChangelogRecord)
_verdicts: Final[msgspec.msgpack.Decoder[VerdictBatch]] = msgspec.msgpack.Decoder(
    VerdictBatch | WeighedVerdictBatch
)
_notice: Final[msgspec.msgpack.Decoder[Notice]] = msgspec.msgpack.Decoder(Notice)
_window_key: Final = msgspec.msgpack.Decoder(WindowKey)
_window_state: Final = msgspec.msgpack.Decoder(WindowState)

DecodeError = msgspec.DecodeError
"""Raised by every `decode_*` of this module; `msgspec.ValidationError` is a subclass."""


def encode(record: KafkaRecord) -> bytes:
    """Encode a record of any type."""
    return _encoder.encode(record)


def decode_input(data: bytes | msgspec.Raw) -> InputRecord:
    """Decode a value of `votes.validation`, or the record inside a verdict batch."""
    return _decode(_input, data)


def decode_voted(data: bytes) -> ChangelogRecord:
    """Decode a value of the voted table's changelog."""
    return _decode(_voted, data)


def decode_verdicts(data: bytes) -> VerdictBatch:
    """Decode a value of `votes.validated`."""
    return _decode(_verdicts, data)


def decode_notice(data: bytes) -> Notice:
    """Decode a value of `votes.control`."""
    return _decode(_notice, data)


def decode_window_key(data: bytes) -> WindowKey:
    """Decode a key of `votes.windows`."""
    return _decode(_window_key, data)


def decode_window_state(data: bytes) -> WindowState:
    """Decode a value of `votes.windows`."""
    return _decode(_window_state, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except (UnicodeDecodeError, RecursionError, TypeError) as error:
        # msgspec does not translate these; TypeError is a record without a value.
        raise msgspec.DecodeError(f"{type(error).__name__} while decoding") from error
