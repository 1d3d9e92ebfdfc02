"""Prometheus itself judges configuration, rules and metrics; alerts fire and resolve for real."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from streams.devstack import Stack, ports
from streams.load.election import LoadPlan
from streams.load.programs import Program, gateway
from tests.harness import Chain, until
from tests.integration.cli_harness import run_cli

pytestmark = pytest.mark.timeout(480)

DOCKER = Path(__file__).parents[2] / "docker"
CONFIG = DOCKER / "prometheus" / "prometheus.yml"
QUICK = {"ScrutinNobodyTakesIn", "ScrutinServiceAway"}
"""Fired here, so they must not wait a minute."""


def run(*argv: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_promtool_accepts_configuration_and_rules() -> None:
    done = run("promtool", "check", "config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout


def test_each_alert_fires_on_what_it_is_for() -> None:
    tests = DOCKER / "prometheus" / "tests" / "alerts.yml"
    done = run("promtool", "test", "rules", tests)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = yaml.safe_load((DOCKER / "prometheus/rules/alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    fired = {
        case["alertname"]
        for test in yaml.safe_load(tests.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == alerts


class Prometheus:
    """A Prometheus with our rules that scrapes processes of a test every second."""

    def __init__(self, directory: Path, programs: dict[str, list[Program]]) -> None:
        self._directory = directory
        [self._port] = ports.choose(1)
        shutil.copytree(DOCKER / "prometheus", directory)
        config = yaml.safe_load(CONFIG.read_text())
        config["global"] = dict.fromkeys(
            ("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"
        )
        ours = [job for job in config["scrape_configs"] if job["job_name"] in programs]
        assert len(ours) == len(programs)
        for job in ours:
            del job["dns_sd_configs"]
            targets = [f"127.0.0.1:{program.port}" for program in programs[job["job_name"]]]
            job["static_configs"] = [{"targets": targets}]
        config["scrape_configs"] = ours
        (directory / CONFIG.name).write_text(yaml.safe_dump(config))
        for path in (directory / "rules").iterdir():
            rules = yaml.safe_load(path.read_text())
            for group in rules["groups"]:
                group.pop("interval", None)
                for rule in group["rules"]:
                    if rule.get("alert") in QUICK:
                        rule["for"] = "1s"
            path.write_text(yaml.safe_dump(rules))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with (self._directory / "log").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                "prometheus",
                f"--config.file={self._directory / CONFIG.name}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
            )
        try:
            yield
        finally:
            process.terminate()
            async with asyncio.timeout(30):
                await process.wait()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"http://127.0.0.1:{self._port}/api/v1/query", params={"query": expression}
            ) as answer,
        ):
            body = await answer.json()
        assert body["status"] == "success", (expression, body)
        result: list[dict[str, Any]] = body["data"]["result"]
        return result

    async def firing(self) -> set[str]:
        found = await self.query('ALERTS{alertstate="firing"}')
        return {sample["metric"]["alertname"] for sample in found}

    async def silent(self) -> bool:
        return not await self.firing()

    async def up(self) -> set[str]:
        try:
            return {sample["metric"]["job"] for sample in await self.query("up == 1")}
        except aiohttp.ClientError:
            return set()


async def exposition(program: Program) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{program.port}/metrics") as answer,
    ):
        return await answer.text()


def without_samples(texts: list[str]) -> set[str]:
    """Families that a scrape declares and has no series of, yet."""
    text = "\n".join(texts)
    declared = set(re.findall(r"^# TYPE (\w+)", text, flags=re.MULTILINE))
    sampled = set(re.findall(r"^(\w+)[{ ]", text, flags=re.MULTILINE))
    return {name for name in declared if not any(s.startswith(name) for s in sampled)}


#: Metrics that have no series until something rare happens.
RARE = {
    "scrutin_bridge_reconnects_total",
    "scrutin_replays_total",
    "scrutin_reviews_withheld_total",
    "scrutin_service_failed_tries",
    "aggregation_errors_total",
    "validation_errors_total",
    "votes_submitted_total",
    "vote_errors_total",
    "scrutin_gateway_throttled_total",
    "database_operations_total",
    "http_requests_total",
    "http_request_duration_seconds",
    "votes_by_law_total",
    "scrutin_live_messages_total",
    "scrutin_gateway_watchers",
    "scrutin_roll_entries",
    "scrutin_contest_changed_timestamp_seconds",
}
#: Of tally workers, none of which runs here.
ELSEWHERE = "scrutin_tally_task_seconds"


def dashboard_queries() -> list[tuple[str, str]]:
    found = []
    for path in sorted((DOCKER / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            found += [
                (panel["title"], target["expr"].replace("$contest", ".*"))
                for target in panel["targets"]
            ]
    assert len(found) > 30
    return found


async def test_alerts_fire_and_resolve_and_every_panel_has_data(
    stack: Stack, tmp_path: Path
) -> None:
    settings = {"RETRY_DELAY_SECONDS": "0.2", "SCRUTIN_PARTITIONS": "2"}
    async with Chain(stack, tmp_path, settings=settings) as chain:
        plan = LoadPlan(votes=500)
        await chain.load_roll(plan)
        front = gateway(chain.env, tmp_path)
        [worker], [bridge] = chain.workers, chain.bridges
        programs = {"worker": [worker], "bridge": [bridge], "gateway": [front]}
        prometheus = Prometheus(tmp_path / "prometheus", programs)
        async with front:
            await chain.start()
            await front.ready(within_s=60)
            async with prometheus.running():

                async def all_up() -> bool:
                    return await prometheus.up() == set(programs)

                await until(all_up, "everything is scraped", 60)
                await chain.verify(await chain.publish(plan), patience_s=60)
                await panels_have_data(prometheus, [worker, bridge, front])
                # One that fired while the processes came up may take a moment to end.
                await until(prometheus.silent, "no alert fires")
                await asyncio.to_thread(top_shows_it, chain, programs)
                await a_bridge_dies(prometheus, bridge)
                await redis_is_away(prometheus, chain)


def top_shows_it(chain: Chain, programs: dict[str, list[Program]]) -> None:
    addresses = [f"127.0.0.1:{p.port}" for several in programs.values() for p in several]
    at = [part for address in addresses for part in ("--at", address)]
    env = chain.stack.env()
    done = run_cli(env, "top", "--once", "--interval", "0.2", "--json", *at)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [(p["address"], p["kind"], p["ready"]) for p in shown["processes"]] == [
        (address, kind, True) for address, kind in zip(addresses, programs, strict=True)
    ]
    assert shown["processes"][0]["partitions"] == [0, 1]
    # What the sink has applied is in the database at once; groups commit once a second.
    assert shown["waiting"]["aggregation"] == 0
    assert set(shown["waiting"]) > {"validation", "reviews", "mirror", "queue votes.validation"}
    assert sum(window["votes"] for window in shown["windows"]) == 500
    assert shown["errors"] == {}
    done = run_cli(
        {**env, "COLUMNS": "140"}, "top", "--once", "--interval", "0.2", *at, "--at", "127.0.0.1:1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" ready ") == len(addresses)
    assert "127.0.0.1:1" in done.stdout
    assert "no answer" in done.stdout
    assert "windows" in done.stdout


async def panels_have_data(prometheus: Prometheus, programs: list[Program]) -> None:
    texts = [await exposition(program) for program in programs]
    for text in texts:
        complaints = run("promtool", "check", "metrics", stdin=text).stderr.splitlines()
        assert [line for line in complaints if line.startswith("scrutin_")] == []
    empty = without_samples(texts)

    async def only_rare_ones_are_empty() -> bool:
        nonlocal empty
        empty = without_samples([await exposition(program) for program in programs])
        return empty < RARE

    try:
        # Some gauges are set by the worker's own look around, every few seconds.
        await until(only_rare_ones_are_empty, "every common metric has series", 60)
    except AssertionError:
        raise AssertionError(f"without series: {empty - RARE}") from None

    async def gaps() -> list[tuple[str, str]]:
        return [
            (title, query)
            for title, query in dashboard_queries()
            if not any(name in query for name in {*empty, ELSEWHERE})
            and not await prometheus.query(query)
        ]

    async def complete() -> bool:
        return not await gaps()

    try:
        # Rates need two scrapes, the lag a look of the workers.
        await until(complete, "every panel has data", 60)
    except AssertionError:
        raise AssertionError(f"no data: {await gaps()}") from None


async def a_bridge_dies(prometheus: Prometheus, bridge: Program) -> None:
    async def fires() -> bool:
        return "ScrutinNobodyTakesIn" in await prometheus.firing()

    async def resolved() -> bool:
        return not await fires()

    await bridge.kill()
    await until(fires, "an alert for the bridge that died", 60)
    await bridge.start().ready(60)
    await until(resolved, "the alert ends", 60)


async def redis_is_away(prometheus: Prometheus, chain: Chain) -> None:
    plan = LoadPlan(votes=200, seed=2)
    await chain.load_roll(plan)

    async def away() -> bool:
        found = await prometheus.query('ALERTS{alertname="ScrutinServiceAway"}')
        return ("roll", "firing") in {
            (sample["metric"]["service"], sample["metric"]["alertstate"]) for sample in found
        }

    chain.stack.stop("redis")
    try:
        await chain.publish(plan)
        await until(away, "an alert for Redis", 60)
    finally:
        chain.stack.start("redis")
    await until(prometheus.silent, "all alerts end")
