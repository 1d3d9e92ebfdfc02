"""A text that many watchers get, whose WebSocket frame is made and compressed once for all."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from websockets.exceptions import NegotiationError
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.typing import ExtensionParameter

_SMALL: Final = 512
"""Characters that are not worth compressing."""
_LEVEL: Final = 4
_WINDOW_BITS: Final = 15
_END: Final = b"\x00\x00\xff\xff"
"""Of compressed data; RFC 7692 leaves it out."""


class SharedText(str):
    """A text with its frames."""

    _plain: bytes | None = None
    _deflated: bytes | None = None
    sent_bytes: int = 0
    """Of all frames."""

    def frame(self, *, deflated: bool) -> bytes:
        """The frame of the text.

        Args:
            deflated: whether the peer takes compressed messages.
        """
        if deflated and len(self) > _SMALL:
            frame = self._deflated = self._deflated or self._compressed()
        else:
            frame = self._plain = self._plain or _frame(self.encode())
        self.sent_bytes += len(frame)
        return frame

    def _compressed(self) -> bytes:
        made = zlib.compressobj(_LEVEL, wbits=-_WINDOW_BITS)
        data = made.compress(self.encode()) + made.flush(zlib.Z_SYNC_FLUSH)
        whole = _frame(data.removesuffix(_END))
        # The first reserved bit says that it is compressed; `serialize` refuses it.
        return bytes([whole[0] | 0x40]) + whole[1:]


def _frame(data: bytes) -> bytes:
    return Frame(Opcode.TEXT, data).serialize(mask=False)


class _Deflate(PerMessageDeflate):
    """Reads compressed messages; all that is not shared is sent as it is, because it is small."""

    def encode(self, frame: Frame) -> Frame:
        """Nothing to do."""
        return frame


class SharedDeflate(ServerPerMessageDeflateFactory):
    """Agrees on compression where each message stands alone, so that all get the same bytes."""

    def __init__(self) -> None:
        super().__init__(server_no_context_takeover=True, client_no_context_takeover=True)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Agree, unless the peer wants a smaller window."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        if agreed.local_max_window_bits != _WINDOW_BITS:
            raise NegotiationError("a smaller window would need frames of its own")
        return answer, _Deflate(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
        )
