"""Results of contests and votes over time as files: which form a caller wants, and its bytes."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, Final

from streams.elections.contest_result import ContestResult
from streams.elections.reports.drawings import ENGLISH, DrawingWords, drawing_of, timeline_drawing
from streams.elections.reports.files import ReportRefused, parquet_of
from streams.gateway.problems import Problem
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Timeline, TimelinePoint
from streams.inspect.export import inert


class ResultForm(StrEnum):
    """Forms of a result; the value is the suffix of a path."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    SVG = "svg"
    PNG = "png"


MEDIA_TYPES: Final = {
    ResultForm.JSON: "application/json",
    ResultForm.CSV: "text/csv",
    ResultForm.PARQUET: "application/vnd.apache.parquet",
    ResultForm.SVG: "image/svg+xml",
    ResultForm.PNG: "image/png",
}
_SUFFIXES: Final = frozenset(str(form) for form in ResultForm)
COLUMNS: Final = {
    "contest_id": "the contest",
    "phase": "how far it is: announced, voting, counting, final, not_enforced or unannounced",
    "region_id": "number of the region; empty: the whole contest",
    "region": "name of the region",
    "choice_id": "the choice, as in votes",
    "name": "of the choice",
    "party": "code of the party",
    "votes": "of a ranked contest: first choices",
    "share": "of the votes for a choice, from 0 to 1",
    "leading": "most votes before the result is final",
    "elected": "the result is final, and this choice has won",
    "updated_at": "when a total of the contest changed last",
}
"""Column of a table -> what it holds."""
STEP_COLUMNS: Final = {
    "contest_id": "the contest",
    "starts": "when the step begins",
    "step_s": "width of a step in seconds",
    "choice_id": "the choice, as in votes; empty: counts are hidden",
    "name": "of the choice",
    "votes": "received in the step and counted",
}
_NO_FONTS: Final = 3
"""How `rasterizer.py` ends where it finds no fonts."""
_DRAWING_S: Final = 20.0
"""Longest time for a picture."""


def wanted_form(path: str, accept: str) -> tuple[str, ResultForm]:
    """The path without its suffix, and the form that a caller wants: JSON if nothing else fits."""
    stem, dot, suffix = path.rpartition(".")
    if dot and suffix in _SUFFIXES:
        return stem, ResultForm(suffix)
    best, most = ResultForm.JSON, 0.0
    for kinds, quality in _accepted(accept):
        for form, media in MEDIA_TYPES.items():
            if quality > most and kinds in {media, f"{media.split('/')[0]}/*", "*/*"}:
                best, most = form, quality
    return path, best


def _accepted(header: str) -> Iterator[tuple[str, float]]:
    for part in header.lower().split(","):
        kind, *parameters = (each.strip() for each in part.split(";"))
        quality = 1.0
        for each in parameters:
            name, _, value = each.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        yield kind, quality


@dataclass(frozen=True)
class ResultFile:
    """A file as it is sent."""

    content: bytes
    form: ResultForm

    def headers(self, name: str) -> dict[str, str]:
        """Tables are saved under a name; pictures are shown."""
        if self.form in {ResultForm.CSV, ResultForm.PARQUET}:
            return {"Content-Disposition": f"attachment; filename={name}.{self.form}"}
        return {}


