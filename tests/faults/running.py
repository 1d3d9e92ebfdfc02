"""Plays one scenario from a wiped stack to the oracle's word."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streams.devstack import Stack
from tests.faults.oracle import Finding, judge
from tests.faults.registry import Scenario
from tests.faults.services import NotPossibleHere
from tests.faults.votes import Votes
from tests.faults.world import World

_LIMIT_S = 900.0
_SHORT_LIMIT_S = 400.0
"""Longest time from the first vote until the pipeline is drained."""


@dataclass
class Result:
    """What came of a scenario with a seed."""

    scenario: str
    seed: int
    votes: int
    outcome: str = "error"
    """`exact`, `wrong` (the oracle has findings), `error` (the run itself failed), `skipped` (not
    possible here), or of a product that is broken on purpose `caught` and `missed`."""
    findings: list[str] = field(default_factory=list)
    counted: int = 0
    uncertain: int = 0
    recovered_s: float | None = None
    """From healing until the last vote that had been sent by then was counted."""
    drained_s: float | None = None
    """From the last vote until the pipeline was empty."""
    replays: int = 0
    """Records that were delivered, produced or decided again."""
    duplicate_egress: int = 0
    """Review messages that were published again."""
    exits: dict[str, int] = field(default_factory=dict)
    """Processes that ended by themselves, by exit code."""
    took_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether all is as it should be."""
        return self.outcome in {"exact", "caught", "skipped"}

    @property
    def key(self) -> tuple[str, int, int]:
        """What was run."""
        return self.scenario, self.seed, self.votes

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Result:
        """From one line."""
        return cls(**json.loads(line))


def _outcome(scenario: Scenario, findings: Sequence[Finding]) -> str:
    if not scenario.reveals:
        return "wrong" if findings else "exact"
    return "caught" if scenario.reveals & {finding.name for finding in findings} else "missed"


async def play(
    stack: Stack, directory: Path, scenario: Scenario, *, seed: int, votes: int, short: bool = False
) -> Result:
    """Run a scenario with a seed; never raises for what goes wrong in it.

    Args:
        stack: services that are down are started.
        directory: for the processes' logs.
        scenario: what to run.
        seed: of votes and faults.
        votes: messages.
        short: the short form, for `make test`.
    """
    start_s = time.monotonic()
    limit_s = _SHORT_LIMIT_S if short else _LIMIT_S
    result = Result(scenario.name, seed, votes)
    plan = Votes(votes, seed, scenario.assembly)
    world: World | None = None
    try:
        stack.up()
        async with (
            scenario.around(stack) as around,
            World(
                stack, directory, votes=plan, scenario=scenario, short=short, around=around
            ) as world,
        ):
            async with asyncio.timeout(limit_s):
                await scenario.run(world)
                result.drained_s = await world.drained()
            if scenario.mirror_lost:
                await world.rebuild_mirror()
            judgement = judge(await world.evidence(), Counter(plan.order))
            result.counted = judgement.counted
            result.replays = judgement.repeated_items + judgement.repeated_verdicts
            result.duplicate_egress = judgement.repeated_reviews
            world.findings += judgement.findings
            await world.compare_trees()
        result.outcome = _outcome(scenario, world.findings)
    except NotPossibleHere as reason:
        result.outcome = "skipped"
        result.findings.append(str(reason))
    except Exception as error:  # noqa: BLE001 - the other scenarios are to run
        trace = traceback.format_exception(error)
        (directory / "error.txt").write_text("".join(trace))
        result.findings.append(f"{type(error).__name__}: {error}")
    if world is not None:
        result.findings += [str(finding) for finding in world.findings]
        result.uncertain = len(world.publisher.uncertain)
        result.recovered_s = world.recovered_s
        result.exits = {str(code): times for code, times in world.exits.items()}
    result.took_s = time.monotonic() - start_s
    return result
