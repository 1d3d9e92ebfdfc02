"""`scrutin reset`: end a rehearsal and begin the next."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

import typer
from rich.console import Console

from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.view import LogView
from streams.adapters.postgres.connection import require_owner
from streams.adapters.redis.client import redis_client
from streams.cli.issuing import issuing, passed
from streams.cli.show import JsonOption, console, run, write_json
from streams.errors import SettingsError
from streams.maintenance.reset import PAUSE_S, Reset, require_rehearsal
from streams.settings.load import load_settings
from streams.settings.model import Settings
from streams.settings.queues import REVIEW


def command(
    *,
    confirm: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of the rehearsal, equal to SCRUTIN_REHEARSAL."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Empty a running rehearsal: results, voted table, mirror, queues. Nothing is restarted.

    Closed contests become drafts again; the roll stays. The log keeps everything, but votes before
    the reset are void. Refused unless SCRUTIN_REHEARSAL names the deployment, and for users other
    than the owner of the tables.

    Example: `SCRUTIN_REHEARSAL=dry-run scrutin reset --confirm dry-run`
    """
    settings = load_settings()
    if not settings.rehearsal:
        raise SettingsError(
            "This deployment is not marked as a rehearsal, so its votes are kept",
            where={"variable": "SCRUTIN_REHEARSAL"},
            todo="Give a rehearsal a name, and that name to --confirm. Never in a real election",
        )
    if confirm != settings.rehearsal:
        raise SettingsError(
            f"This rehearsal has another name than {confirm!r}, so nothing is changed",
            where={"variable": "SCRUTIN_REHEARSAL"},
            todo="Check that this is the deployment that you mean",
        )
    done = run(_reset(settings, confirm))
    if as_json:
        write_json(done)
    else:
        console().print(
            f"Epoch {done['epoch']} is open, {done['messages_removed']:,} waiting messages were"
            f" removed ({done['took_s']:.1f} s)."
        )


async def _reset(settings: Settings, confirm: str) -> dict[str, Any]:
    steps = Console(stderr=True)
    async with (
        aclosing(redis_client(settings.redis)) as redis,
        issuing(settings) as issuer,
        LogView(settings.kafka.servers) as view,
        issuer.turn(),
    ):
        await require_owner(issuer.connection, settings.postgres, "scrutin reset")
        require_rehearsal(await ensure_topics(settings.kafka), confirm)

        async def wait(command_id: bytes) -> None:
            await passed(issuer.connection, command_id, issuer.partitions, PAUSE_S)

        return await Reset(
            issuer=issuer,
            view=view,
            redis=redis,
            rabbit=settings.rabbit,
            ingress=[settings.queues.name(name) for name in settings.ingress],
            review=settings.queues.name(REVIEW),
            passed=wait,
            say=lambda step: steps.print(f"[dim]{step}[/]"),
        ).run()
