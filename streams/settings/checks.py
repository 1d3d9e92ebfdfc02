"""Cross-field validation of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from streams.errors import SettingsError
from streams.runtime import failpoints
from streams.settings.queues import (
    AGGREGATION,
    EGRESS,
    INGRESS,
    POLL_UPDATES,
    RECEIPTS,
    TALLY_QUEUES,
    VALIDATION,
)

if TYPE_CHECKING:
    from streams.settings.model import Settings


def check_test_settings(settings: Settings) -> None:
    """Refuse failpoints in a deployment that is not marked as a test."""
    if failpoints.parse(settings.test_failpoints) and not settings.test_deployment:
        raise SettingsError(
            "Failpoints kill processes on purpose, and this deployment is not marked as a test",
            where={"variable": failpoints.VARIABLE},
            todo="Unset it; in a test set SCRUTIN_TEST_DEPLOYMENT=true too",
        )


def _refuse(what: str, variable: str, todo: str) -> NoReturn:
    raise SettingsError(what, where={"variable": variable}, todo=todo)


def check_queues(settings: Settings) -> None:
    """Refuse unknown queues, and queues that would be both read and written."""
    _check_names(settings)
    deployed = {*settings.queues.deployed.values(), *settings.tally_queues}
    for name in settings.queues.arguments:
        if name not in deployed:
            _refuse(
                f"{name!r} is not a queue of this deployment",
                "SCRUTIN_QUEUE_ARGUMENTS",
                f"Use {', '.join(sorted(deployed))}",
            )
    read = {settings.queues.name(name) for name in settings.ingress}
    if len(read) < len(settings.ingress):
        _refuse(
            f"Queue {', '.join(sorted(read))} would be read twice",
            "SCRUTIN_INGRESS, VALIDATION_QUEUE, AGGREGATION_QUEUE",
            "Name each queue once; its votes are either to be validated or already validated",
        )
    written = {settings.queues.name(name) for name in settings.egress}
    if both := sorted(read & written):
        _refuse(
            f"Queue {', '.join(both)} would be read and written",
            "SCRUTIN_INGRESS, SCRUTIN_EGRESS",
            "Take the queue out of one of the two settings",
        )
    if POLL_UPDATES in settings.ingress and not settings.secret.get_secret_value():
        _refuse(
            f"{POLL_UPDATES} carries poll votes, and polls need a secret",
            "SCRUTIN_INGRESS, SCRUTIN_SECRET",
            "Set SCRUTIN_SECRET to the same value as the gateways",
        )
    if settings.citizen_id == "digest" and not settings.secret.get_secret_value():
        _refuse(
            "A digest of citizen_id needs a secret",
            "SCRUTIN_CITIZEN_ID, SCRUTIN_SECRET",
            "Set SCRUTIN_SECRET to the same value on all bridges and gateways",
        )
    if RECEIPTS in settings.egress and not settings.secret.get_secret_value():
        _refuse(
            f"{RECEIPTS} carries receipts, which gateways open by a secret",
            "SCRUTIN_EGRESS, SCRUTIN_SECRET",
            "Set SCRUTIN_SECRET to the same value as the gateways",
        )
    if AGGREGATION in settings.egress and settings.sink != "off":
        _refuse(
            f"{AGGREGATION} as egress feeds another aggregator while Scrutin's own sink is on",
            "SCRUTIN_EGRESS",
            f"Set SCRUTIN_SINK=off or remove {AGGREGATION} from the list",
        )


def _check_names(settings: Settings) -> None:
    for name in settings.ingress:
        if name not in INGRESS:
            _refuse(
                f"{name!r} is not an ingress queue",
                "SCRUTIN_INGRESS",
                f"Use {VALIDATION}, {AGGREGATION} or {POLL_UPDATES}; a *_QUEUE setting renames"
                " them",
            )
    for name in settings.egress:
        if name not in EGRESS:
            _refuse(
                f"{name!r} is not an egress queue",
                "SCRUTIN_EGRESS",
                f"Use {', '.join(EGRESS)}; a *_QUEUE setting renames them",
            )
    for name in settings.tally_queues:
        if name not in TALLY_QUEUES:
            _refuse(
                f"{name!r} is not a queue for tally commands",
                "SCRUTIN_TALLY_QUEUES",
                f"Use {', '.join(TALLY_QUEUES)}",
            )


def check_services(settings: Settings) -> None:
    """Refuse incomplete or contradictory connection settings."""
    if settings.encrypted():
        # Report an unusable file now, not at the first connection.
        settings.tls.context()
    if settings.kafka_security_protocol.startswith("SASL") and not settings.kafka_sasl_username:
        _refuse(
            f"{settings.kafka_security_protocol} needs a user",
            "KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_USERNAME",
            "Set KAFKA_SASL_USERNAME, and KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE",
        )
    if settings.postgres_min_connections > settings.postgres_max_connections:
        _refuse(
            "The minimum number of connections is above the maximum",
            "POSTGRES_MIN_CONNECTIONS, POSTGRES_MAX_CONNECTIONS",
            "Lower the first or raise the second",
        )
