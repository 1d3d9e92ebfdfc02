"""What several settings together may not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from streams.errors import SettingsError
from streams.runtime import failpoints
from streams.settings.services import AGGREGATION, POLL_UPDATES, REVIEW, VALIDATION

if TYPE_CHECKING:
    from streams.settings.model import Settings

TALLY_QUEUES = (
    "tally.creation.queue",
    "partial.decryption.queue",
    "compensated.decryption.queue",
    "combine.decryption.queue",
    "tally.queue",
    "decryption.queue",
    "combine.queue",
)
"""The documented queues of tally commands, and older names of three of them."""


def check_test_settings(settings: Settings) -> None:
    """Refuse to die on purpose where votes may be real."""
    if failpoints.parse(settings.test_failpoints) and not settings.test_deployment:
        raise SettingsError(
            "Failpoints make processes die on purpose, and this deployment is not marked as a test",
            where={"variable": failpoints.VARIABLE},
            todo="Unset it; in a test set SCRUTIN_TEST_DEPLOYMENT=true too",
        )


def _refuse(what: str, variable: str, todo: str) -> NoReturn:
    raise SettingsError(what, where={"variable": variable}, todo=todo)


def check_queues(settings: Settings) -> None:
    """Refuse queues that would feed themselves."""
    for name in settings.ingress:
        if name not in {VALIDATION, AGGREGATION, POLL_UPDATES}:
            _refuse(
                f"{name!r} is not a queue to read from",
                "SCRUTIN_INGRESS",
                f"Use {VALIDATION}, {AGGREGATION} or {POLL_UPDATES}; a *_QUEUE setting renames"
                " them",
            )
    for name in settings.egress:
        if name not in {REVIEW, AGGREGATION, POLL_UPDATES}:
            _refuse(
                f"{name!r} is not a queue to write to",
                "SCRUTIN_EGRESS",
                f"Use {REVIEW}, {AGGREGATION} or {POLL_UPDATES}; a *_QUEUE setting renames them",
            )
    for name in settings.tally_queues:
        if name not in TALLY_QUEUES:
            _refuse(
                f"{name!r} is not a queue of tally commands",
                "SCRUTIN_TALLY_QUEUES",
                f"Use {', '.join(TALLY_QUEUES)}",
            )
    read = {settings.queue_name(name) for name in settings.ingress}
    if len(read) < len(settings.ingress):
        _refuse(
            f"Queue {', '.join(sorted(read))} would be read twice",
            "SCRUTIN_INGRESS, VALIDATION_QUEUE, AGGREGATION_QUEUE",
            "Name each queue once; its votes are to be validated, or are so already",
        )
    written = {settings.queue_name(name) for name in settings.egress}
    if both := sorted(read & written):
        _refuse(
            f"Queue {', '.join(both)} would be read and written",
            "SCRUTIN_INGRESS, SCRUTIN_EGRESS",
            "A queue can only be one of them",
        )
    if POLL_UPDATES in settings.ingress and not settings.secret.get_secret_value():
        _refuse(
            f"{POLL_UPDATES} brings votes in polls, and there are none without a secret",
            "SCRUTIN_INGRESS, SCRUTIN_SECRET",
            "Set SCRUTIN_SECRET, the same as the gateways'",
        )
    if AGGREGATION in settings.egress and settings.sink != "off":
        _refuse(
            f"{AGGREGATION} as egress feeds somebody else's aggregator while ours counts too",
            "SCRUTIN_EGRESS",
            "Set SCRUTIN_SINK=off or take it out",
        )


def check_services(settings: Settings) -> None:
    """Refuse a service that is half configured."""
    if settings.encrypted():
        # A file that cannot be used is named now, not at the first connection.
        settings.tls_context()
    if settings.kafka_security_protocol.startswith("SASL") and not settings.kafka_sasl_username:
        _refuse(
            f"{settings.kafka_security_protocol} needs a user",
            "KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_USERNAME",
            "Set KAFKA_SASL_USERNAME, and KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE",
        )
    if settings.postgres_min_connections > settings.postgres_max_connections:
        _refuse(
            "More connections to keep than to open",
            "POSTGRES_MIN_CONNECTIONS, POSTGRES_MAX_CONNECTIONS",
            "Lower the first or raise the second",
        )
