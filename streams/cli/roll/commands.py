"""`scrutin roll`: who may vote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from schemas.control import ContestKind
from streams.adapters.redis.roll import VALID_HASHES
from streams.cli.roll import log_roll, redis_roll
from streams.cli.roll.files import RollFiles, RollSummary
from streams.cli.roll.hash_kind import HashCheck, HashKind
from streams.cli.show import JsonOption, answer, console, counting, facts, plain, run, write_json
from streams.cli.values import contest_name
from streams.core.contests import contest_id, kind_of
from streams.core.keys import normalise_hash
from streams.errors import ExitCode, SettingsError
from streams.inspect.export import Format
from streams.settings.load import load_settings
from streams.settings.model import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Who may vote: with SCRUTIN_ROLL=redis the set `valid_hashes`, with SCRUTIN_ROLL=table "
    "the roll in the log, which needs no Redis.\n\n"
    "Example: `scrutin roll load voters.csv`",
)

HashesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[HASH]...", help="Hashes as voters send them.")
]
FileOption = Annotated[
    list[Path] | None, typer.Option("--file", "-f", help="Roll file, see `roll load`.")
]
ColumnOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column with the hashes, or its number; default: found."),
]
KindOption = Annotated[
    HashKind,
    typer.Option(
        help="What entries are: `hex`, digits of one length, or `text`, whatever has no blanks."
    ),
]
ContestOption = Annotated[
    list[str] | None,
    typer.Option(
        "--contest",
        metavar="ID",
        callback=contest_name,
        help="Entries for these elections or polls (election:1, poll:7), in the log; default: "
        "for laws.",
    ),
]


@app.command()
def load(
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="One hash a line (`#` comments); a table with a column `hash`, its separator is "
            'found; JSON: a list, {"hashes": []}, of strings or of objects with `hash`; JSON '
            "Lines; Parquet. UTF-8 or UTF-16, also with gzip.",
        ),
    ] = None,
    from_redis: Annotated[
        bool, typer.Option("--from-redis", help="Copy the set `valid_hashes` to the log.")
    ] = False,
    from_expected: Annotated[
        Path | None, typer.Option(help="Roll of a published election, from its expected outcome.")
    ] = None,
    contests: ContestOption = None,
    column: ColumnOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column with the weight of each vote, or its number; for contests that are"
            " `weighted`, with the roll in the log.",
        ),
    ] = None,
    kind: KindOption = HashKind.HEX,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the files, show their first rows, load none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add hashes to the roll; existing ones stay.

    All files are checked to their end first: a fault is refused with its line, and nothing is
    loaded. With the roll in the log, an interrupted load of the same files continues where it
    stopped.

    Examples:

        scrutin roll load hashes.txt

        scrutin roll load liste.csv --column Empreinte --dry-run

        scrutin roll load shares.csv --contest election:1 --weights shares

        SCRUTIN_ROLL=table scrutin roll load --from-redis
    """
    settings = load_settings()
    if sum((bool(files), from_redis, from_expected is not None)) != 1:
        raise SettingsError(
            "Name exactly one source: roll files, the Redis set, or an expected outcome",
            todo="`scrutin roll load FILE`, or `--from-redis`, or `--from-expected FILE`",
        )
    if dry_run:
        _show_summary(_checked(RollFiles(_some(files), column, kind, weights)), as_json=as_json)
        return
    if weights is not None and not (files and _in_log(settings, contests)):
        raise SettingsError(
            "Weights are in roll files, and in the roll in the log",
            todo="`scrutin roll load FILE --contest ID --weights NAME`",
        )
    summary = None
    if files:
        roll = RollFiles(files, column, kind, weights)
        summary = _checked(roll)
        source = log_roll.RollSource(
            name=", ".join(file.name for file in files),
            hashes=roll.hashes(),
            total=summary.entries,
            digest=roll.digest(),
            weights=roll.weights(),
        )
    elif from_expected is not None:
        # The load generator is not installed with the product.
        from streams.load.election import ELECTIONS, LoadPlan, SyntheticElection  # noqa: PLC0415
        from streams.load.expected import read_expected  # noqa: PLC0415

        plan = LoadPlan(**read_expected(from_expected).plan)
        if settings.roll == "table" and contests is None:
            contests = ["", *ELECTIONS]
        source = log_roll.RollSource(
            name=from_expected.name, hashes=SyntheticElection(plan).roll(), total=plan.roll_size
        )
    else:
        if settings.roll != "table":
            raise SettingsError(
                "The roll is the Redis set itself",
                where={"variable": "SCRUTIN_ROLL"},
                todo="Set SCRUTIN_ROLL=table to copy it to the log",
            )
        source = redis_roll.source(settings)
    if _in_log(settings, contests):
        done = run(log_roll.load(settings, source, _ids(contests)))
    else:
        done = run(redis_roll.load(settings, source))
    _show_loaded(done, summary, as_json=as_json)


@app.command()
def add(
    hashes: HashesArgument = None,
    *,
    files: FileOption = None,
    contests: ContestOption = None,
    column: ColumnOption = None,
    kind: KindOption = HashKind.HEX,
    as_json: JsonOption = False,
) -> None:
    """Add voters to the roll during the vote; takes effect within a second.

    Votes rejected earlier stay rejected; the voter can vote again.

    Example: `scrutin roll add 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`
    """
    roll = RollFiles(files or [], column, kind)
    _change(hashes, roll, contests, add=True, as_json=as_json)


