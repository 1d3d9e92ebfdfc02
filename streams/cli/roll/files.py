"""Roll files with the hashes of voters, in all forms that deployments use."""

from __future__ import annotations

import hashlib
import json
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from schemas.control import MAX_WEIGHT
from streams.cli.roll.hash_kind import HashCheck, HashKind
from streams.cli.roll.opening import is_parquet, opened
from streams.cli.roll.table import COLUMNS, RollFault, hashes_of_table
from streams.core.keys import normalise_hash
from streams.errors import SettingsError

_CHUNK: Final = 1 << 20
_STEP: Final = 10_000
_FIRST: Final = 5
"""Entries of each file that a dry run shows."""
_EXAMPLES: Final = 3
_BUCKETS: Final = 256
_SEPARATORS: Final = {"": "none", "\t": "tab", ";": "semicolon", ",": "comma", "|": "bar"}

_TODO: Final = (
    "A roll is one hash a line, a table with a column `hash`, JSON, JSON Lines or Parquet; "
    "`scrutin roll load FILE --dry-run` shows how a file is understood"
)


@dataclass(frozen=True)
class RollEntry:
    """One hash and its place."""

    file: Path
    line: int
    """Line of a text; number of the entry in JSON and Parquet."""
    hash: str
    form: str
    """How the file is read."""
    unit: str = "line"
    weight: int = 1

    def place(self) -> str:
        """For people."""
        return f"{self.file.name} {self.unit} {self.line}"


