"""The encrypted tally over HTTP, in the shapes of the services before, and its live progress.

Whoever may reach the gateway may look; commands need a key of `SCRUTIN_TALLY_API_KEYS`, since a
tally that is asked for too early leaves out the ballots that come later.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import get, post, websocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from schemas.tally import Combine, Create, Decrypt, TallyEvent
from streams.errors import ServiceUnavailable
from streams.gateway.handlers.live import TRY_LATER, SentAway, Socket, send_all, serve
from streams.gateway.handlers.tally_status import combine_status, decryption_status, tally_status
from streams.gateway.problems import Problem
from streams.gateway.services import AnyRequest, Parts
from streams.gateway.tally_service import progress, shown_id, shown_job
from streams.tally.commands import Created, TallyCommands
from streams.tally.messages import COMBINE, PARTIAL, TALLY, command_of
from streams.tally.refusals import RefusalCheck, Refused, plain_name

_GONE: Final = frozenset({RefusalCheck.CONTEXT, RefusalCheck.GUARDIANS})
_NO_SUCH: Final = 4404
"""Closes a socket whose election is unknown; of the range for applications."""
_ANYBODY: Final = "*"

Document = dict[str, Any]


class Waiting(msgspec.Struct, rename="camel"):
    """An election with how far it is."""

    election_id: str | int
    created_at: datetime
    status: str
    """Of its tally in lower case; `not_started`, `published`."""


def tally_handlers(parts: Parts) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers."""
    return [*_commands(parts), *_statuses(parts), _live(parts)]


def _commands(parts: Parts) -> list[HTTPRouteHandler]:

    @post("/api/create-tally-queue", status_code=200, tags=["tally"], summary="Tally an election")
    async def create_tally(request: AnyRequest) -> Document:
        command = await _command(parts, request, TALLY)
        assert isinstance(command, Create)
        async with _asked(parts) as asked:
            created = await _create(asked, command)
            job = await asked.job(created.job_id)
            assert job is not None
        return {
            "success": True,
            "message": f"{created.ballots} ballots are tallied in {created.chunks} chunks",
            "jobId": job["jobId"],
            "totalChunks": created.chunks,
            "status": job["status"],
            "pollUrl": f"/api/jobs/{job['jobId']}/status",
            "createdAt": job["startedAt"],
        }

    @post("/api/initiate-tally", status_code=200, tags=["tally"], summary="Tally, or go on with it")
    async def initiate_tally(request: AnyRequest) -> Document:
        command = await _command(parts, request, TALLY)
        assert isinstance(command, Create)
        async with _asked(parts) as asked:
            known = await asked.tally_status(command.election_id)
            state = known["status"] if known else None
            if known is None:
                created = await _create(asked, command)
                told = f"INITIATED:{created.chunks}"
            elif state in {"failed", "cancelled"}:
                await asked.resume(command.election_id)
                told = f"RESUMING:{known['processed_chunks']}/{known['total_chunks']}"
            else:
                told = "COMPLETED" if state == "completed" else "IN_PROGRESS"
        return {"success": True, "message": _WORDS[told.split(":")[0]], "encryptedTally": told}

    @post(
        "/api/guardian/initiate-decryption",
        status_code=200,
        tags=["tally"],
        summary="Let workers use a guardian's sealed secret",
    )
    async def decrypt(request: AnyRequest) -> Document:
        command = await _command(parts, request, PARTIAL)
        assert isinstance(command, Decrypt)
        async with _asked(parts) as asked:
            guardian = await asked.decrypt(command.election_id, command.guardian)
        message = "Its shares are made once the tally is there"
        return {"success": True, "message": message, "guardianId": guardian}

    @post(
        "/api/initiate-combine",
        status_code=200,
        tags=["tally"],
        summary="Decrypt with the guardians that are there",
    )
    async def combine(request: AnyRequest) -> Document:
        given = request.query_params.get("electionId")
        body = None if given is None else msgspec.json.encode({"electionId": given})
        command = await _command(parts, request, COMBINE, body)
        assert isinstance(command, Combine)
        async with _asked(parts) as asked:
            await asked.combine(command.election_id)
        message = "It is combined as soon as the shares of a quorum are there"
        return {"success": True, "message": message}

    @post("/api/jobs/{job_id:str}/cancel", status_code=200, tags=["tally"], summary="Give no work")
    async def cancel(request: AnyRequest, job_id: str) -> Document:
        _allow(parts, request)
        async with _asked(parts) as asked:
            job = await _job(asked, job_id)
            await asked.cancel(job["electionId"])
        return {"success": True, "message": "No more work of this election is given out"}

    @post("/api/jobs/{job_id:str}/resume", status_code=200, tags=["tally"], summary="Go on")
    async def resume(request: AnyRequest, job_id: str) -> Document:
        _allow(parts, request)
        async with _asked(parts) as asked:
            job = await _job(asked, job_id)
            await asked.resume(job["electionId"])
        return {"success": True, "message": "Work goes on, and what failed is tried again"}

    return [create_tally, initiate_tally, decrypt, combine, cancel, resume]