@app.command()
def withdraw(
    hashes: HashesArgument = None,
    *,
    files: FileOption = None,
    contests: ContestOption = None,
    column: ColumnOption = None,
    kind: KindOption = HashKind.HEX,
    as_json: JsonOption = False,
) -> None:
    """Withdraw voters from the roll during the vote; takes effect within a second.

    A counted vote stays counted: removing it would require knowing whose it is.

    Example: `scrutin roll withdraw --file moved-away.txt`
    """
    roll = RollFiles(files or [], column, kind)
    _change(hashes, roll, contests, add=False, as_json=as_json)


@app.command()
def stats(as_json: JsonOption = False) -> None:
    """Count the entries; in the log by partition.

    Example: `scrutin roll stats --json`
    """
    settings = load_settings()
    in_log = _in_log(settings, None)
    found = run(log_roll.stats(settings) if in_log else redis_roll.stats(settings))
    if as_json:
        write_json(found)
        return
    table = facts()
    table.add_row("roll", "in the log" if in_log else VALID_HASHES)
    table.add_row("entries", f"{found['entries']:,}")
    if found.get("weight", found["entries"]) != found["entries"]:
        table.add_row("weight", f"{found['weight']:,}")
    for partition, entries in found.get("partitions", {}).items():
        table.add_row(f"partition {partition}", f"{entries:,}")
    console().print(table)


@app.command()
def check(
    entry: Annotated[str, typer.Argument(metavar="HASH", help="Hash as the voter sends it.")],
    *,
    contests: ContestOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether a voter is on the roll. Exit 1 if not, in one of the contests.

    Example: `scrutin roll check 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`
    """
    settings = load_settings()
    entry = normalise_hash(entry)
    if _in_log(settings, contests):
        found = run(log_roll.check(settings, entry, _ids(contests)))
    else:
        found = {VALID_HASHES: run(redis_roll.check(settings, entry))}
    if as_json:
        write_json({"on_roll": all(found.values()), "by_contest": found})
    else:
        for name, there in found.items():
            verdict = Text("on the roll", style="green")
            if not there:
                verdict = Text("not on the roll", style="red")
            console().print(plain(f"{name}: ").append_text(verdict))
    if not all(found.values()):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def export(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; default: standard output.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="File format.")] = Format.CSV,
) -> None:
    """Export the roll: hashes or, from the log, voter keys (for laws the hash itself).

    Example: `scrutin roll export --format parquet -o roll.parquet`
    """
    settings = load_settings()
    if _in_log(settings, None):
        count = run(log_roll.export(settings, output, form))
    else:
        count = run(redis_roll.export(settings, output, form))
    if output is not None:
        console().print(f"{count:,} entries written to {output}")


def _in_log(settings: Settings, contests: list[str] | None) -> bool:
    # The Redis set knows no contest; entries of one contest are in the log, wherever the roll is.
    return settings.roll == "table" or bool(contests)


def _ids(contests: list[str] | None) -> list[str]:
    found = [contest_id(name) for name in contests or []]
    for name in found:
        # The entry for all laws has no name, and a roll knows no single law.
        if name and kind_of(name) is ContestKind.LAW:
            raise SettingsError(
                "Only elections and polls have entries of their own",
                where={"contest": name},
                todo="Write election:1 or poll:7; without --contest entries are for all laws",
            )
    return found


def _some(files: list[Path] | None) -> list[Path]:
    if not files:
        raise SettingsError("A dry run reads files", todo="`scrutin roll load FILE --dry-run`")
    return files


def _show_loaded(done: dict[str, Any], summary: RollSummary | None, *, as_json: bool) -> None:
    if summary is not None:
        done["repeated"] = summary.repeated
    if as_json:
        write_json(done)
        return
    size = f"; {done['size']:,} on the roll" if "size" in done else ""
    console().print(f"{done['read']:,} hashes read{size}")
    if summary is not None:
        _show_repeats(summary)


def _checked(roll: RollFiles) -> RollSummary:
    with counting("checking the roll", 0) as advance:
        return roll.check(advance)


def _show_summary(summary: RollSummary, *, as_json: bool) -> None:
    if as_json:
        write_json(summary.as_dict())
        return
    table = facts()
    for path, form in summary.forms.items():
        table.add_row(path, form)
    for row in summary.first:
        weight = f" weight {row['weight']:,}" if "weight" in row else ""
        table.add_row(row["place"], row["hash"] + weight)
    console().print(table)
    console().print(f"{summary.entries:,} hashes; nothing was loaded")
    _show_repeats(summary)


def _show_repeats(summary: RollSummary) -> None:
    if summary.repeated:
        console().print(f"{summary.repeated:,} of them repeat others, such as:")
        for one in summary.repeats:
            console().print(f"  {one}")


def _entries(hashes: list[str] | None, roll: RollFiles) -> list[str]:
    """The hashes of arguments and files, each once."""
    check = HashCheck(roll.kind)
    typed = [entry.strip() for entry in hashes or []]
    for number, entry in enumerate(typed, 1):
        if fault := check.fault(entry):
            raise SettingsError(
                f"HASH {number} is no hash of a voter: {fault}",
                todo="Copy it as the voter sends it; nothing was changed",
            )
    if roll.paths:
        _checked(roll)
    entries = list(dict.fromkeys([*map(normalise_hash, typed), *roll.hashes()]))
    if not entries:
        raise SettingsError("No voter is named", todo="Give hashes, or --file")
    return entries


def _change(
    hashes: list[str] | None,
    roll: RollFiles,
    contests: list[str] | None,
    *,
    add: bool,
    as_json: bool,
) -> None:
    settings = load_settings()
    entries = _entries(hashes, roll)
    if _in_log(settings, contests):
        done = run(log_roll.change(settings, entries, _ids(contests), add=add))
    else:
        done = run((redis_roll.add if add else redis_roll.withdraw)(settings, entries))
    said = ", ".join(f"{count:,} {name}" for name, count in done.items())
    answer(done, lambda: console().print(said), as_json=as_json)