@dataclass
class RollSummary:
    """What is in the files of a roll."""

    entries: int = 0
    repeated: int = 0
    """Entries that occurred before."""
    repeats: list[str] = field(default_factory=list)
    """Places of some of them."""
    forms: dict[str, str] = field(default_factory=dict)
    """How each file is read."""
    first: list[dict[str, Any]] = field(default_factory=list)
    """First entries of each file."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RollFiles:
    """One roll in one or more files.

    The content decides how a file is read, not its name: JSON (a list, or an object with a list
    `hashes`, of strings or of objects with `hash`), JSON Lines, Parquet, or a text: a table with a
    column `hash`, `vote_hash` or `voter_hash`, a table with one column of hashes, or one hash a
    line, where `#` begins a comment. Texts are UTF-8 or UTF-16, also packed with gzip. Hashes of 64
    digits are returned in lower case, as the bridge writes them.

    Args:
        paths: read one after the other.
        column: name or number of the column with the hashes; None: found.
        kind: of all entries.
        weight_column: name or number of the column with the weights; None: all have 1.
    """

    paths: Sequence[Path]
    column: str | None = None
    kind: HashKind = HashKind.HEX
    weight_column: str | None = None

    def hashes(self) -> Iterator[str]:
        """All hashes, in the order of the files.

        Raises:
            SettingsError: a file cannot be read, or one of its entries is no hash of the kind.
        """
        return (entry.hash for entry in self.entries())

    def entries(self) -> Iterator[RollEntry]:
        """All entries with their places; raises what :meth:`hashes` raises."""
        check = HashCheck(self.kind)
        return chain.from_iterable(self._file(path, check) for path in self.paths)

    def weights(self) -> dict[str, int]:
        """Weights that are not 1, by hash.

        Raises:
            SettingsError: as :meth:`hashes`, or a hash has two weights.
        """
        found: dict[str, int] = {}
        if self.weight_column is None:
            return found
        plain: set[str] = set()
        for entry in self.entries():
            before = 1 if entry.hash in plain else found.get(entry.hash, entry.weight)
            if before != entry.weight:
                why = f"this hash has weight {before} before, and {entry.weight} here"
                raise _refused(entry.file, RollFault(why, entry.line))
            if entry.weight == 1:
                plain.add(entry.hash)
            else:
                found[entry.hash] = entry.weight
        return found

    def check(self, advance: Callable[[int], object] = lambda _: None) -> RollSummary:
        """Read everything once, before anything is loaded.

        Args:
            advance: called with the number of further entries.

        Raises:
            SettingsError: as :meth:`hashes`, or a file has no entry.
        """
        summary = RollSummary()
        # Eight bytes an entry. Two hashes with the same eight are less likely than a broken disk.
        seen = [array("q") for _ in range(_BUCKETS)]
        check = HashCheck(self.kind)
        for path in self.paths:
            of_file = 0
            for entry in self._file(path, check):
                number = hash(entry.hash)
                seen[number % _BUCKETS].append(number)
                of_file += 1
                if of_file == 1:
                    summary.forms[str(path)] = entry.form
                if of_file <= _FIRST:
                    shown: dict[str, Any] = {"place": entry.place(), "hash": entry.hash}
                    if self.weight_column is not None:
                        shown["weight"] = entry.weight
                    summary.first.append(shown)
                summary.entries += 1
                if summary.entries % _STEP == 0:
                    advance(_STEP)
            if not of_file:
                raise _refused(path, RollFault("it has no hash"))
        advance(summary.entries % _STEP)
        summary.repeated = summary.entries - sum(len(set(bucket)) for bucket in seen)
        if summary.repeated:
            summary.repeats = self._repeats(seen)
        return summary

    def digest(self) -> bytes:
        """Digest of the files' content and of how they are read, 16 bytes.

        Raises:
            SettingsError: a file cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for path in self.paths:
            try:
                with path.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
            except OSError as error:
                raise _refused(path, error) from error
        for named in (self.column, self.weight_column):
            if named is not None:
                digest.update(b"\0" + named.encode())
        return digest.digest()

    def _file(self, path: Path, check: HashCheck) -> Iterator[RollEntry]:
        if path.suffix.lower() == ".parquet":
            # A missing package is named before a missing file.
            from pyarrow import parquet  # noqa: F401, PLC0415 - slow to load
        try:
            if not path.is_file():
                # It is read twice: once to check it, once to load it.
                why = "it is no regular file" if path.exists() else "there is no such file"
                raise RollFault(why, todo="Write the roll into a file first")
            if path.suffix.lower() == ".parquet" or is_parquet(path):
                if self.weight_column is not None:
                    raise RollFault(
                        "weights are read from tables and JSON, and this is Parquet",
                        todo="Save it as CSV",
                    )
                found = _of_values(path, _parquet(path, self.column), check, "Parquet")
            else:
                found = self._text(path, check)
            yield from found
        except _UNREADABLE as error:
            raise _refused(path, error) from error

    def _text(self, path: Path, check: HashCheck) -> Iterator[RollEntry]:
        with opened(path) as (text, encoding):
            form = _json_form(text)
            if form == "JSON":
                values = _json(text)
                yield from _of_values(
                    path, values, check, f"JSON, {encoding}", weights=self.weight_column
                )
                return
            if form:
                values = _json_lines(text)
                yield from _of_values(
                    path, values, check, f"{form}, {encoding}", "line", weights=self.weight_column
                )
                return
            shown = ""
            rows = hashes_of_table(text, check, self.column, self.weight_column)
            for line, cell, weight, layout in rows:
                if not shown:
                    column = f"column {layout.column + 1}" + (layout.name and f" {layout.name!r}")
                    header = "header" if layout.name else "no header"
                    separator = _SEPARATORS[layout.separator]
                    shown = f"text, {encoding}, separator {separator}, {header}, {column}"
                yield RollEntry(
                    path,
                    line,
                    normalise_hash(cell),
                    shown,
                    weight=1 if self.weight_column is None else _weight(weight, line),
                )

    def _repeats(self, seen: list[array[int]]) -> list[str]:
        wanted: set[int] = set()
        for bucket in seen:
            if len(set(bucket)) < len(bucket) and len(wanted) < _EXAMPLES:
                wanted |= {number for number, times in Counter(bucket).items() if times > 1}
        wanted = set(sorted(wanted)[:_EXAMPLES])
        first: dict[int, str] = {}
        found = []
        for entry in self.entries():
            number = hash(entry.hash)
            if number not in wanted:
                continue
            if number in first:
                found.append(f"{entry.place()} repeats {first[number]}")
                wanted.discard(number)
                if not wanted:
                    break
            else:
                first[number] = entry.place()
        return found


