"""The encrypted tally over HTTP, in the forms of the replaced services, and its live progress.

Every client of the gateway may read; commands need a key of `SCRUTIN_TALLY_API_KEYS`, since a tally
that is requested too early leaves out the ballots that come later.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from litestar import get, post, websocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from schemas.tally import Combine, Create, Decrypt
from streams.errors import ServiceUnavailable
from streams.gateway.client_address import AnyRequest
from streams.gateway.handlers.live import (
    NO_SUCH,
    TRY_LATER,
    CloseSocket,
    Socket,
    send_all,
    serve,
)
from streams.gateway.handlers.submit import VoteLimits
from streams.gateway.handlers.tally_status import combine_status, decryption_status, tally_status
from streams.gateway.problems import Problem
from streams.gateway.tally_service import TallyService, progress, shown_id, shown_job
from streams.tally.challenge import definition_of
from streams.tally.commands import Created, TallyCommands
from streams.tally.messages import COMBINE, PARTIAL, TALLY, command_of
from streams.tally.refusals import RefusalCheck, Refused, plain_name

_get = partial(get, tags=["tally"])
_post = partial(post, status_code=200, tags=["tally"])

_GONE: Final = frozenset({RefusalCheck.CONTEXT, RefusalCheck.GUARDIANS})
_ANYBODY: Final = "*"

C = TypeVar("C", Create, Decrypt, Combine)

Document = dict[str, Any]


@dataclass(frozen=True)
class _CommandKeys:
    """Digests of the keys that may give commands; :data:`_ANYBODY` for no key."""

    digests: frozenset[str]
    limits: VoteLimits

    async def check(self, request: AnyRequest) -> None:
        """Check the key of a command.

        Raises:
            Problem: 403, the key is unknown, or this gateway takes no commands; 429, too many keys
                were refused.
        """
        if _ANYBODY in self.digests:
            return
        async with self.limits.attempt(request) as attempt:
            given = hashlib.sha256(request.headers.get("x-api-key", "").encode()).hexdigest()
            attempt.refused = given not in self.digests
        if attempt.refused:
            raise Problem(
                403,
                "Commands for tallies need an X-API-Key of SCRUTIN_TALLY_API_KEYS"
                if self.digests
                else "This gateway takes no commands for tallies: SCRUTIN_TALLY_API_KEYS is not"
                " set. Clients of the replaced services send no key: SCRUTIN_TALLY_API_KEYS=*"
                " admits them",
            )


class Waiting(msgspec.Struct, rename="camel"):
    """An election with how far it is."""

    election_id: str | int
    created_at: datetime
    status: str
    """Of its tally in lower case; `not_started`, `published`."""


def tally_handlers(
    *, tallies: TallyService, api_keys: Collection[str], limits: VoteLimits
) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers.

    Args:
        tallies: the tally.
        api_keys: SHA-256 of the API keys that may give commands, in hexadecimal; `*` for no key.
        limits: of refused keys.
    """
    keys = _CommandKeys(frozenset(key.lower() for key in api_keys), limits)
    return [
        *_commands(tallies, keys),
        *_statuses(tallies),
        _live(tallies),
    ]


