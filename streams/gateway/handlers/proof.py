"""The proof of the count: receipts of votes, checkpoints, and that they continue each other."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter

from streams.core.leaves import secret_of
from streams.errors import LogMismatch, SettingsError
from streams.gateway.problems import Problem, Unavailable
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store
from streams.intake.receipts import MAX_RECEIPT_CHARACTERS, BadReceipt, Receipts
from streams.proof.lookup import find_consistency, find_receipt
from streams.proof.notes import BadNote
from streams.proof.receipts import Consistency, Receipt
from streams.proof.store import latest_checkpoint
from streams.settings.processes import ProofConfig

MAX_LISTED: Final = 100
"""Checkpoints in one answer."""
PUBLIC: Final = "public"
WITHHELD: Final = "withheld"
RETRY_AFTER_S: Final = 10

_LISTED: Final = """
SELECT size, created_at, note || coalesce((
    SELECT string_agg(line, '' ORDER BY witness) FROM proof_cosignatures AS s
    WHERE s.size = c.size
), '') AS note
FROM proof_checkpoints AS c WHERE size > $1 ORDER BY size LIMIT $2
"""
_ONE: Final = "SELECT note FROM proof_checkpoints WHERE size = $1"
_NEVER_CHANGES: Final = {"Cache-Control": "public, max-age=31536000, immutable"}

Size = Annotated[int, Parameter(ge=0, le=1 << 62)]


class ListedCheckpoint(msgspec.Struct):
    """A checkpoint in a list."""

    size: int
    """Number of checkpoints up to this one."""
    created_at: datetime
    note: str
    """Signed, as proof/SPECIFICATION.md describes it."""


class CheckpointList(msgspec.Struct):
    """Checkpoints in order; ask again with `after` of the last for more."""

    checkpoints: list[ListedCheckpoint]


class ReceiptPending(msgspec.Struct):
    """No checkpoint holds the vote yet."""

    status: str = "pending"


def proof_handlers(
    *, receipts: Receipts, store: Store, config: ProofConfig
) -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        receipts: opens what voters were given.
        store: for readers.
        config: of the proof.
    """
    secret = secret_of(config.secret)

    statements: list[bytes] = []

    async def prove(asked: tuple[int | None, int, int]) -> Consistency:
        async with store.connection() as connection:
            return await find_consistency(connection, *asked, statements)

    proofs: SingleFlight[tuple[int | None, int, int], Consistency] = SingleFlight(prove)

    @get(
        "/v2/receipts/{receipt:str}",
        tags=["proof"],
        summary="The proof that a vote is in the log",
        description="Against the latest signed checkpoint; 202 while none holds the vote. Only with"
        " `opened=true` it says how the voter voted, and then it is the voter's alone.",
        responses={202: ResponseSpec(ReceiptPending, description="No checkpoint holds it yet")},
    )
    async def receipt_of(
        receipt: Annotated[str, Parameter(max_length=MAX_RECEIPT_CHARACTERS)],
        opened: bool = False,
    ) -> Response[Receipt | ReceiptPending]:
        try:
            submission = receipts.open(receipt)
        except BadReceipt as error:
            raise Problem(404, "No such receipt") from error
        if opened and config.openings == WITHHELD:
            raise Problem(403, "Here no receipt says how a voter voted")
        try:
            async with store.connection() as connection:
                found = await find_receipt(
                    connection,
                    secret,
                    stored_hash=submission.stored_hash,
                    timestamp_us=submission.timestamp_us,
                    identity=submission.identity,
                    opened=opened or config.openings == PUBLIC,
                )
        except LogMismatch as error:
            raise Problem(409, f"{error.what}: tell the election office") from error
        except SettingsError as error:
            raise Unavailable(error.what) from error
        headers = {"Cache-Control": "no-store"}
        if found is None:
            headers["Retry-After"] = str(RETRY_AFTER_S)
            return Response(ReceiptPending(), status_code=202, headers=headers)
        return Response(found, headers=headers)

    @get("/v2/checkpoints", tags=["proof"], summary="Signed checkpoints, in order")
    async def checkpoints(
        after: Size = 0, limit: Annotated[int, Parameter(ge=1, le=MAX_LISTED)] = MAX_LISTED
    ) -> CheckpointList:
        rows = await store.fetch(_LISTED, after, limit)
        return CheckpointList([ListedCheckpoint(*row) for row in rows])

    @get(
        "/v2/checkpoints/latest",
        tags=["proof"],
        summary="The latest checkpoint, a C2SP signed note",
        media_type=MediaType.TEXT,
    )
    async def latest() -> str:
        async with store.connection() as connection:
            found = await latest_checkpoint(connection)
        if found is None:
            raise Problem(404, "No checkpoint was signed yet")
        return found.note.text()

    @get(
        "/v2/checkpoints/{size:int}",
        tags=["proof"],
        summary="One checkpoint, a C2SP signed note",
        media_type=MediaType.TEXT,
    )
    async def one(size: Size) -> Response[str]:
        for row in await store.fetch(_ONE, size):
            return Response(row["note"], headers=_NEVER_CHANGES, media_type=MediaType.TEXT)
        raise Problem(404, "No such checkpoint")

    @get(
        "/v2/proofs/consistency",
        tags=["proof"],
        summary="The proof that a tree continues a smaller one",
        description="`tree` is a partition; without it, the tree of checkpoints.",
    )
    async def consistency(
        start: Annotated[int, QueryParameter(name="from", ge=0, le=1 << 62)],
        end: Annotated[int, QueryParameter(name="to", ge=0, le=1 << 62)],
        tree: Annotated[int | None, Parameter(ge=0, le=(1 << 31) - 1)] = None,
    ) -> Response[Consistency]:
        try:
            found = await proofs.get((tree, start, end))
        except (ValueError, BadNote) as error:
            raise Problem(404, f"No such proof: {error}") from error
        return Response(found, headers=_NEVER_CHANGES)

    return [receipt_of, checkpoints, latest, one, consistency]
