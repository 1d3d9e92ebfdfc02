"""Names of Kafka topics and consumer groups, and the sizes of their records."""

from __future__ import annotations

from typing import Final

VALIDATION_TOPIC: Final = "votes.validation"
"""The input log; all verdicts derive from it."""


VALIDATED_TOPIC: Final = "votes.validated"
"""One verdict batch per record of the input log, in the same partition."""


WINDOWS_TOPIC: Final = "votes.windows"
"""Compacted: state of the tumbling windows, as committed to PostgreSQL."""


CONTROL_TOPIC: Final = "votes.control"
"""Notices to the bridges, in one partition."""


VOTED_TABLE: Final = "voted"


MAX_RECORD_BYTES: Final = 1_000_000
"""Kafka's default limit is 1,048,588 bytes a batch; this leaves room for its framing."""


MAX_DERIVED_RECORD_BYTES: Final = 8 * 1024 * 1024
"""A verdict batch or changelog record is longer than its input record by its verdicts."""


def changelog_topic(app_id: str) -> str:
    """Changelog of the voted table, under the name that Faust gives it."""
    return f"{app_id}-{VOTED_TABLE}-changelog"


def worker_group(app_id: str) -> str:
    """Consumer group of the workers (Faust's: the app's id)."""
    return app_id


def egress_group(app_id: str) -> str:
    """Consumer group of the bridges' egress."""
    return f"{app_id}-egress"


def mirror_group(app_id: str) -> str:
    """Consumer group of the bridges' Redis mirror."""
    return f"{app_id}-mirror"