def _commands(tallies: TallyService, keys: _CommandKeys) -> list[HTTPRouteHandler]:
    @_post("/api/create-tally-queue", summary="Tally an election")
    async def create_tally(request: AnyRequest) -> Document:
        command = await _command(keys, request, TALLY, Create)
        async with _opened(tallies) as commands:
            created = await _create(commands, command)
            job = await commands.job(created.job_id)
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

    @_post(["/api/initiate-tally", "/api/create-tally"], summary="Start or resume a tally")
    async def initiate_tally(request: AnyRequest) -> Document:
        command = await _command(keys, request, TALLY, Create)
        async with _opened(tallies) as commands:
            known = await commands.tally_status(command.election_id)
            state = known["status"] if known else None
            if known is None:
                created = await _create(commands, command)
                stage = f"INITIATED:{created.chunks}"
            elif state in {"failed", "cancelled"}:
                await commands.resume(command.election_id)
                stage = f"RESUMING:{known['processed_chunks']}/{known['total_chunks']}"
            else:
                stage = "COMPLETED" if state == "completed" else "IN_PROGRESS"
        return {
            "success": True,
            "message": _WORDS[stage.split(":")[0]],
            "encryptedTally": stage,
        }

    @_post(
        ["/api/guardian/initiate-decryption", "/api/create-partial-decryption"],
        summary="Let workers use a guardian's sealed secret; all sealed ones if none is named",
    )
    async def decrypt(request: AnyRequest) -> Document:
        command = await _command(keys, request, PARTIAL, Decrypt)
        async with _opened(tallies) as commands:
            if command.guardian:
                guardians = [await commands.decrypt(command.election_id, command.guardian)]
            else:
                # Deployed clients have a session instead. What they send as `encrypted_data` only
                # their own service could open; it is neither read nor kept.
                guardians = await commands.decrypt_sealed(command.election_id)
        message = "The shares are made once the tally is there"
        return {
            "success": True,
            "message": message,
            "guardianId": guardians[0],
            "guardianIds": guardians,
        }

    @_post(
        ["/api/initiate-combine", "/api/combine-partial-decryption"],
        summary="Combine the shares of a quorum",
    )
    async def combine(request: AnyRequest) -> Document:
        given = request.query_params.get("electionId")
        body = None if given is None else msgspec.json.encode({"electionId": given})
        command = await _command(keys, request, COMBINE, Combine, body)
        async with _opened(tallies) as commands:
            await commands.combine(command.election_id)
        message = "It is combined as soon as the shares of a quorum are there"
        return {"success": True, "message": message}

    @_post("/api/jobs/{job_id:str}/cancel", summary="Cancel the work of an election")
    async def cancel(request: AnyRequest, job_id: str) -> Document:
        await keys.check(request)
        async with _opened(tallies) as commands:
            job = await _job(commands, job_id)
            await commands.cancel(job["electionId"])
        return {"success": True, "message": "No more work of this election is given out"}

    @_post("/api/jobs/{job_id:str}/resume", summary="Resume the work of an election")
    async def resume(request: AnyRequest, job_id: str) -> Document:
        await keys.check(request)
        async with _opened(tallies) as commands:
            job = await _job(commands, job_id)
            await commands.resume(job["electionId"])
        return {"success": True, "message": "Work goes on, and what failed is tried again"}

    return [create_tally, initiate_tally, decrypt, combine, cancel, resume]


def _statuses(tallies: TallyService) -> list[HTTPRouteHandler]:
    @_get("/api/jobs/{job_id:str}/status", summary="Progress of a job")
    async def job_status(job_id: str) -> Document:
        async with _opened(tallies) as commands:
            return shown_job(await _job(commands, job_id))

    @_get("/api/jobs/election/{election_id:str}", summary="Jobs of an election")
    async def jobs_of(election_id: str) -> list[Document]:
        async with _opened(tallies, election_id) as commands:
            return [shown_job(job) for job in await commands.jobs(election_id)]

    @_get("/api/jobs/active", summary="Jobs that are queued or in progress")
    async def active() -> list[Document]:
        async with _opened(tallies) as commands:
            return [shown_job(job) for job in await commands.active_jobs()]

    @_get("/api/election/{election_id:str}/tally-status", summary="Progress of the tally")
    async def status_of_tally(election_id: str) -> Document:
        async with _opened(tallies, election_id) as commands:
            return tally_status(await commands.tally_status(election_id))

    @_get(
        "/api/guardian/decryption-status/{election_id:str}",
        summary="Progress of the guardians' shares; `guardianId` selects one",
    )
    async def status_of_shares(request: AnyRequest, election_id: str) -> Document:
        named = request.query_params.get("guardianId")
        async with _opened(tallies, election_id) as commands:
            return decryption_status(await commands.decryption_status(election_id), named)

    @_get(
        "/api/guardian/decryption-status/{election_id:str}/{guardian:str}",
        summary="Progress of one guardian's shares, by name or number",
    )
    async def status_of_guardian(election_id: str, guardian: str) -> Document:
        async with _opened(tallies, election_id) as commands:
            name = await commands.guardian_name(election_id, guardian)
            shown = decryption_status(await commands.decryption_status(election_id), name)
        return shown | {"guardianId": name}

    @_get("/api/combine-status/{election_id:str}", summary="Progress of the combination")
    async def status_of_combination(election_id: str) -> Document:
        async with _opened(tallies, election_id) as commands:
            return combine_status(await commands.combine_status(election_id))

    @_get("/api/election/{election_id:str}/result", summary="The published result")
    async def result(election_id: str) -> Document:
        return await _published(tallies, election_id)

    @_get(
        [
            "/api/election/{election_id:str}/cached-results",
            "/api/election/{election_id:str}/results",
        ],
        summary="The published result as the deployed web client reads it",
    )
    async def results(election_id: str) -> Document:
        published = await _published(tallies, election_id)
        return {"success": True, "results": published["results"]}

    @_get("/api/tallies", summary="Encrypted elections, the newest first")
    async def elections() -> list[Waiting]:
        async with _opened(tallies) as commands:
            found = await commands.elections()
        return [Waiting(shown_id(name), created, status) for name, created, status in found]

    @_get("/api/tallies/{election_id:str}", summary="All jobs of an election")
    async def one(election_id: str) -> Document:
        async with _opened(tallies, election_id) as commands:
            return await progress(commands, election_id)

    @_get(
        "/api/tallies/{election_id:str}/definition",
        summary="What a device needs to encrypt a ballot: manifest, keys, and lines with hashes",
    )
    async def definition(election_id: str) -> Document:
        async with _opened(tallies, election_id) as commands:
            described = await commands.store.election(election_id)
        return {"electionId": election_id, **definition_of(described)}

    return [
        definition,
        job_status,
        jobs_of,
        active,
        status_of_tally,
        status_of_shares,
        status_of_combination,
        status_of_guardian,
        result,
        results,
        elections,
        one,
    ]


