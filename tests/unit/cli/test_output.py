"""What the commands write: files, bars, tables."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from msgspec.structs import replace
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from schemas.codec import encode
from schemas.windows import WindowKey, WindowState
from streams.adapters.rabbitmq.client import QueueDepth
from streams.cli import attach
from streams.cli.lag import render as render_lag
from streams.cli.results import render as render_results
from streams.cli.show import moment, plain, size
from streams.elections.contest_making import ContestFacts, Moment, result_of_totals
from streams.elections.contest_result import ContestResult
from streams.elections.overview import votes_of
from streams.errors import PoisonRecord, ScrutinError, ServiceUnavailable
from streams.inspect.export import Format, Row, open_writer
from streams.inspect.lag import Lag, assemble
from streams.inspect.windows import LatestWindows, Window

COLUMNS: dict[str, type] = {"name": str, "votes": int}
ROWS: list[Row] = [{"name": 'é,"x"\n', "votes": 2}, {"name": None, "votes": 1 << 40}]


def text(what: RenderableType) -> str:
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_csv(tmp_path: Path) -> None:
    with open_writer(tmp_path / "t.csv", Format.CSV, COLUMNS) as writer:
        writer.write(ROWS[:1])
        writer.write(ROWS[1:])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["name", "votes"],
            ['é,"x"\n', "2"],
            ["", str(1 << 40)],
        ]


def test_csv_holds_nothing_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    """But a hash stays as it is, because an exported roll is loaded again."""
    columns: dict[str, type] = {"hash": str, "contest": str, "votes": int}
    names = ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\tx", "a=b"]
    with open_writer(tmp_path / "t.csv", Format.CSV, columns) as writer:
        writer.write([{"hash": "-h", "contest": name, "votes": -1} for name in names])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    assert rows == [["-h", name if name == "a=b" else f"'{name}", "-1"] for name in names]


def test_json_lines(tmp_path: Path) -> None:
    with open_writer(tmp_path / "t.jsonl", Format.JSONL, COLUMNS) as writer:
        writer.write(ROWS)
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_parquet(tmp_path: Path) -> None:
    with open_writer(tmp_path / "t.parquet", Format.PARQUET, COLUMNS) as writer:
        for _ in range(40_000):
            writer.write(ROWS)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.num_rows == 80_000
    assert table.slice(79_998).to_pylist() == ROWS
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 2


def test_an_empty_table_is_a_file_with_columns(tmp_path: Path) -> None:
    for file_format in (Format.CSV, Format.PARQUET):
        with open_writer(tmp_path / file_format.value, file_format, COLUMNS):
            pass
    assert (tmp_path / "csv").read_text() == "name,votes\n"
    assert pq.read_table(tmp_path / "parquet").column_names == ["name", "votes"]


@pytest.mark.parametrize("file_format", list(Format))
def test_a_failed_export_leaves_the_old_file(tmp_path: Path, file_format: Format) -> None:
    target = tmp_path / "t"
    target.write_text("old")

    def fail() -> None:
        with open_writer(target, file_format, COLUMNS) as writer:
            writer.write(ROWS)
            raise ServiceUnavailable("Kafka went away")

    with pytest.raises(ServiceUnavailable):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "t.csv"
    with (
        pytest.raises(ScrutinError, match=r"missing/t\.csv"),
        open_writer(missing, Format.CSV, COLUMNS),
    ):
        pytest.fail("was opened")


@dataclass
class Raw:
    key: bytes | None
    value: bytes | None
    partition: int = 0
    offset: int = 5
    timestamp: int = 0


def state(contest: str, choice: str, start: int, votes: int | None) -> Raw:
    value = None if votes is None else encode(WindowState(votes))
    return Raw(encode(WindowKey(contest, choice, start)), value)


def test_windows_keep_the_latest_value() -> None:
    latest = LatestWindows()
    latest.add([state("C-1", "oui", 2000, 5), state("C-1", "non", 1000, 1)])
    latest.add([state("C-1", "oui", 2000, 9), state("C-2", "oui", 1000, 3)])
    latest.add([state("C-2", "non", 1000, 8), state("C-2", "non", 1000, None)])
    assert latest.records == 6
    assert len(latest) == 3
    assert latest.rows(contest="C-1") == [
        Window("C-1", "non", 1000, 1),
        Window("C-1", "oui", 2000, 9),
    ]
    assert latest.rows(since_ms=1001) == [Window("C-1", "oui", 2000, 9)]


def test_a_window_that_cannot_be_decoded_is_named() -> None:
    latest = LatestWindows()
    latest.add([Raw(b"x", b"y")])
    with pytest.raises(PoisonRecord, match=r"votes\.windows, partition 0, offset 5"):
        latest.rows()


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert plain("a\x1b[31m\nb").plain == "a\ufffd[31m\ufffdb"
    assert "\x1b" not in text(plain("[red]\x1b[31mx"))
    assert "[red]" in text(plain("[red]x"))


def test_figures_for_people() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 30, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3.0 TiB",
    ]
    assert moment(1_795_343_400_007) == "2026-11-22 10:30:00.007 UTC"


AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def result(contest: str, totals: dict[str, int], **facts: Any) -> ContestResult:
    known = ContestFacts(contest, updated_at=AT - timedelta(seconds=7), **facts)
    return result_of_totals(known, totals, Moment(AT, []))


LAW = result("C-1", {"oui": 750, "non": 250}, kind="law", title="A pool", state="open")
ELECTION = result("election:7", {"roy": 2, "cyr": 1})


def test_results_with_bars() -> None:
    lines = text(render_results([LAW, ELECTION])).splitlines()
    age = "as of 10:30:00 UTC, last change 7 s before"
    assert lines[0] == f"C-1  A pool  voting  1,000 votes, {age}"
    assert lines[1].split() == ["oui", "█" * 30, "750", "75.0", "%"]
    assert lines[2].split() == ["non", "█" * 10, "250", "25.0", "%"]
    assert lines[4] == f"election:7  unannounced  3 votes, {age}"
    assert [line.split()[0] for line in lines[5:]] == ["roy", "cyr"]


def test_first_choices_of_rankings_are_not_shown_as_a_result() -> None:
    heading = text(render_results([replace(ELECTION, method="ranked_choice")])).splitlines()
    assert "first choices only: ask for this election by name" in " ".join(heading)
    assert "first choices" not in text(render_results([ELECTION]))


def test_results_without_votes_say_so() -> None:
    assert text(render_results([])).strip() == "No votes were counted yet."
    shown = text(render_results([result("C-9", {}, kind="law", state="open")])).strip()
    assert shown == "C-9  voting  no votes were counted yet"


def test_hidden_results_are_one_number() -> None:
    hidden = result("C-1", {"": 12}, kind="law", state="open", hidden=True)
    assert votes_of(hidden) == {"": 12}
    assert text(render_results([hidden])).splitlines()[1].split()[0] == "hidden"


def test_lag_of_every_reader() -> None:
    ends = {("votes.validation", 0): 10, ("votes.validated", 0): 9, ("votes.windows", 0): 4}
    committed = {"workers": {("votes.validation", 0): 7, ("votes.validated", 0): 9}}
    partitions = assemble(ends, committed, {0: (5, 8)})
    lags = {p.topic: {r: p.lag(r) for r in p.next_offsets} for p in partitions}
    assert lags == {
        "votes.validation": {"workers": 3, "postgresql": 4},
        "votes.validated": {"workers": 0, "egress": None, "mirror": None, "postgresql": 0},
        "votes.windows": {},
    }


def test_lag_without_database_leaves_it_out() -> None:
    (row,) = assemble({("votes.validation", 0): 10}, {}, None)
    assert row.next_offsets == {"workers": None}


def test_lag_as_a_table() -> None:
    waiting = Lag(
        partitions=assemble({("votes.validated", 0): 1234}, {"workers": {}}, {}),
        queues={"votes.validation": QueueDepth(50_000, 1), "votes.review": None},
        errors={"redis": ServiceUnavailable("Redis does not answer")},
    )
    shown = text(render_lag(waiting))
    assert "50,000" in shown
    assert "missing" in shown
    assert shown.count("never") == 4
    assert "redis: Redis does not answer" in shown


@pytest.mark.parametrize(
    "command",
    [
        "results",
        "tables",
        "tables get",
        "tables scan",
        "tables export",
        "lag",
        "doctor",
        "settings",
    ],
)
def test_help_shows_how_to_use_it(command: str) -> None:
    app = typer.Typer(rich_markup_mode="rich")
    for name in ("results", "tables", "lag", "doctor", "settings"):
        attach(app, name)
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert f"scrutin {command}" in shown.output