def _of_values(
    path: Path,
    values: Iterator[Any],
    check: HashCheck,
    form: str,
    unit: str = "entry",
    *,
    weights: str | None = None,
) -> Iterator[RollEntry]:
    for number, value in enumerate(values, 1):
        entry = _hash_of(value) if isinstance(value, dict) else value
        if unit == "line" and value is None:
            continue
        fault = check.fault(entry) if isinstance(entry, str) else "it has no hash"
        if fault:
            fault = fault if unit == "line" else f"entry {number}: {fault}"
            raise RollFault(fault, number if unit == "line" else 0)
        weight = 1
        if weights is not None:
            given = value.get(weights) if isinstance(value, dict) else None
            weight = _weight(given, number if unit == "line" else 0)
        yield RollEntry(path, number, normalise_hash(entry), form, unit, weight)


def _weight(value: Any, line: int) -> int:
    """A weight as a number or as text.

    Raises:
        RollFault: it is none.
    """
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise RollFault(f"the weight {text[:40]!r} is no whole number", line)
    if not 1 <= int(text[:20]) <= MAX_WEIGHT:
        raise RollFault(f"the weight {text[:40]} is not from 1 to {MAX_WEIGHT:,}", line)
    return int(text)


_UNREADABLE = (OSError, ValueError, EOFError, RecursionError, zlib.error, msgspec.DecodeError)


def _hash_of(entry: dict[str, Any]) -> Any:
    found = {entry[name] for name in COLUMNS if isinstance(entry.get(name), str)}
    return found.pop() if len(found) == 1 else None


def _json_form(text: IO[str]) -> str:
    """JSON, JSON Lines, or nothing; the file is at its beginning afterwards."""
    line = next((line for line in text if line.strip()), "").strip()
    more = any(line.strip() for line in text) if line[:1] in {"{", "["} else False
    text.seek(0)
    if line[:1] not in {"{", "["}:
        return ""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return "JSON"
    return "JSON Lines" if more else "JSON"


def _json(text: IO[str]) -> Iterator[Any]:
    data = msgspec.json.decode(text.read())
    entries = data.get("hashes") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise RollFault("it has no list of hashes")
    yield from entries


def _json_lines(text: IO[str]) -> Iterator[Any]:
    for number, line in enumerate(text, 1):
        try:
            yield msgspec.json.decode(line) if line.strip() else None
        except msgspec.DecodeError as error:
            raise RollFault(f"it is not JSON: {error}", number) from None


def _parquet(path: Path, column: str | None) -> Iterator[Any]:
    from pyarrow import parquet  # noqa: PLC0415 - slow to load

    file = parquet.ParquetFile(path)
    names = file.schema_arrow.names
    known = [name for name in names if name in ((column,) if column else COLUMNS)]
    if len(known) != 1 and (column or len(names) != 1):
        raise RollFault(
            f"{len(known) or 'no'} columns are called {column or ', '.join(COLUMNS)}",
            todo=f"Name the column with the hashes: --column NAME. It has {', '.join(names[:10])}",
        )
    for batch in file.iter_batches(columns=[known[0] if known else names[0]]):
        yield from batch.column(0).to_pylist()


def _refused(path: Path, error: Exception) -> SettingsError:
    where: dict[str, object] = {"file": path}
    todo = _TODO
    if isinstance(error, RollFault):
        if error.line:
            where["line"] = error.line
        todo = error.todo or _TODO
    return SettingsError(f"The roll cannot be read: {error}", where=where, todo=todo)