def _live(tallies: TallyService) -> WebsocketRouteHandler:
    @websocket(["/ws/tallies/{election_id:str}", "/ws/tallies/{election_id:str}/"])
    async def watch(socket: Socket, election_id: str) -> None:
        async def send_progress() -> None:
            try:
                await send_all(socket, tallies.watch(election_id))
            except Refused as refused:
                raise CloseSocket(NO_SUCH, "No such election") from refused
            except ServiceUnavailable as error:
                raise CloseSocket(TRY_LATER, "Try again later") from error

        await serve(socket, send_progress())

    return watch


_WORDS: Final = {
    "INITIATED": "The tally begins",
    "RESUMING": "The tally goes on",
    "IN_PROGRESS": "The tally is under way",
    "COMPLETED": "The tally is complete",
}


async def _published(tallies: TallyService, election_id: str) -> Document:
    async with _opened(tallies, election_id) as commands:
        published = await commands.store.published(election_id)
    if published is None:
        raise Problem(404, "This election has no published result yet")
    return published


async def _create(commands: TallyCommands, command: Create) -> Created:
    return await commands.create(
        command.election_id, mode=command.mode, chunk_size=command.chunk_size, by="http"
    )


async def _command(
    keys: _CommandKeys, request: AnyRequest, queue: str, kind: type[C], body: bytes | None = None
) -> C:
    """The command in a request; the body is as the queue for the same work takes it."""
    await keys.check(request)
    try:
        command = command_of(
            queue, await request.body() if body is None else body, all_guardians=True
        )
    except Refused as refused:
        raise Problem(400, refused.what) from refused
    assert isinstance(command, kind)
    return command


@asynccontextmanager
async def _opened(
    tallies: TallyService, election_id: str | None = None
) -> AsyncIterator[TallyCommands]:
    """The tally, with its refusals as problems.

    Args:
        tallies: opens it.
        election_id: of an election that must exist.
    """
    try:
        commands = await tallies.tally()
        if election_id is not None:
            if not plain_name(election_id):
                raise Problem(400, "This is not the id of an election")
            await commands.store.election(election_id)
        yield commands
    except Refused as refused:
        raise Problem(404 if refused.check in _GONE else 400, refused.what) from refused


async def _job(commands: TallyCommands, job_id: str) -> Document:
    try:
        identity = uuid.UUID(job_id)
    except ValueError as error:
        raise Problem(400, "This is not the id of a job") from error
    job = await commands.job(identity)
    if job is None:
        raise Problem(404, "No such job")
    return job
