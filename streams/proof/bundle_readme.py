"""What a bundle says about itself: a page for strangers, and the fields of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.proof.checkpoints import Checkpoint

_PAGE: Final = """\
# A count that you can check

This folder has everything that is needed to check the count of {origin}, without trusting who
counted. It ends with checkpoint {size}, signed at {at} UTC.

## How to check it

1. Get `verify.py` (one file, Python 3.8 or later, nothing else) or `verify.html` (one page, any
   browser, also without a network) from a source that you trust: Scrutin's folder `proof/`.
2. Get the log's key from where it was published before the vote. This folder says it is
   `{key}`.
3. `python3 verify.py FOLDER --key KEY`, or open `verify.html` and choose this folder.
4. If you voted: `python3 verify.py FOLDER --key KEY --receipt RECEIPT.json`.
5. If you know somebody who kept a checkpoint: `--other THEIR_FILE`. If it differs, two logs were
   shown, and the two files prove it.

The verifier says what it checked and what it did not.

## What is in it

| file | what |
| --- | --- |
| `manifest.json` | all files with their SHA-256 |
| `checkpoints.jsonl` | what the office signed, in order: sizes and roots of the trees, and totals |
| `keys.json` | keys of the log and of witnesses |
| `contests.json` | the contests: choices, candidates, rules |
| `results.json` | totals, and every round of every seat |
| `leaves/` | every verdict in the order of the log: accepted, invalid, duplicate or malformed |
| `openings/` | how many votes have each choice, contest by contest, in alphabetical order |
| `schema.json` | the fields of these files |

| contest | kind | votes |
| --- | --- | --- |
{contests}

*Public*: every leaf says how its vote was cast, so each total follows from the leaves. *Withheld*:
leaves show that a vote is there and not its choice; no row of this folder joins a voter, a place in
the log or a time to a choice.

## What it proves, and what not

It proves that nothing was added, removed, changed or put in another order since each checkpoint was
signed, that as many votes were accepted as are counted, that the totals are those that were signed
while votes came in, and that the results follow from the totals by the rules in `contests.json`.

It does not prove who was allowed to vote, that each voter saw and sent what they meant, that the
rules are those of the law, or, where choices are withheld, that the leaves commit to just these
choices: a voter can check the own one, and the office's audit checks all where the log is. A
total that grows by one vote between two checkpoints shows that vote's choice; such a vote was no
secret while results were shown live.
"""


def readme(last: Checkpoint, contests: Sequence[Mapping[str, Any]]) -> str:
    """The page of a bundle.

    Args:
        last: its last checkpoint.
        contests: as in `contests.json`.
    """
    rows = [
        f"| {_cell(each['contest'])} | {each['kind']} | {each['openings']} |" for each in contests
    ]
    return _PAGE.format(
        origin=last.origin,
        size=last.size,
        at=f"{last.statement.at:%Y-%m-%d %H:%M}",
        key=last.statement.keys[0].text,
        contests="\n".join(rows),
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")


def _object(**fields: Any) -> dict[str, Any]:
    optional = {name.rstrip("_") for name in fields if name.endswith("_")}
    properties = {name.rstrip("_"): field for name, field in fields.items()}
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "minimum": 0}
_HASH: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_HEX: Final = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
_STATUSES: Final = ["accepted", "invalid", "duplicate", "malformed"]

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Rows of a bundle scrutin-bundle/1; proof/SPECIFICATION.md says what they mean",
    "$defs": {
        "checkpoints.jsonl": _object(size=_NUMBER, note=_TEXT),
        "leaves/PARTITION.jsonl": _object(
            status={"enum": _STATUSES},
            epoch=_NUMBER,
            contest=_TEXT,
            reason=_TEXT,
            commitment=_HASH,
            salt_=_HASH,
            opening_=_HEX,
        ),
        "openings/NUMBER.jsonl": _object(choice=_TEXT, votes=_NUMBER),
        "keys.json": _object(
            log={"type": "array", "items": _TEXT}, witnesses={"type": "array", "items": _TEXT}
        ),
        "manifest.json": _object(
            format={"const": "scrutin-bundle/1"},
            origin=_TEXT,
            created=_TEXT,
            software=_TEXT,
            begins={"type": "object", "additionalProperties": _NUMBER},
            files={
                "type": "object",
                "additionalProperties": _object(bytes=_NUMBER, sha256=_HASH),
            },
        ),
    },
}