def _statuses(parts: Parts) -> list[HTTPRouteHandler]:
    @get("/api/jobs/{job_id:str}/status", tags=["tally"], summary="How far a job is")
    async def job_status(job_id: str) -> Document:
        async with _asked(parts) as asked:
            return shown_job(await _job(asked, job_id))

    @get("/api/jobs/election/{election_id:str}", tags=["tally"], summary="Jobs of an election")
    async def jobs_of(election_id: str) -> list[Document]:
        async with _asked(parts, election_id) as asked:
            return [shown_job(job) for job in await asked.jobs(election_id)]

    @get("/api/jobs/active", tags=["tally"], summary="Jobs that are queued or under way")
    async def active() -> list[Document]:
        async with _asked(parts) as asked:
            return [shown_job(job) for job in await asked.active_jobs()]

    @get(
        "/api/election/{election_id:str}/tally-status",
        tags=["tally"],
        summary="How far the tally is",
    )
    async def status_of_tally(election_id: str) -> Document:
        async with _asked(parts, election_id) as asked:
            return tally_status(await asked.tally_status(election_id))

    @get(
        "/api/guardian/decryption-status/{election_id:str}",
        tags=["tally"],
        summary="How far the guardians' shares are; `guardianId` names one",
    )
    async def status_of_shares(request: AnyRequest, election_id: str) -> Document:
        named = request.query_params.get("guardianId")
        async with _asked(parts, election_id) as asked:
            return decryption_status(await asked.decryption_status(election_id), named)

    @get("/api/combine-status/{election_id:str}", tags=["tally"], summary="How far combination is")
    async def status_of_combination(election_id: str) -> Document:
        async with _asked(parts, election_id) as asked:
            return combine_status(await asked.combine_status(election_id))

    @get("/api/election/{election_id:str}/result", tags=["tally"], summary="The published result")
    async def result(election_id: str) -> Document:
        async with _asked(parts, election_id) as asked:
            published = await asked.store.published(election_id)
        if published is None:
            raise Problem(404, "This election has no published result yet")
        return published

    @get("/api/tallies", tags=["tally"], summary="Encrypted elections, the newest first")
    async def elections() -> list[Waiting]:
        async with _asked(parts) as asked:
            found = await asked.elections()
        return [Waiting(shown_id(name), created, status) for name, created, status in found]

    @get("/api/tallies/{election_id:str}", tags=["tally"], summary="All jobs of an election")
    async def one(election_id: str) -> Document:
        async with _asked(parts, election_id) as asked:
            return await progress(asked, election_id)

    return [
        job_status,
        jobs_of,
        active,
        status_of_tally,
        status_of_shares,
        status_of_combination,
        result,
        elections,
        one,
    ]


def _live(parts: Parts) -> WebsocketRouteHandler:
    @websocket(["/ws/tallies/{election_id:str}", "/ws/tallies/{election_id:str}/"])
    async def watch(socket: Socket, election_id: str) -> None:
        async def tell() -> None:
            try:
                async with aclosing(parts.tallies.watch(election_id)) as messages:
                    await send_all(socket, messages)
            except Refused as refused:
                raise SentAway(_NO_SUCH, "No such election") from refused
            except ServiceUnavailable as away:
                raise SentAway(TRY_LATER, "Try again later") from away

        await serve(socket, tell())

    return watch


_WORDS: Final = {
    "INITIATED": "The tally begins",
    "RESUMING": "The tally goes on",
    "IN_PROGRESS": "The tally is under way",
    "COMPLETED": "The tally is complete",
}


async def _create(asked: TallyCommands, command: Create) -> Created:
    return await asked.create(
        command.election_id, mode=command.mode, chunk_size=command.chunk_size, by="http"
    )


async def _command(
    parts: Parts, request: AnyRequest, queue: str, body: bytes | None = None
) -> TallyEvent:
    """The command of a request, whose body is what the queue of the same work takes."""
    _allow(parts, request)
    try:
        command = command_of(queue, await request.body() if body is None else body)
    except Refused as refused:
        raise Problem(400, refused.what) from refused
    assert command is not None
    return command


def _allow(parts: Parts, request: AnyRequest) -> None:
    """Let holders of a key in.

    Raises:
        Problem: 403, if it is none of ours or nobody may.
    """
    keys = parts.settings.tally_api_keys
    given = hashlib.sha256(request.headers.get("x-api-key", "").encode()).hexdigest()
    if _ANYBODY not in keys and given not in {key.lower() for key in keys}:
        raise Problem(
            403,
            "Commands for tallies need an X-API-Key of SCRUTIN_TALLY_API_KEYS"
            if keys
            else "This gateway takes no commands for tallies: SCRUTIN_TALLY_API_KEYS is not set."
            " Clients of the services before send no key: SCRUTIN_TALLY_API_KEYS=* lets them in",
        )


@asynccontextmanager
async def _asked(parts: Parts, election_id: str | None = None) -> AsyncIterator[TallyCommands]:
    """The tally; what it refuses is told.

    Args:
        election_id: one that must be there.
    """
    try:
        asked = await parts.tallies.tally()
        if election_id is not None:
            if not plain_name(election_id):
                raise Problem(400, "This is no id of an election")
            await asked.store.election(election_id)
        yield asked
    except Refused as refused:
        raise Problem(404 if refused.check in _GONE else 400, refused.what) from refused


async def _job(asked: TallyCommands, job_id: str) -> Document:
    try:
        identity = uuid.UUID(job_id)
    except ValueError as error:
        raise Problem(400, "This is no id of a job") from error
    job = await asked.job(identity)
    if job is None:
        raise Problem(404, "No such job")
    return job
