"""Registers the MessagePack types of `schemas` as codecs of Faust."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from faust.serializers import codecs

from schemas.codec import DecodeError, decode_input, decode_verdicts, encode
from streams.core.records import Undecodable, poison

if TYPE_CHECKING:
    from faust.types import EventT

INPUT_CODEC: Final = "scrutin-input"
VERDICTS_CODEC: Final = "scrutin-verdicts"


class StructCodec(codecs.Codec):  # type: ignore[misc]
    """Encodes records; decodes one topic's types, or into :class:`Undecodable`."""

    def __init__(
        self,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes] = encode,
        **kwargs: Any,
    ) -> None:
        self._decode, self._encode = decode, encode
        super().__init__(decode=decode, encode=encode, **kwargs)

    def _dumps(self, obj: Any) -> bytes:
        return self._encode(obj)

    def _loads(self, s: bytes) -> Any:
        try:
            return self._decode(s)
        except DecodeError as error:
            return Undecodable(error)


def register_codecs() -> None:
    """Register the codecs with Faust by name; idempotent."""
    codecs.register(INPUT_CODEC, StructCodec(decode_input))
    codecs.register(VERDICTS_CODEC, StructCodec(decode_verdicts))


def register_codec(
    name: str, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]
) -> None:
    """Register another codec with Faust by name; idempotent."""
    codecs.register(name, StructCodec(decode, encode))


def value_of(event: EventT) -> Any:
    """The decoded value of a Faust event, or :class:`Undecodable`."""
    # Faust calls no codec for a record without a value.
    return Undecodable(ValueError("no value")) if event.value is None else event.value


def decoded(event: EventT) -> Any:
    """The decoded value of a Faust event.

    Raises:
        PoisonRecord: it could not be decoded.
    """
    value = value_of(event)
    if isinstance(value, Undecodable):
        message = event.message
        raise poison(message.topic, message.partition, message.offset, value.error)
    return value
