"""The commands of README and docs/ that no other test runs, typed as an operator would."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from streams.devstack import Stack, ports
from streams.load.programs import child_environment
from streams.settings.load import load_settings
from tests.documented import ROOT
from tests.harness import database, wipe

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Step:
    """A command that is typed.

    Shell variables of the session stand for ports; names and files are those of the session.
    """

    shown: str
    """As on the page."""
    typed: str = ""
    """If not the same."""
    says: str = ""
    """A pattern of what it must print."""
    background: bool = False
    """It runs until it is ended by SIGTERM, and then ends with 0."""
    watch: bool = False
    """It shows something on a terminal, again and again, until Ctrl-C."""


_USER: Final = "CREATE ROLE"
_READY: Final = "--retry 120 --retry-delay 1 --retry-all-errors -sSf"

SESSION: Final = (
    # Five minutes, from README.
    Step("scrutin stack up", says="All services were already up"),
    Step('eval "$()"', 'eval "$(scrutin stack env)"'),
    Step("scrutin migrate", says="0001"),
    Step("scrutin roles --apply"),
    *(
        Step(f"psql -c \"CREATE USER {user} PASSWORD 'secret' IN ROLE {role}\"", says=_USER)
        for user, role in (
            ("worker", "scrutin_sink"),
            ("alice", "scrutin_operator"),
            ("dashboard", "scrutin_reader"),
        )
    ),
    Step("faust -A topology worker -l info", background=True),
    Step("python -m streams.bridge", background=True),
    Step("scrutin publish --votes 20000 --expected expected.json"),
    Step("scrutin verify expected.json --wait 60", says="Exact"),
    Step("scrutin results", says="law-001"),
    # Over HTTP.
    Step(
        "SCRUTIN_SECRET=$() python -m streams.gateway",
        "SCRUTIN_SECRET=$(openssl rand -hex 32) python -m streams.gateway",
        background=True,
    ),
    Step(
        "curl http://HOST:PORT/ready",
        f"curl {_READY} http://127.0.0.1:$SCRUTIN_GATEWAY_PORT/ready",
        says='"ok"',
    ),
    Step("curl localhost:8001/ready", "curl -sSf localhost:$PROMETHEUS_PORT/ready", says='"ok"'),
    # Looking.
    Step("scrutin top", watch=True, says="intake to committed row"),
    Step(
        "scrutin top --at worker:8001 --at bridge:8002",
        "scrutin top --at localhost:$PROMETHEUS_PORT --at localhost:$SCRUTIN_BRIDGE_METRICS_PORT",
        watch=True,
        says="intake to committed row",
    ),
    Step("scrutin lag [--watch]", "scrutin lag", says="votes.validation"),
    Step("scrutin lag --watch", watch=True, says="votes.validation"),
    Step("scrutin tables export voted --format parquet -o voted.parquet", says="20,000 rows"),
    Step("scrutin rebuild --help", says="postgres"),
    # Contests and the roll.
    Step("scrutin contest import", "scrutin contest import contests.csv", says="C-42"),
    Step("scrutin contest list", says="C-42"),
    Step(
        "scrutin contest archive",
        "scrutin contest open C-42 && scrutin contest close C-42 --yes && "
        "scrutin contest archive C-42 --yes",
        says="archived",
    ),
    Step(
        "scrutin roll load --from-redis",
        "SCRUTIN_ROLL=table scrutin roll load --from-redis",
        says="hashes read",
    ),
    # What the runbook and others ask of PostgreSQL.
    *(
        Step(sql, f'psql -c "{sql}"', says=says)
        for sql, says in (
            (
                "SELECT pid, state, wait_event_type, query_start FROM pg_stat_activity"
                " WHERE datname = current_database()",
                "active",
            ),
            (
                "SELECT status, reason, count(*) FROM rejected_votes"
                " WHERE created_at > now() - interval '15 minutes' GROUP BY 1, 2",
                "not_on_roll",
            ),
        )
    ),
    Step(
        "ALTER ROLE reader SET search_path = reader_voting, public",
        'psql -c "ALTER ROLE dashboard SET search_path = reader_voting, public"'
        ' && PGUSER=dashboard PGPASSWORD=secret psql -c "SELECT count(*) FROM vote_results"',
        says=r"\(1 row\)",
    ),
    # What the repository's files are made with.
    Step("scrutin schema", "scrutin schema > asyncapi.json"),
    Step("scrutin schema > docs/asyncapi.json", f"cmp asyncapi.json {ROOT}/docs/asyncapi.json"),
    Step(
        "scrutin settings --env-example > .env.example",
        f"scrutin settings --env-example > env.example && cmp env.example {ROOT}/.env.example",
    ),
    Step("scrutin settings --markdown", says=r"\| `RABBITMQ_HOST` \|"),
    Step("make help", f"make -C {ROOT} help", says="make demo"),
    Step(
        "python -m tests.faults --list",
        f"PYTHONPATH={ROOT} python -m tests.faults --list",
        says="worker-killed",
    ),
    Step(
        "printf 'election:1|10|42' | sha256sum",
        says="8dad64197683b96d",
    ),
)
"""In an order that works: what a step needs, those before it have made."""

RUN_HERE: Final = {step.shown for step in SESSION} | {"python -m streams.gateway"}


class Shell:
    """A shell of one session: what it exports stays, what it starts runs on."""

    def __init__(self, env: Mapping[str, str], directory: Path) -> None:
        self._directory = directory
        self._commands = 0
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            env=dict(env),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, command: str) -> tuple[int, str]:
        """Type a command; returns its exit code and what it printed.

        The time limit of the test is the limit of each.
        """
        self._commands += 1
        printed = self._directory / f"{self._commands}.out"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} >{printed} 2>&1 </dev/null; echo $?\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        text = printed.read_text(errors="replace")
        assert answer, f"the shell ended in {command}\n{text}"
        return int(answer), text

    def kill(self) -> None:
        """End it with everything that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def watched(shell: Shell, command: str, says: str) -> None:
    """Run a command on a terminal until it has shown something; Ctrl-C must end it with 0."""
    # The terminal is ours, the environment the session's.
    _, exported = shell("env -0")
    env = dict(line.split("=", 1) for line in exported.split("\0") if line)
    terminal, end = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "-c", f"exec {command}"],
        env=env | {"TERM": "xterm", "COLUMNS": "160", "LINES": "60"},
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    ) as process:
        os.close(end)
        try:
            seen = b""
            while not re.search(says, seen.decode(errors="replace")):
                seen += os.read(terminal, 65_536)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, seen.decode(errors="replace")
        finally:
            process.kill()
            os.close(terminal)


