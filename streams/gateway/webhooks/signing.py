"""Signatures and retries of webhooks, by the scheme of Standard Webhooks. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from streams.core.polls import derived_key

EVENTS: Final = ("opened", "closed", "final", "corrected")
DELAYS_S: Final = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
"""Waiting times after the first, second, ... failed attempt; after one more it has failed."""
_PREFIX: Final = "whsec_"


def webhook_key(secret: str, webhook_id: str) -> bytes:
    """The key of one webhook, which no table holds.

    Args:
        secret: SCRUTIN_SECRET.
        webhook_id: of the webhook.
    """
    return derived_key(secret, f"scrutin webhook/1 {webhook_id}".encode())


def shown_key(key: bytes) -> str:
    """A key as receivers' libraries take it."""
    return _PREFIX + base64.b64encode(key).decode()


def delivery_id(webhook_id: str, contest: str, event: str, key: str) -> str:
    """The id of a message: the same change has the same id, however often it is sent."""
    parts = "\0".join((webhook_id, contest, event, key))
    return f"msg_{hashlib.sha256(parts.encode()).hexdigest()[:32]}"


def signed_headers(
    key: bytes, message_id: str, at_s: int, body: bytes, event: str
) -> dict[str, str]:
    """Headers of a message.

    Args:
        key: of the webhook.
        message_id: of the message.
        at_s: Unix time of this attempt, in seconds.
        body: of the message.
        event: what happened; it is not signed, `phase` in the body is.
    """
    content = f"{message_id}.{at_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{signature}",
        "scrutin-event": event,
        "content-type": "application/json",
        "user-agent": "scrutin-webhooks",
    }


def delay_s(attempts: int) -> int | None:
    """Seconds until the next attempt after so many; None: there is none."""
    return DELAYS_S[attempts - 1] if attempts <= len(DELAYS_S) else None
