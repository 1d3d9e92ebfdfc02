"""Commands for facts that become known after an election was announced."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.control import Contest, ContestKind
from streams.cli.contest.changes import issue_change, show_changed
from streams.cli.contest.confirm import YesOption, sure
from streams.cli.issuing import WaitOption
from streams.cli.show import JsonOption
from streams.cli.values import MAX_NUMBER, contest_name
from streams.core.conduct import (
    MAX_SEED_CHARACTERS,
    MIN_SEED_CHARACTERS,
    commit_seed,
    commitment_to,
    draw_lot,
    enter_eligible,
    reveal_seed,
    withdraw,
)
from streams.core.contests import contest_id, existing
from streams.core.texts import is_plain
from streams.errors import SettingsError
from streams.settings.load import load_settings

ElectionArgument = Annotated[
    str,
    typer.Argument(metavar="ELECTION", callback=contest_name, help="Its id or contest."),
]

seeds = typer.Typer(
    help="The seed of the lots: its SHA-256 is published before the closing, the seed after it.",
    no_args_is_help=True,
)

_SEED_BYTES: Final = 32


def withdraw_candidate(
    name: ElectionArgument,
    candidate: Annotated[str, typer.Argument(help="The candidate's id.")],
    *,
    reason: Annotated[str, typer.Option(help="Shown to voters.")] = "withdrawn",
    yes: YesOption = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Say that a candidate of an open election withdrew or died.

    The rule withdrawn_votes of the election says what happens with their votes.

    Example: `scrutin election withdraw 1 12 --reason dead`
    """
    sure(f"Candidate {candidate} does not stand any more? It cannot be taken back.", yes=yes)
    _enter(name, lambda old: withdraw(old, candidate, reason), wait, as_json=as_json)


def enter_lot(
    name: ElectionArgument,
    tied: Annotated[list[str], typer.Argument(help="Ids of all candidates who tie.")],
    *,
    eliminates: Annotated[str | None, typer.Option(help="Who was drawn, and is out.")] = None,
    elects: Annotated[str | None, typer.Option(help="Who was drawn, and is elected.")] = None,
    yes: YesOption = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Enter a lot that officials drew; `scrutin results` says between whom it is needed.

    Example: `scrutin election lot 1 11 12 --eliminates 12`
    """
    drawn = eliminates or elects
    if drawn is None or (eliminates and elects):
        raise SettingsError(
            "It is not clear what was drawn", todo="Give exactly one of --eliminates and --elects"
        )
    what = "is eliminated" if eliminates else "is elected"
    sure(f"Of {', '.join(tied)} candidate {drawn} {what}? It cannot be taken back.", yes=yes)
    _enter(name, lambda old: draw_lot(old, tied, drawn, elects=bool(elects)), wait, as_json=as_json)


def enter_number(
    name: ElectionArgument,
    number: Annotated[int, typer.Argument(help="Voters on the roll.", min=1, max=MAX_NUMBER)],
    *,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Enter how many voters are on the roll, for the turnout and the quorum.

    Example: `scrutin election eligible 1 48211`
    """
    _enter(name, lambda old: enter_eligible(old, number), wait, as_json=as_json)


@seeds.command("commit")
def commit(
    name: ElectionArgument,
    *,
    file: Annotated[
        Path, typer.Option(help="Holds the seed; made with a random one if it is missing.")
    ],
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Publish the SHA-256 of a seed, before the closing. Keep the file secret until then.

    Example: `scrutin election seed commit 1 --file seed.txt`
    """
    if not file.exists():
        _make_seed(file)
    commitment = commitment_to(_read_seed(file))
    _enter(name, lambda old: commit_seed(old, commitment), wait, as_json=as_json)


@seeds.command("reveal")
def reveal(
    name: ElectionArgument,
    *,
    file: Annotated[Path, typer.Option(help="Holds the seed.")],
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Publish the seed itself, after the closing.

    Example: `scrutin election seed reveal 1 --file seed.txt`
    """
    seed = _read_seed(file)
    _enter(name, lambda old: reveal_seed(old, seed), wait, as_json=as_json)


def _make_seed(file: Path) -> None:
    try:
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(secrets.token_hex(_SEED_BYTES) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"The seed cannot be written: {error}", where={"file": file}, todo="Name another file"
        ) from error


def _read_seed(file: Path) -> str:
    """The seed in a file, without line ends around it."""
    try:
        seed = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The seed cannot be read: {error}", where={"file": file}, todo="Name its file"
        ) from error
    if not MIN_SEED_CHARACTERS <= len(seed) <= MAX_SEED_CHARACTERS or not is_plain(seed):
        raise SettingsError(
            f"A seed is one line of {MIN_SEED_CHARACTERS} to {MAX_SEED_CHARACTERS:,} characters",
            where={"file": file},
            todo="A short one could be guessed from its SHA-256: name a file that does not exist",
        )
    return seed


def _enter(
    name: str, change: Callable[[Contest], Contest], wait_s: float, *, as_json: bool
) -> None:
    wanted = contest_id(name, ContestKind.ELECTION)

    def changed(known: dict[str, Contest], _now_ms: int) -> list[Contest]:
        old = existing(known, wanted)
        new = change(old)
        return [] if new == old else [new]

    settings = load_settings()
    done = issue_change(settings, changed, [wanted], wait_s)
    show_changed(settings, [wanted], done, as_json=as_json)
