"""Every kind of record that a release wrote is kept as bytes, and still read.

Bytes are in `test_codec` and, of adoptions, skips and tallies, in a fixture. Never change them: a
new version of a record gets a tag of its own, and both are read.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import schemas
from schemas import codec
from streams.tally import codec as tally_codec
from tests.unit.schemas.test_codec import VERSION_1

STORED: dict[str, bytes] = {
    tag: bytes.fromhex(text)
    for tag, text in json.loads(
        (Path(__file__).parents[2] / "fixtures" / "envelopes.json").read_text()
    ).items()
}
READERS: dict[str, Callable[[bytes], Any]] = {
    "votes/adopted/1": codec.decode_input,
    "skip/1": codec.decode_input,
    "tally-task/1": tally_codec.decode_task,
    "tally-job/1": tally_codec.decode_state,
}


def tags() -> dict[str, type]:
    """Every record that goes into Kafka, by its tag."""
    found = {}
    for module in pkgutil.iter_modules(schemas.__path__):
        for _, one in inspect.getmembers(
            importlib.import_module(f"schemas.{module.name}"), inspect.isclass
        ):
            if issubclass(one, msgspec.Struct) and isinstance(one.__struct_config__.tag, str):
                found[one.__struct_config__.tag] = one
    return found


def tag_of(stored: bytes) -> Any:
    return msgspec.msgpack.decode(stored)[0]


def test_every_record_is_kept_as_bytes() -> None:
    kept = {tag_of(bytes.fromhex(case[3])) for case in VERSION_1} | set(STORED)
    assert kept == set(tags())


@pytest.mark.parametrize("tag", STORED)
def test_stored_bytes_are_read_and_written_as_ever(tag: str) -> None:
    stored = STORED[tag]
    record = READERS.get(tag, tally_codec.decode_event)(stored)
    assert type(record) is tags()[tag]
    assert msgspec.msgpack.encode(record) == stored


@pytest.mark.parametrize("tag", STORED)
def test_stored_bytes_that_are_cut_off_are_an_error(tag: str) -> None:
    read = READERS.get(tag, tally_codec.decode_event)
    for length in range(len(STORED[tag])):
        with pytest.raises(msgspec.DecodeError):
            read(STORED[tag][:length])
