"""`python -m tests.bench.gateway`: votes a second over HTTP, and sockets that watch one poll.

Clients are processes of this machine too, so the figures are what a gateway does while they take
their share. Votes go to a queue that nobody reads: the chain has a bench of its own.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import msgspec
import typer
import uvloop
from rich.console import Console

from streams.devstack import Stack
from streams.live import CHANNEL, TotalsMessage
from streams.load.programs import Program, child_environment, gateway
from streams.migrations import migrate
from streams.settings import load_settings
from tests.harness import database, redis_of, wipe
from tests.integration.gateway_world import GatewayChain, client_of

CONTEST: Final = "poll:1"
ROUNDS: Final = 20
"""Changes of the totals while the sockets watch."""
PAUSE_S: Final = 0.5
FINAL_S: Final = 60.0
"""Longest wait for the last total."""
AT_ONCE: Final = 64


async def cast(base: str, voters: range) -> dict[str, Any]:
    """Vote with many connections at once; returns the figures."""
    todo = iter(voters)
    times: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        for voter in todo:
            body = {"nas": f"{voter:09}", "code": "ABC123", "law_id": "L-1", "vote": "oui"}
            started_s = time.perf_counter()
            async with session.post(f"{base}/api/v1/vote", json=body) as answer:
                assert answer.status == 202, await answer.text()
            times.append(time.perf_counter() - started_s)

    started_s = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
    took_s = time.perf_counter() - started_s
    return {"per_s": len(times) / took_s, **quantiles(times)}


async def watch(base: str, sockets: int, until_total: int) -> dict[str, Any]:
    """Open sockets, say so, and follow each until it shows a total; returns the figures."""
    late: list[float] = []
    messages = 0
    opened = asyncio.Semaphore(200)
    ready = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal messages, ready
        async with opened:
            socket = await session.ws_connect(f"{base}/ws/polls/1/")
            number = None
            message = json.loads((await socket.receive(timeout=FINAL_S)).data)
        ready += 1
        if ready == sockets:
            print("ready", flush=True)
        while True:
            assert message["type"] == "snapshot" or message["continues"] == number, "a gap"
            number = message["number"]
            messages += 1
            if message["total"] >= until_total:
                late.append(time.time() - message["totals"]["sent_ms"] / 1000)
                await socket.close()
                return
            message = json.loads((await socket.receive(timeout=FINAL_S)).data)

    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(sockets)))
    return {"sockets": len(late), "messages": messages, **quantiles(late)}


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    ordered = sorted(seconds)
    at = lambda share: ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]  # noqa: E731
    return {"p50_s": at(0.5), "p99_s": at(0.99), "max_s": ordered[-1]}


async def measure(
    stack: Stack, directory: Path, *, votes: int, sockets: int, clients: int
) -> dict[str, Any]:
    """Run a gateway and measure both."""
    await wipe(stack.env())
    env = child_environment(
        stack.env(),
        SCRUTIN_ROLL="open",
        SCRUTIN_THROTTLE_VOTER="off",
        SCRUTIN_THROTTLE_ADDRESS="off",
        SCRUTIN_SECRET="s" * 32,
    )
    settings = load_settings(env)
    db = await database(settings)
    await migrate(db)
    figures: dict[str, Any] = {}
    async with gateway(env, directory) as program:
        await program.ready()
        base = f"http://127.0.0.1:{program.port}"
        if votes:
            before_s = program.cpu_s()
            shares = await asyncio.gather(
                *(
                    _child("cast", base, str(n * votes // clients), str((n + 1) * votes // clients))
                    for n in range(clients)
                )
            )
            figures["votes"] = {
                "per_s": sum(share["per_s"] for share in shares),
                "p50_s": max(share["p50_s"] for share in shares),
                "p99_s": max(share["p99_s"] for share in shares),
                "cpu_us_per_vote": (program.cpu_s() - before_s) * 1e6 / votes,
            }
        if sockets:
            figures["sockets"] = await _fan_out(program, db, settings, sockets, clients)
    await db.close()
    return figures


async def _fan_out(
    program: Program, db: Any, settings: Any, sockets: int, clients: int
) -> dict[str, Any]:
    base = f"http://127.0.0.1:{program.port}"
    goal = 10**15
    running = [
        await _start("watch", base, str(sockets // clients), str(goal)) for _ in range(clients)
    ]
    opening_s = time.perf_counter()
    for process in running:
        assert process.stdout is not None
        async with asyncio.timeout(300):
            assert (await process.stdout.readline()).strip() == b"ready"
    opening_s = time.perf_counter() - opening_s
    redis = redis_of(settings)
    before_s = program.cpu_s()
    for number in range(1, ROUNDS + 1):
        now_ms = time.time_ns() // 1_000_000
        totals = {"1": number if number < ROUNDS else goal, "sent_ms": now_ms}
        for choice, total in totals.items():
            await db.execute(
                "INSERT INTO contest_results AS r VALUES ($1, $2, $3)"
                " ON CONFLICT (contest_id, choice) DO UPDATE SET votes = excluded.votes",
                CONTEST,
                choice,
                total,
            )
        await redis.publish(CHANNEL, msgspec.json.encode(TotalsMessage({CONTEST: totals})))
        await asyncio.sleep(PAUSE_S)
    shares = [await _result(process) for process in running]
    await redis.aclose()
    return {
        "opened_in_s": opening_s,
        "sockets": sum(share["sockets"] for share in shares),
        "changes": ROUNDS,
        "messages": sum(share["messages"] for share in shares),
        "p50_s": max(share["p50_s"] for share in shares),
        "p99_s": max(share["p99_s"] for share in shares),
        "max_s": max(share["max_s"] for share in shares),
        "gateway_cpu_s": program.cpu_s() - before_s,
    }


async def seen_elsewhere(stack: Stack, directory: Path, *, votes: int, rate: int) -> dict[str, Any]:
    """From the click on a vote until another watcher is told, while others vote too."""
    settings = {
        "SCRUTIN_ROLL": "open",
        "SCRUTIN_THROTTLE_VOTER": "off",
        "SCRUTIN_THROTTLE_ADDRESS": "off",
    }
    took: list[float] = []
    async with GatewayChain(stack, directory, settings=settings) as chain:
        await chain.start()
        async with client_of(chain.gateways[0]) as client:
            _, made = await client.post("/polls/", poll_form())
            crowd = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("scrutin")),
                *("publish", "--no-load-roll", "--json", "--rate", str(rate)),
                *("--votes", str(rate * (votes // 10 + 10))),
                env=chain.env,
                stdout=asyncio.subprocess.DEVNULL,
            )
            try:
                await asyncio.sleep(5)
                url = f"{client.base}/ws/polls/{made['id']}/"
                async with client.session.ws_connect(url) as socket:
                    total = json.loads((await socket.receive()).data)["total"]
                    for number in range(votes):
                        started_s = time.perf_counter()
                        ballot = {
                            "poll_id": made["id"],
                            "option_id": number % 2 + 1,
                            "voter_name": f"Voter {number}",
                        }
                        status, _ = await client.post("/votes/", ballot)
                        assert status == 202
                        while total <= number:
                            message = await socket.receive(timeout=FINAL_S)
                            total = json.loads(message.data)["total"]
                        took.append(time.perf_counter() - started_s)
                        await asyncio.sleep(0.1)
            finally:
                crowd.kill()
                await crowd.wait()
    return {"background_per_s": rate, "votes": votes, **quantiles(took)}


def poll_form() -> dict[str, object]:
    """A poll that stays open."""
    return {
        "title": "Bench",
        "creator_name": "Bench",
        "end_time": "2999-01-01T00:00:00Z",
        "options": [{"text": "Yes"}, {"text": "No"}],
    }


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.gateway", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )


async def _result(process: asyncio.subprocess.Process) -> dict[str, Any]:
    async with asyncio.timeout(300):
        out, _ = await process.communicate()
    assert process.returncode == 0, f"a client ended with {process.returncode}"
    found: dict[str, Any] = json.loads(out)
    return found


async def _child(*arguments: str) -> dict[str, Any]:
    return await _result(await _start(*arguments))


def bench(
    *,
    votes: Annotated[int, typer.Option(min=0, help="Votes over HTTP; 0: none.")] = 30_000,
    sockets: Annotated[int, typer.Option(min=0, help="Sockets; 0: none.")] = 10_000,
    clients: Annotated[int, typer.Option(min=1, help="Client processes.")] = 2,
    watched: Annotated[
        int, typer.Option(min=0, help="Votes timed until another watcher sees them; 0: none.")
    ] = 200,
    rate: Annotated[int, typer.Option(min=1, help="Votes a second beside those.")] = 2000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Measure a gateway: confirmed votes a second, and the way of a total to every socket."""
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder:
        reused = os.environ.pop("SCRUTIN_TEST_STACK_DIR", "")
        stack = Stack(Path(reused or folder) if reused else Path(folder) / "stack", environ={})
        try:
            stack.up()
            load = os.getloadavg()[0]
            figures = uvloop.run(
                measure(stack, Path(folder), votes=votes, sockets=sockets, clients=clients)
            )
            if watched:
                figures["seen_elsewhere"] = uvloop.run(
                    seen_elsewhere(stack, Path(folder), votes=watched, rate=rate)
                )
        finally:
            if not reused:
                stack.down()
    figures["machine"] = {"cores": os.cpu_count(), "load_before": round(load, 2)}
    out.print_json(json.dumps(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cast", url, first, last]:
            print(json.dumps(uvloop.run(cast(url, range(int(first), int(last))))))
        case ["watch", url, count, total]:
            print(json.dumps(uvloop.run(watch(url, int(count), int(total)))))
        case _:
            typer.run(bench)
