"""The deployment's current epoch, from the notices in `votes.control`."""

from __future__ import annotations

from typing import NamedTuple

from schemas.codec import decode_input, decode_notice
from schemas.genesis import Genesis
from schemas.notices import IntakePaused, IntakeResumed
from streams.adapters.kafka.view import LogView
from streams.core.records import poisoning
from streams.core.topics import CONTROL_TOPIC, VALIDATION_TOPIC


class Epochs(NamedTuple):
    """Numbers of epochs; 0 before the first reset."""

    current: int
    """Epoch of the votes that bridges take in now."""
    begun: int
    """Highest epoch for which a reset has begun."""


async def read_epochs(view: LogView, log_id: bytes | None = None) -> Epochs:
    """Read the epochs from the notices.

    Args:
        view: connected.
        log_id: of the input log; None: look it up.

    Raises:
        PoisonRecord: a notice cannot be decoded.
        ServiceUnavailable: Kafka does not answer.
    """
    current = begun = 0
    if CONTROL_TOPIC not in view.topics:
        return Epochs(0, 0)
    if log_id is None:
        log_id = await _log_id(view)
    async for records in view.read(CONTROL_TOPIC, await view.spans(CONTROL_TOPIC)):
        for record in records:
            with poisoning(CONTROL_TOPIC, 0, record.offset):
                notice = decode_notice(record.value or b"")
            if notice.log_id != log_id:
                continue
            if isinstance(notice, IntakePaused | IntakeResumed):
                begun = max(begun, notice.epoch)
            if isinstance(notice, IntakeResumed):
                current = max(current, notice.epoch)
    return Epochs(current, begun)


async def _log_id(view: LogView) -> bytes | None:
    record = await view.record_at(VALIDATION_TOPIC, 0, 0)
    if record is None:
        return None
    with poisoning(VALIDATION_TOPIC, 0, 0):
        genesis = decode_input(record.value or b"")
    return genesis.log_id if isinstance(genesis, Genesis) else None
