"""Plays attacks in a process of its own, so that their work delays no honest client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from streams.gateway.process import raise_open_files
from streams.settings.load import load_settings
from tests.hostile.attacks import ATTACKS, Attack
from tests.hostile.clients import Run, Target

MARGIN_S: Final = 20.0
"""For a machine that has more to do than these tests."""
PAUSE_S: Final = 0.2
"""Before a client comes back."""
_AUTOGROUP: Final = Path("/proc/self/autogroup")


@dataclass(frozen=True)
class Order:
    """What to play."""

    number: int
    """Of this order: it gives the clients addresses that no other order has had."""
    attacks: tuple[str, ...]
    """Names; they are played at the same time."""
    env: Mapping[str, str]
    port: int
    """Of the gateway."""
    lasts_s: float
    """Clients come back so long."""
    clients: int | None = None
    """Of each attack; None: as many as it has."""
    margin_s: float = MARGIN_S


@dataclass(frozen=True)
class Played:
    """The fate of the hostile clients."""

    connections: int
    longest_s: float
    """Life of the connection that was closed last."""
    left: int
    """Connections that were not closed by their deadline."""
    told: list[str]
    sent_bytes: int
    """Written by the clients; not all of it was taken."""
    cpu_s: float
    """Used by the clients."""


def player(niceness: int) -> ProcessPoolExecutor:
    """The process that plays.

    Args:
        niceness: a stranger has processors of its own, so where times are measured this process
            gets what the others leave. What it does nevertheless is measured.
    """
    return ProcessPoolExecutor(1, get_context("spawn"), _begin, (niceness,))


def _begin(niceness: int) -> None:
    raise_open_files()
    os.nice(niceness)
    # Linux may share the processors out among sessions first: niceness then counts within one only,
    # and every service has a session of its own.
    os.setsid()
    if _AUTOGROUP.exists():
        _AUTOGROUP.write_text(str(niceness), encoding="ascii")


def play(order: Order) -> Played:
    """Play attacks until the last of their connections is gone, or must be."""
    return asyncio.run(_play(order))


async def _play(order: Order) -> Played:
    began_cpu_s = time.process_time()
    attacks = [each for each in ATTACKS if each.name in order.attacks]
    settings = load_settings(order.env)
    targets = {
        each.name: Target(settings, order.port, f"127.{order.number}.0.{n + 2}")
        for n, each in enumerate(attacks)
    }
    until_s = time.monotonic() + order.lasts_s
    hostile = [
        asyncio.create_task(
            _client(attack, attack.runs[n % len(attack.runs)], targets[attack.name], until_s)
        )
        for attack in attacks
        for n in range(order.clients or attack.clients)
    ]
    bound_s = max(each.within_s + order.lasts_s * each.again for each in attacks)
    _, left = await asyncio.wait(hostile, timeout=bound_s + order.margin_s)
    for task in left:
        task.cancel()
    ended = await asyncio.gather(*hostile, return_exceptions=True)
    broken = [repr(each) for each in ended if isinstance(each, Exception)]
    lives_s = [life_s for target in targets.values() for life_s in target.lives_s]
    told = [why for target in targets.values() for why in target.told]
    return Played(
        connections=len(lives_s) + len(left),
        longest_s=max(lives_s, default=0.0),
        left=len(left),
        told=[*dict.fromkeys(told), *dict.fromkeys(broken)][:5],
        sent_bytes=sum(target.sent_bytes for target in targets.values()),
        cpu_s=time.process_time() - began_cpu_s,
    )


async def _client(attack: Attack, run: Run, target: Target, until_s: float) -> None:
    while True:
        await run(target)
        if not attack.again or time.monotonic() >= until_s:
            return
        await asyncio.sleep(PAUSE_S)
