"""`scrutin vote`: cast one vote over HTTP, as a voter would, and follow it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Annotated, Any, Final

import typer

from streams.cli.audit.fetching import ask
from streams.cli.show import JsonOption, answer, console, plain, run
from streams.cli.values import contest_name, finite
from streams.core.keys import ELECTION_PREFIX
from streams.errors import ScrutinError

_POLL_S: Final = 0.2


def command(
    contest: Annotated[
        str, typer.Argument(callback=contest_name, help="A law's id, or election:ID.")
    ],
    choice: Annotated[
        str, typer.Argument(help="oui or non; a candidate's id; several, by preference: 11,12.")
    ],
    *,
    region: Annotated[str | None, typer.Option(help="Region of the voter, in an election.")] = None,
    gateway: Annotated[str, typer.Option(help="Its address.")] = "http://localhost:8000",
    wait: Annotated[
        float, typer.Option(callback=finite, min=0, help="Seconds to wait for the outcome.")
    ] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Cast one vote over HTTP, and follow its receipt until it is counted or refused.

    The voter's number and code are asked for, or read from two lines of standard input: a command
    line stays in the shell's history. Exit 1 if the vote is not taken, or not counted in time.

    Examples:

        scrutin vote C-42 oui

        scrutin vote election:7 11,12 --region 5 --json < voter.txt
    """
    body = {**_voter(), **_ballot(contest, choice, region)}
    found = run(_cast(gateway.rstrip("/"), contest, body, wait))

    def show() -> None:
        console().print(f"receipt {found['receipt']}")
        reason = f": {found['reason']}" if found["reason"] else ""
        console().print(plain(f"{found['status']}{reason}"))

    answer(found, show, as_json=as_json)
    if found["status"] != "counted":
        raise typer.Exit(1)


def _voter() -> dict[str, str]:
    if sys.stdin.isatty():
        number = typer.prompt("Number", hide_input=True, err=True)
        return {"nas": number, "code": typer.prompt("Code", hide_input=True, err=True)}
    number, code = (sys.stdin.readline().strip() for _ in range(2))
    if not (number and code):
        raise typer.BadParameter("standard input has not two lines, the number and the code")
    return {"nas": number, "code": code}


def _ballot(contest: str, choice: str, region: str | None) -> dict[str, Any]:
    if not contest.startswith(ELECTION_PREFIX):
        return {"law_id": contest, "vote": choice}
    ballot: dict[str, Any] = {"election_id": contest.removeprefix(ELECTION_PREFIX)}
    if region is not None:
        ballot["region_id"] = region
    if "," in choice:
        return {**ballot, "voting_method": "ranked_choice", "ranked_choices": choice.split(",")}
    return {**ballot, "candidate_id": choice}


async def _cast(gateway: str, contest: str, body: dict[str, Any], wait_s: float) -> dict[str, Any]:
    kind = "elections/vote" if contest.startswith(ELECTION_PREFIX) else "vote"
    url = f"{gateway}/api/v1/{kind}"
    status, raw = await ask("POST", url, json.dumps(body).encode())
    taken = _read(raw, url)
    if status != 202:
        raise ScrutinError(
            f"The vote was not taken ({status}): {taken.get('detail', 'no reason was given')}",
            where={"address": url},
        )
    receipt = str(taken["receipt"])
    deadline = time.monotonic() + wait_s
    while True:
        url = f"{gateway}/votes/{receipt}"
        _, raw = await ask("GET", url, None)
        fate = _read(raw, url)
        if fate.get("status", "pending") != "pending" or time.monotonic() >= deadline:
            return {
                "receipt": receipt,
                "status": fate.get("status", "pending"),
                "reason": fate.get("reason"),
            }
        await asyncio.sleep(_POLL_S)


def _read(raw: bytes, url: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ScrutinError("The answer is not one of a gateway", where={"address": url})
    return found