@contextmanager
def session(stack: Stack, directory: Path) -> Iterator[Shell]:
    """A shell beside an empty stack."""
    asyncio.run(wipe(stack.env()))
    worker, bridge, gateway = ports.choose(3)
    address = stack.env()
    programs = Path(sys.executable).parent
    shell = Shell(
        child_environment(
            {},
            SCRUTIN_STACK_DIR=str(stack.directory),
            PATH=f"{programs}:{os.environ['PATH']}",
            COLUMNS="160",
            PROMETHEUS_PORT=str(worker),
            SCRUTIN_BRIDGE_METRICS_PORT=str(bridge),
            SCRUTIN_GATEWAY_PORT=str(gateway),
            **{
                name: address[f"POSTGRES_{ours}"]
                for name, ours in (
                    ("PGHOST", "HOST"),
                    ("PGPORT", "PORT"),
                    ("PGDATABASE", "DB"),
                    ("PGUSER", "USER"),
                    ("PGPASSWORD", "PASSWORD"),
                )
            },
        ),
        directory,
    )
    try:
        yield shell
    finally:
        shell.kill()
        asyncio.run(without_users(stack))


async def without_users(stack: Stack) -> None:
    """Users are the server's, not the database's: another test may want the names."""
    db = await database(load_settings(stack.env()))
    try:
        for user in ("worker", "alice", "dashboard"):
            await db.execute(f"DROP USER IF EXISTS {user}")
    finally:
        await db.close()


def test_an_operator_types_what_the_pages_show(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "contests.csv").write_text("id,title\nC-42,A law\n")
    with session(stack, tmp_path) as shell:
        for step in SESSION:
            command = step.typed or step.shown
            if step.watch:
                watched(shell, command, step.says)
                continue
            code, printed = shell(f"{command} &" if step.background else command)
            assert code == 0, f"{command}\n{printed}"
            assert re.search(step.says, printed), f"{command}\n{printed}"
        _, jobs = shell("jobs -p")
        assert len(jobs.split()) == len([step for step in SESSION if step.background])
        for pid in jobs.split():
            code, printed = shell(f"kill {pid}; wait {pid}")
            assert code == 0, printed
