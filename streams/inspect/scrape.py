"""Read the `/metrics` and `/ready` pages of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

Kind = Literal["worker", "bridge", "gateway", "tally", "unknown"]

_TIMEOUT_S: Final = 5.0
# Metric families that only one kind of process has.
_KINDS: Final[dict[str, Kind]] = {
    "validation_processing_latency_seconds": "worker",
    "scrutin_bridge_paused": "bridge",
    "scrutin_gateway_watchers": "gateway",
}


@dataclass(frozen=True)
class Sample:
    """One series of a scrape."""

    labels: dict[str, str]
    value: float


@dataclass
class Process:
    """State of one process; without samples if it does not answer."""

    address: str
    """HOST:PORT."""
    kind: Kind = "unknown"
    faults: list[str] = field(default_factory=list)
    """Faults from `/ready`, or why there was no answer."""
    answers: bool = False
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """By name of the series."""

    def total(self, name: str, **labels: str) -> float:
        """Sum of a metric's series with these labels."""
        return sum(
            sample.value
            for sample in self.samples.get(name, [])
            if labels.items() <= sample.labels.items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums of a metric's series by one of its labels."""
        sums: dict[str, float] = {}
        for sample in self.samples.get(name, []):
            key = sample.labels.get(label, "")
            sums[key] = sums.get(key, 0.0) + sample.value
        return sums


def parse(address: str, text: str, faults: list[str]) -> Process:
    """Parse a process's metrics.

    Args:
        address: HOST:PORT of the metrics server.
        text: of `/metrics`.
        faults: of `/ready`.

    Raises:
        ValueError: the text is not in the exposition format.
    """
    samples: dict[str, list[Sample]] = {}
    kind: Kind = "tally"
    for family in text_string_to_metric_families(text):
        kind = _KINDS.get(family.name, kind)
        for one in family.samples:
            samples.setdefault(one.name, []).append(Sample(dict(one.labels), float(one.value)))
    return Process(address, kind, faults, answers=True, samples=samples)


async def scrape(addresses: Sequence[str]) -> list[Process]:
    """Scrape all processes concurrently; each address of a host name is one process.

    Args:
        addresses: HOST:PORT of metrics ports.
    """
    found = await asyncio.gather(*(_resolve(address) for address in addresses))
    each = list(dict.fromkeys(one for several in found for one in several))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return list(await asyncio.gather(*(_ask(session, address) for address in each)))


async def _resolve(address: str) -> list[str]:
    host, _, port = address.rpartition(":")
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=1)
    except (OSError, ValueError):
        return [address]
    # Only the first address family: localhost is one process, not two.
    family = infos[0][0]
    hosts = dict.fromkeys(str(info[4][0]) for info in infos if info[0] == family)
    return [f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts]


async def _ask(session: aiohttp.ClientSession, address: str) -> Process:
    try:
        async with session.get(f"http://{address}/metrics") as answer:
            text = await answer.text()
        async with session.get(f"http://{address}/ready") as answer:
            body: Any = await answer.json()
        return parse(address, text, [str(fault) for fault in body["faults"]])
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
        return Process(address, faults=[f"no answer: {type(error).__name__}"])
