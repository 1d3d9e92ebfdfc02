"""Webhooks: a receiver's library accepts what is signed, and retries end."""

from __future__ import annotations

import base64
import time
from itertools import takewhile

import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from streams.gateway.webhooks.sender import outcome_of
from streams.gateway.webhooks.signing import (
    DELAYS_S,
    delay_s,
    delivery_id,
    shown_key,
    signed_headers,
    webhook_key,
)

BODY = b'{"id":"L1","phase":"final"}'
KEY = webhook_key("a secret of thirty-two characters", "wh_1")


def test_a_receiver_by_the_standard_accepts_it() -> None:
    """By the library of the scheme's authors."""
    receiver = Receiver(shown_key(KEY))
    headers = signed_headers(KEY, "msg_1", int(time.time()), BODY, "final")
    assert receiver.verify(BODY, headers) == {"id": "L1", "phase": "final"}
    for change in (
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(int(time.time()) - 1)},
        {"webhook-signature": f"v1,{base64.b64encode(bytes(32)).decode()}"},
    ):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(BODY, headers | change)
    with pytest.raises(WebhookVerificationError):
        receiver.verify(BODY + b" ", headers)


def test_every_webhook_has_a_key_of_its_own() -> None:
    assert webhook_key("s", "wh_1") != webhook_key("s", "wh_2")
    assert len(KEY) == 32


def test_ids_tell_repeats_from_changes() -> None:
    first = delivery_id("wh_1", "L1", "final", "k")
    assert first == delivery_id("wh_1", "L1", "final", "k")
    others = {
        delivery_id(*each)
        for each in (
            ("wh_2", "L1", "final", "k"),
            ("wh_1", "L2", "final", "k"),
            ("wh_1", "L1", "closed", "k"),
            ("wh_1", "L1", "final", "l"),
        )
    }
    assert len(others | {first}) == 5


def test_retries_wait_longer_each_time_and_end() -> None:
    waits = list(takewhile(lambda wait: wait is not None, map(delay_s, range(1, 100))))
    assert waits == list(DELAYS_S) == sorted(DELAYS_S)


@pytest.mark.parametrize(
    ("status", "attempts", "state"),
    [
        (200, 1, "delivered"),
        (204, 8, "delivered"),
        (302, 1, "pending"),
        (404, 1, "pending"),
        (410, 1, "failed"),
        (503, 7, "pending"),
        (503, 8, "failed"),
    ],
)
def test_what_an_answer_means(status: int, attempts: int, state: str) -> None:
    found = outcome_of(status, attempts)
    assert found.state == state
    assert (found.again_s > 0) == (state == "pending")
