"""An election's result as the bytes of a file, the same for commands and HTTP."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from streams.core.ranking import OVERVOTE, Ranking, marked_at
from streams.core.texts import is_plain
from streams.elections.files.blt import write_blt
from streams.elections.reports.eml import eml_510
from streams.elections.reports.nist import nist_report, nist_xml
from streams.elections.reports.tables import COLUMNS, rounds, rows
from streams.elections.results import ElectionResult, Seat
from streams.errors import ScrutinError


class ReportFormat(StrEnum):
    """Formats of a result."""

    NIST_JSON = "nist-json"
    NIST_XML = "nist-xml"
    EML = "eml"
    ROUNDS = "rounds"
    CSV = "csv"
    PARQUET = "parquet"
    DICTIONARY = "dictionary"
    """What the columns of CSV and Parquet hold."""
    BLT = "blt"
    """The cast ballots."""


MEDIA: Final = {
    ReportFormat.NIST_JSON: ("application/json", "json"),
    ReportFormat.NIST_XML: ("application/xml", "xml"),
    ReportFormat.EML: ("application/xml", "xml"),
    ReportFormat.ROUNDS: ("application/json", "json"),
    ReportFormat.CSV: ("text/csv", "csv"),
    ReportFormat.PARQUET: ("application/vnd.apache.parquet", "parquet"),
    ReportFormat.DICTIONARY: ("application/json", "json"),
    ReportFormat.BLT: ("text/plain", "blt"),
}
"""Media type and suffix of a file."""


_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,3}")


class ReportRefused(ScrutinError):
    """A result cannot be written in a format."""


@dataclass(frozen=True)
class ReportWords:
    """What a report says beside the figures."""

    generated: datetime
    """When the result was as it is: the same for everybody who reads it."""
    issuer: str = "not stated"
    """The office."""
    language: str = "en"
    """Of the names."""
    region: str | None = None
    """Id or code of the region whose ballots are written, if there are several."""


def report_of(result: ElectionResult, form: ReportFormat, words: ReportWords) -> bytes:
    """The file of a result.

    Raises:
        ReportRefused: the result may not be known yet, or the format cannot hold it.
    """
    if result.hidden is not None:
        raise ReportRefused(
            "The result may not be known yet",
            where={"contest": result.election.contest},
            todo="It can be exported after the contest has closed",
        )
    if not (is_plain(words.issuer, joiners=True) and _LANGUAGE.fullmatch(words.language)):
        raise ReportRefused(
            "The issuer is not one line that is seen, or the language is no tag such as en",
            todo="Write another",
        )
    return _WRITERS[form](result, words)


def _nist(result: ElectionResult, words: ReportWords) -> dict[str, Any]:
    return nist_report(
        result,
        generated=words.generated,
        issuer=words.issuer,
        abbreviation="".join(word[0] for word in words.issuer.split()).upper() or "-",
        language=words.language,
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _csv(result: ElectionResult, _: ReportWords) -> bytes:
    lines = io.StringIO(newline="")
    table = csv.DictWriter(lines, COLUMNS)
    table.writeheader()
    table.writerows(rows(result))
    return lines.getvalue().encode()


def parquet_of(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    types: Callable[[Any], Mapping[str, Any]],
) -> bytes:
    """A Parquet file of rows.

    Args:
        rows: with a value, or None, for each column.
        columns: name -> what the column holds.
        types: gives, from the library, the types of columns that do not hold whole numbers.

    Raises:
        ReportRefused: the library is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - slow to load, and not always installed
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ReportRefused(
            "Parquet files need a package that is not installed", todo="Install scrutin[parquet]"
        ) from error
    known = types(pyarrow)
    schema = pyarrow.schema(
        [
            pyarrow.field(
                name, known.get(name, pyarrow.int64()), metadata={"description": description}
            )
            for name, description in columns.items()
        ]
    )
    written = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), written)
    return written.getvalue()


def _parquet(result: ElectionResult, _: ReportWords) -> bytes:
    places = max((seat.count.places for seat in result.seats), default=0)
    numbers = ("votes", "transferred", "quota", "active", "exhausted", "blank")
    texts = ("election_name", "region_name", "candidate_name", "party_code", "status")

    def types(arrow: Any) -> dict[str, Any]:
        number = arrow.decimal128(38, places) if places else arrow.int64()
        return {
            "final": arrow.bool_(),
            **dict.fromkeys(texts, arrow.string()),
            **dict.fromkeys(numbers, number),
        }

    found = list(rows(result))
    if places:
        found = [
            {
                name: Decimal(value) if name in numbers and value is not None else value
                for name, value in row.items()
            }
            for row in found
        ]
    return parquet_of(found, COLUMNS, types)


def _blt(result: ElectionResult, words: ReportWords) -> bytes:
    named = [
        seat
        for seat in result.seats
        if words.region is None
        or (seat.region is not None and words.region in {str(seat.region.id), seat.region.code})
    ]
    if len(named) != 1:
        raise ReportRefused(
            "The election has several regions" if named else "There is no such region",
            where={"contest": result.election.contest},
            todo="Name one: a BLT file holds one contest",
        )
    [seat] = named
    return "".join(blt_of(result, seat)).encode()


def blt_of(result: ElectionResult, seat: Seat) -> list[str]:
    """The ballots of a region, those that occur most first.

    Raises:
        ReportRefused: a ballot has an over-vote whose candidates nobody named.
    """
    numbers = {str(one.id): str(n) for n, one in enumerate(seat.candidates, 1)}
    if unnamed := sum(n for ranking, n in seat.box.items() if OVERVOTE in ranking):
        raise ReportRefused(
            f"{unnamed:,} ballots have an over-vote whose candidates the source did not name",
            where={"contest": result.election.contest},
            todo="BLT cannot hold them; vote_audit has every ballot",
        )

    def marks(ranking: Ranking) -> tuple[tuple[str, ...], ...]:
        # Counts pass over a candidate who does not stand; a rank without a mark stays.
        found = []
        for rank in ranking:
            marked = tuple(numbers[name] for name in marked_at(rank) if name in numbers)
            if marked or not rank:
                found.append(marked)
        return tuple(found)

    ballots = sorted(
        ((marks(ranking), number) for ranking, number in seat.box.items()),
        key=lambda one: (-one[1], one[0]),
    )
    gone = result.withdrawn()
    return list(
        write_blt(
            [one.name for one in seat.candidates],
            seat.count.seats,
            ballots,
            result.election.name,
            withdrawn=[numbers[name] for name in numbers if name in gone],
        )
    )


_WRITERS: Final[dict[ReportFormat, Callable[[ElectionResult, ReportWords], bytes]]] = {
    ReportFormat.NIST_JSON: lambda result, words: _json(_nist(result, words)),
    ReportFormat.NIST_XML: lambda result, words: nist_xml(_nist(result, words)),
    ReportFormat.EML: lambda result, _: eml_510(result),
    ReportFormat.ROUNDS: lambda result, _: _json([rounds(result, s) for s in result.seats]),
    ReportFormat.CSV: _csv,
    ReportFormat.PARQUET: _parquet,
    ReportFormat.DICTIONARY: lambda _result, _words: _json(COLUMNS),
    ReportFormat.BLT: _blt,
}
