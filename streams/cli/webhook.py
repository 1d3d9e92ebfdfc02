"""`scrutin webhook`: signed messages to other systems when contests change."""

from __future__ import annotations

import secrets
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from streams.adapters.postgres.connection import connected
from streams.cli.extras import needs
from streams.cli.processes import become
from streams.cli.show import JsonOption, answer, console, grid, plain, run, write_json
from streams.cli.values import contest_name
from streams.errors import ScrutinError, SettingsError
from streams.gateway.webhooks.destinations import checked_url
from streams.gateway.webhooks.signing import EVENTS, shown_key, webhook_key
from streams.gateway.webhooks.store import WebhookStore, as_row
from streams.settings.load import load_settings

app = typer.Typer(
    help="Tell other systems, by signed messages, how far contests are.",
    no_args_is_help=True,
)


@app.command("run")
def send() -> NoReturn:
    """Send webhooks until SIGTERM.

    The same as `python -m streams.gateway.webhooks`. Several may run; each message is sent by one.

    Example: `scrutin webhook run`
    """
    needs("uvloop", "gateway")
    become("streams.gateway.webhooks")


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Where messages are posted.")],
    *,
    contest: Annotated[
        str | None, typer.Option(help="Only of this contest.", callback=contest_name)
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(EVENTS)}; may be repeated; all if none.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a webhook for changes from now on, and print the key that receivers check messages with.

    Example: `scrutin webhook add https://news.example/hook --contest election:7 --event final`
    """
    settings = load_settings()
    secret = settings.secret.get_secret_value()
    if not secret:
        raise SettingsError("Webhooks are signed with a secret", todo="Set SCRUTIN_SECRET")
    events = event or list(EVENTS)
    if unknown := set(events) - set(EVENTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: write {', '.join(EVENTS)}")
    checked = checked_url(url, inside=settings.webhooks_inside)
    name = f"wh_{secrets.token_hex(8)}"

    async def added() -> None:
        async with connected(settings.postgres) as connection:
            await WebhookStore(connection).add(name, checked, contest, events)

    run(added())
    key = shown_key(webhook_key(secret, name))
    answer(
        {"webhook_id": name, "key": key},
        lambda: console().print(plain(f"{name}\nKey of the receiver: {key}")),
        as_json=as_json,
    )


@app.command("list")
def listed(*, as_json: JsonOption = False) -> None:
    """Show all webhooks.

    Example: `scrutin webhook list --json`
    """

    async def found() -> list[dict[str, object]]:
        async with connected(load_settings().postgres) as connection:
            return [as_row(each) for each in await WebhookStore(connection).webhooks()]

    _show(run(found()), as_json=as_json)


@app.command("log")
def logged(
    webhook: Annotated[str | None, typer.Argument(help="Only of this webhook.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most deliveries.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show deliveries: how often each was tried, and the last answer.

    Example: `scrutin webhook log --limit 10`
    """

    async def found() -> list[dict[str, object]]:
        async with connected(load_settings().postgres) as connection:
            return [as_row(each) for each in await WebhookStore(connection).log(webhook, limit)]

    _show(run(found()), as_json=as_json)


@app.command()
def resend(delivery: Annotated[str, typer.Argument(help="Its id, from the log.")]) -> None:
    """Send a message again, with the same id and body.

    Example: `scrutin webhook resend msg_0f1e2d3c4b5a69788796a5b4c3d2e1f0`
    """

    async def done() -> bool:
        async with connected(load_settings().postgres) as connection:
            return await WebhookStore(connection).resend(delivery)

    if not run(done()):
        raise ScrutinError("There is no such delivery", todo="`scrutin webhook log` lists them")


@app.command()
def remove(webhook: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Remove a webhook and its log.

    Example: `scrutin webhook remove wh_0123456789abcdef`
    """

    async def done() -> bool:
        async with connected(load_settings().postgres) as connection:
            return await WebhookStore(connection).remove(webhook)

    if not run(done()):
        raise ScrutinError("There is no such webhook", todo="`scrutin webhook list` lists them")


def _show(rows: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        write_json(rows)
        return
    if not rows:
        console().print("None")
        return
    table: Table = grid(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        cells = (", ".join(v) if isinstance(v, list) else v for v in row.values())
        table.add_row(*(plain("" if cell is None else str(cell)) for cell in cells))
    console().print(table)
