"""Receives webhooks: checks who sent them, and prints each once.

WEBHOOK_KEY=whsec_... python receive.py 8080
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 300


def is_signed(key: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether a message is from the holder of the key, and was sent now."""
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(now_s - int(sent)) > TOLERANCE_S:
        return False
    secret = base64.b64decode(key.removeprefix("whsec_"))
    digest = hmac.digest(secret, f"{name}.{sent}.".encode() + body, "sha256")
    expected = f"v1,{base64.b64encode(digest).decode()}"
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)


class Hook(BaseHTTPRequestHandler):
    """One message."""

    known: set[str] = set()  # noqa: RUF012 - keep these ids in a database, longer than two days

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        genuine = is_signed(os.environ["WEBHOOK_KEY"], headers, body, time.time())
        if genuine and headers["webhook-id"] not in self.known:
            self.known.add(headers["webhook-id"])
            result = json.loads(body)
            print(f"{result['id']}: {result['phase']}, {result['total_votes']} votes", flush=True)
        # Only an answer of 2xx ends the retries.
        self.send_response(204 if genuine else 401)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Hook).serve_forever()
