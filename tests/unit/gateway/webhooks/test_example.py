"""The example of a receiver takes what is sent, and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

from streams.gateway.webhooks.signing import shown_key, signed_headers, webhook_key

EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "receive.py"
KEY = webhook_key("a secret of thirty-two characters", "wh_1")


def test_it_checks_signature_and_time() -> None:
    is_signed = runpy.run_path(str(EXAMPLE))["is_signed"]
    headers = signed_headers(KEY, "msg_1", 1000, b"{}", "final")
    assert is_signed(shown_key(KEY), headers, b"{}", 1001.0)
    assert not is_signed(shown_key(KEY), headers, b"{ }", 1001.0)
    assert not is_signed(shown_key(KEY), headers, b"{}", 2000.0)
    assert not is_signed(shown_key(webhook_key("other", "wh_1")), headers, b"{}", 1001.0)
    assert not is_signed(shown_key(KEY), {}, b"{}", 1001.0)
