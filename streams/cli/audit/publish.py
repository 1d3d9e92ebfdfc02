"""`scrutin audit publish`: everything that a stranger needs to check a count, in one folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.show import JsonOption, answer, console, counting, facts, plain, run
from streams.errors import SettingsError
from streams.settings.build import deployment_config, tally_config
from streams.settings.load import load_settings


def publish(
    folder: Annotated[Path, typer.Argument(help="New folder for the bundle.")],
    *,
    public: Annotated[
        list[str] | None,
        typer.Option(help="Contest whose votes are public by law; may be repeated."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="First public key of the log, if it is not listed.")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="Public key of a witness; may be repeated.")
    ] = None,
    tally: Annotated[
        list[str] | None,
        typer.Option(help="Encrypted election whose record belongs to it; may be repeated."),
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Add the rows as Parquet files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a count up to its latest checkpoint, so that anybody can check it.

    Choices are withheld but for `--public` contests, and for laws if SCRUTIN_OPENINGS is `public`:
    they are counted, and no row joins one with a voter, a time or a place in the log. The folder
    gets its name once it is complete.

    `proof/verify.py` and `proof/verify.html` check it; they share no code with this command.

    Example: `scrutin audit publish count/ --public C-42`
    """
    # Samples of papers need no signatures.
    from streams.maintenance.publishing import BundlePlan, Publishing  # noqa: PLC0415
    from streams.proof.notes import BadNote, Verifier  # noqa: PLC0415

    try:
        keys = [Verifier.parse(text) for text in [*(witness or []), *([key] if key else [])]]
    except BadNote as error:
        raise SettingsError(f"A key cannot be read: {error}") from error
    settings = load_settings()
    what = BundlePlan(
        public=frozenset(public or ()),
        public_laws=settings.openings == "public",
        key=keys.pop() if key else None,
        witnesses=tuple(keys),
        parquet=parquet,
        tallies=tuple(tally or ()),
    )
    config = tally_config(settings) if tally else None
    done = run(Publishing(deployment_config(settings), counting, what, config).run(folder))

    def show() -> None:
        table = facts()
        table.add_row("folder", plain(done.folder))
        table.add_row("leaves", f"{done.leaves:,}, up to checkpoint {done.checkpoints:,}")
        table.add_row("contests", f"{done.contests:,}")
        for name in done.hidden:
            table.add_row("hidden", plain(name))
        table.add_row("SHA-256", f"{done.manifest_sha256} of manifest.json: publish it")
        console().print(table)

    answer({**asdict(done), "folder": str(done.folder)}, show, as_json=as_json)
