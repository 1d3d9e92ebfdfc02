"""Keys in Redis that several modules read or write."""

from __future__ import annotations

from typing import Final

VOTED_HASHES: Final = "voted_hashes"
COUNTER_PREFIX: Final = "duplicate_count:"
PATTERNS_SEEN: Final = "error_patterns_seen"
PATTERN_PREFIX: Final = "error_pattern:"
PATTERN_OFFSETS: Final = "scrutin:error_patterns"
"""Partition -> log and offset up to which patterns were counted, so that a replay adds nothing."""
THROTTLE_PREFIX: Final = "scrutin:throttle"
"""Of the gateways' windows of requests."""