class ResultFiles:
    """Makes files of results, pictures one at a time and once for all who ask together.

    Args:
        words: of pictures, by language; others are in English.
    """

    def __init__(self, words: Mapping[str, DrawingWords]) -> None:
        self._words = words
        # The key is the picture, so that nobody gets that of another moment.
        self._pictures: SingleFlight[str, bytes] = SingleFlight(_rasterized)

    async def result(self, found: ContestResult, form: ResultForm, language: str) -> ResultFile:
        """The file of a result, in any form but JSON.

        Raises:
            Problem: the form needs something that this gateway does not have.
        """
        if form in {ResultForm.SVG, ResultForm.PNG}:
            svg = await asyncio.to_thread(drawing_of, found, self._words.get(language, ENGLISH))
            return await self._picture(svg, form)
        return await _table(result_rows(found), COLUMNS, form)

    async def timeline(
        self, result: ContestResult, steps: Timeline, form: ResultForm, language: str
    ) -> ResultFile:
        """The file of votes over time, in any form but JSON.

        Raises:
            Problem: the form needs something that this gateway does not have.
        """
        if form in {ResultForm.SVG, ResultForm.PNG}:
            points = [(point.starts, point.votes) for point in steps.points]
            svg = await asyncio.to_thread(
                timeline_drawing, result, points, steps.step_s, self._words.get(language, ENGLISH)
            )
            return await self._picture(svg, form)
        return await _table(step_rows(result, steps), STEP_COLUMNS, form)

    async def _picture(self, svg: str, form: ResultForm) -> ResultFile:
        if form is ResultForm.SVG:
            return ResultFile(svg.encode(), form)
        if not pictures_installed():
            raise Problem(406, "PNG needs a package that is not installed here; SVG is there")
        return ResultFile(await self._pictures.get(svg), form)


async def _table(
    rows: Iterable[dict[str, Any]], columns: Mapping[str, str], form: ResultForm
) -> ResultFile:
    if form is ResultForm.CSV:
        return ResultFile(csv_of(rows, columns).encode(), form)
    try:
        content = await asyncio.to_thread(parquet_of, list(rows), columns, _parquet_types)
    except ReportRefused as error:
        raise Problem(406, f"{error}; CSV is there") from error
    return ResultFile(content, form)


def result_rows(result: ContestResult) -> Iterator[dict[str, Any]]:
    """The choices of every seat, or of the contest."""
    seats = [(seat.region_id, seat.region, seat.choices) for seat in result.seats.values()]
    for region_id, region, choices in seats or [(None, None, result.choices)]:
        for one in choices:
            values = (
                *(result.id, str(result.phase), region_id, region, one.id, one.name, one.party),
                *(one.votes, one.share, one.leading, one.elected, result.updated_at),
            )
            yield dict(zip(COLUMNS, values, strict=True))


def step_rows(result: ContestResult, steps: Timeline) -> Iterator[dict[str, Any]]:
    """Each choice of each step."""
    seats = [choice for seat in result.seats.values() for choice in seat.choices]
    names = {one.id: one.name for one in [*result.choices, *seats]}
    for point in steps.points:
        for choice, votes in point.votes.items():
            name = names.get(choice, choice)
            values = (steps.contest, point.starts, steps.step_s, choice, name, votes)
            yield dict(zip(STEP_COLUMNS, values, strict=True))


def by_first_choice(steps: Timeline) -> Timeline:
    """Votes over time, with each ranking under its first choice."""
    points = []
    for point in steps.points:
        votes: dict[str, int] = {}
        for choice, number in point.votes.items():
            first = choice.partition(">")[0]
            votes[first] = votes.get(first, 0) + number
        points.append(TimelinePoint(point.starts, votes))
    return Timeline(steps.contest, steps.step_s, points)


def csv_of(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """A table with its heading; no cell is a formula for a spreadsheet."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(columns)
    for row in rows:
        write(_cell(value) for value in row.values())
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return inert("", value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _parquet_types(arrow: Any) -> dict[str, Any]:
    moment = arrow.timestamp("us", tz="UTC")
    return {
        **dict.fromkeys(
            ("contest_id", "phase", "region", "choice_id", "name", "party"), arrow.string()
        ),
        **dict.fromkeys(("leading", "elected"), arrow.bool_()),
        **dict.fromkeys(("updated_at", "starts"), moment),
        "share": arrow.float64(),
    }


def pictures_installed() -> bool:
    """Whether this gateway can make PNG."""
    return find_spec("resvg_py") is not None


async def _rasterized(svg: str) -> bytes:
    program = files("streams.gateway").joinpath("rasterizer.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(program)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_DRAWING_S):
            png, _ = await process.communicate(svg.encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode == _NO_FONTS:
        raise Problem(406, "PNG needs fonts, and this machine has none; SVG is there")
    if process.returncode != 0 or not png:
        raise Problem(503, "The picture could not be drawn", headers={"Retry-After": "10"})
    return png
