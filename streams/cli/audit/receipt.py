"""`scrutin audit receipt`: fetch the proof that a vote is in the log, and check it offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from streams.cli.show import JsonOption, answer, console, facts, plain, run
from streams.errors import ExitCode, SettingsError
from streams.messages.decode import identity_of

if TYPE_CHECKING:
    from streams.proof.notes import Verifier
    from streams.proof.receipts import CheckedReceipt

KeyOption = Annotated[
    list[str],
    typer.Option("--key", help="Public key of the log, got from elsewhere; may be repeated."),
]


def receipt(
    file: Annotated[Path, typer.Argument(help="The receipt; with --id it is written there.")],
    *,
    key: KeyOption,
    receipt_id: Annotated[
        str | None, typer.Option("--id", help="As the gateway gave it for the vote.")
    ] = None,
    gateway: Annotated[str, typer.Option(help="Address of the gateway to ask.")] = (
        "http://127.0.0.1:8000"
    ),
    opened: Annotated[
        bool, typer.Option("--opened/--sealed", help="Ask how the vote was cast, too.")
    ] = False,
    message: Annotated[
        Path | None, typer.Option(help="File with the message that was sent, byte for byte.")
    ] = None,
    message_id: Annotated[str, typer.Option(help="Its AMQP message_id, if it had one.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a receipt: signature, place in the tree, and with its opening the choice.

    Without --id nothing is asked of anybody. Exit code 3: the receipt does not hold; 1 with --id:
    no checkpoint holds the vote yet.

    Example: `scrutin audit receipt mine.json --key votes.example.org/2026+c1f0dbb3+AW4I2k4H...`
    """
    from streams.proof.receipts import BadProof, read_receipt  # noqa: PLC0415 - needs signatures

    keys = keys_of(key)
    identity = None
    try:
        if message is not None:
            identity = identity_of(message_id.encode(), message.read_bytes())
        if receipt_id is not None:
            file.write_bytes(run(_fetched(gateway, receipt_id, opened=opened)))
        text = file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The file cannot be used: {error.strerror}", where={"file": file}
        ) from error
    try:
        found = read_receipt(text).check(keys, identity)
    except BadProof as error:
        fault = str(error)
        answer(
            {"valid": False, "fault": fault},
            lambda: console().print(plain(f"The receipt does not hold: {fault}")),
            as_json=as_json,
        )
        raise typer.Exit(ExitCode.DIFFERENT) from error
    document = _document(found)
    answer(document, lambda: _show(document), as_json=as_json)


def keys_of(texts: list[str]) -> list[Verifier]:
    """Public keys from the command line.

    Raises:
        SettingsError: a text is no key.
    """
    from streams.proof.notes import BadNote, Verifier  # noqa: PLC0415 - needs signatures

    try:
        return [Verifier.parse(text.strip()) for text in texts]
    except BadNote as error:
        raise SettingsError(
            f"A key cannot be used: {error}", todo="Give the line that `scrutin audit key` printed"
        ) from error


async def _fetched(gateway: str, receipt_id: str, *, opened: bool) -> bytes:
    from streams.cli.audit.fetching import fetch  # noqa: PLC0415 - slow to load

    address = f"{gateway.rstrip('/')}/v2/receipts/{quote(receipt_id, safe='')}"
    status, body = await fetch(f"{address}?opened={str(opened).lower()}")
    if status == 200:
        return body
    if status == 202:
        console().print("No signed checkpoint holds the vote yet; ask again in a minute.")
        raise typer.Exit(ExitCode.FAILED)
    if status == 409:
        console().print("[bold red]The count and its tree disagree about this vote.[/]")
        raise typer.Exit(ExitCode.DIFFERENT)
    raise SettingsError(
        f"The gateway has no such receipt: status {status}",
        where={"gateway": gateway},
        todo="Give the id as the gateway gave it; with --opened it must show openings",
    )


def _document(found: CheckedReceipt) -> dict[str, Any]:
    leaf, checkpoint = found.leaf, found.checkpoint
    return {
        "valid": True,
        "log": checkpoint.origin,
        "key": found.signer.text,
        "checkpoint": checkpoint.size,
        "signed_at": checkpoint.statement.at.isoformat(),
        "status": leaf.status,
        "contest": leaf.contest,
        "reason": leaf.reason,
        "choice": found.choice,
    }


def _show(document: dict[str, Any]) -> None:
    table = facts()
    for name in ("log", "checkpoint", "signed_at", "status", "contest", "reason"):
        if document[name] != "":
            table.add_row(name.replace("_", " "), plain(str(document[name])))
    shown = document["choice"]
    table.add_row("choice", plain("not shown" if shown is None else shown or "blank"))
    console().print(table)
    console().print("[green]The verdict is in the signed log.[/]")
