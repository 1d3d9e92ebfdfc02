"""The scenarios by name.

A scenario is a coroutine over a running :class:`tests.faults.world.World`; it lets votes be
published, strikes, and heals. What follows is the same for all: drain, then the oracle.

    @scenario("kill", heavy=True)
    async def worker_killed(world: World) -> None:
        '''One line for the table of scenarios.'''
        async with world.voting():
            await world.counted(0.2)
            await world.kill(world.workers[0])
            world.start(world.workers[0])
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.surroundings import Around, nothing

if TYPE_CHECKING:
    from tests.faults.world import World

MODULES = (
    "tests.faults.scenarios_services",
    "tests.faults.scenarios_processes",
    "tests.faults.scenarios_redis",
    "tests.faults.scenarios_hosts",
    "tests.faults.scenarios_disk",
    "tests.faults.scenarios_failpoints",
    "tests.faults.scenarios_kafka",
    "tests.faults.scenarios_postgres",
    "tests.faults.scenarios_rabbitmq",
    "tests.faults.scenarios_queues",
    "tests.faults.scenarios_recovery",
    "tests.faults.scenarios_broken",
)
"""Modules that register scenarios."""

HEAVY_VOTES = 100_000
LIGHT_VOTES = 20_000
SHORT_VOTES = 5_000

Run = Callable[["World"], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A named fault and how it is run."""

    name: str
    group: str
    run: Run
    heavy: bool = False
    """100,000 votes and five seeds instead of 20,000 and one."""
    short: bool = False
    """Also part of `make test`, with few votes and short outages."""
    short_votes: int = SHORT_VOTES
    """Messages of the short form."""
    rate: float = 1500.0
    """Messages a second."""
    workers: int = 3
    bridges: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all processes."""
    exits: frozenset[int] = frozenset()
    """Exit codes with which a process may end by itself; a supervisor starts it again."""
    mirror_lost: bool = False
    """Redis loses data: the mirror is rebuilt before the oracle looks."""
    drain_s: float = 60.0
    """Longest time without progress before all is counted."""
    votes: int | None = None
    """Instead of the number that goes with `heavy`."""
    assembly: bool = True
    """Some votes have rankings and weights, or replace earlier ones."""
    priorities: bool = False
    """Messages have priorities from 0 to 9, as their voters' clients please."""
    around: Around = nothing
    """What stands around the processes, e.g. a proxy."""
    reveals: frozenset[str] = frozenset()
    """The processes run a product that is broken on purpose: one of these findings must be made."""

    @property
    def about(self) -> str:
        """What happens, in a line."""
        return (self.run.__doc__ or "").strip().splitlines()[0]

    def size(self) -> int:
        """Messages of a full run."""
        return self.votes or (HEAVY_VOTES if self.heavy else LIGHT_VOTES)

    def seeds(self) -> int:
        """Seeds of a full run."""
        return 5 if self.heavy else 1


_scenarios: dict[str, Scenario] = {}


def scenario(group: str, **more: object) -> Callable[[Run], Run]:
    """Register a coroutine as the scenario of its name, with dashes.

    Args:
        group: what kind of fault it is.
        more: attributes of :class:`Scenario`.
    """

    def register(run: Run) -> Run:
        name = str(more.pop("name", run.__name__.replace("_", "-")))
        assert name not in _scenarios, f"two scenarios are called {name}"
        _scenarios[name] = Scenario(name, group, run, **more)  # type: ignore[arg-type]
        return run

    return register


def scenarios() -> list[Scenario]:
    """All scenarios, in the order of their modules."""
    for module in MODULES:
        importlib.import_module(module)
    return list(_scenarios.values())
