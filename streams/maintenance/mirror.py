"""Compare the Redis mirror with the log, and rebuild it from the log."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from redis.asyncio import Redis

from schemas.codec import decode_input, decode_verdicts
from schemas.votes import VoteBatch
from streams.adapters.kafka.view import LogView, Record, Span
from streams.adapters.redis.client import redis_errors
from streams.adapters.redis.keys import COUNTER_PREFIX, VOTED_HASHES
from streams.bridge.mirror import (
    REBUILD_COUNTERS,
    REBUILD_HASHES,
    REBUILD_LOCK,
    Change,
    script_calls,
)
from streams.control.epochs import read_epochs
from streams.core.records import poisoning
from streams.core.rules import epoch_of
from streams.core.topics import VALIDATED_TOPIC
from streams.errors import ScrutinError

T = TypeVar("T")

Advance = Callable[[int], None]

LOCK_S: Final = 120
"""The lock expires this long after a rebuild's last write; then another may begin."""

_CHUNK: Final = 4_000
_SETTLE_S: Final = 0.25

_BEGIN: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
_ADD: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local hashes = tonumber(ARGV[3])
if hashes > 0 then redis.call('SADD', KEYS[2], unpack(ARGV, 4, hashes + 3)) end
for i = hashes + 4, #ARGV, 2 do
  if tonumber(ARGV[i + 1]) > tonumber(redis.call('HGET', KEYS[3], ARGV[i]) or '0') then
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  end
end
return 1
"""
_COUNTERS: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[2])
for i = 3, #ARGV do
  local attempts = redis.call('HGET', KEYS[3], ARGV[i])
  if attempts then
    redis.call('SET', 'duplicate_count:' .. ARGV[i], attempts)
  else
    redis.call('DEL', 'duplicate_count:' .. ARGV[i])
  end
end
return 1
"""
_SWAP: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[4])
else
  redis.call('DEL', KEYS[4])
end
redis.call('DEL', KEYS[1], KEYS[3])
return 1
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2], KEYS[3]) end
return 1
"""
_KEYS: Final = (REBUILD_LOCK, REBUILD_HASHES, REBUILD_COUNTERS, VOTED_HASHES)


@dataclass(frozen=True)
class Comparison:
    """How the mirror compares with the log."""

    voters_in_log: int
    voters_in_redis: int
    voters_missing: int
    """Accepted in the log, not in `voted_hashes`."""
    voters_surplus: int
    """In `voted_hashes`, not accepted in the log."""
    counters_in_log: int
    counters_in_redis: int
    counters_missing: int
    counters_surplus: int
    counters_different: int

    @property
    def equal(self) -> bool:
        """Whether the mirror agrees with the log."""
        return not (
            self.voters_missing
            or self.voters_surplus
            or self.counters_missing
            or self.counters_surplus
            or self.counters_different
        )

    def as_dict(self) -> dict[str, int | bool]:
        """For JSON."""
        return {**asdict(self), "equal": self.equal}


class MirrorLog:
    """Voters and attempts in the log, read incrementally. About 100 bytes a voter.

    Args:
        view: connected.
    """

    def __init__(self, view: LogView) -> None:
        self._view = view
        self._position: dict[int, int] = {}
        self._epoch: int | None = None
        self.voters: set[bytes] = set()
        """Digests of the accepted hashes."""
        self.attempts: dict[str, int] = {}
        """Hash -> highest attempt number."""

    async def read_on(self, advance: Advance | None = None) -> AsyncIterator[Change]:
        """Read from the end of the previous read to the present end."""
        spans = await self._view.spans(VALIDATED_TOPIC)
        wanted = {p: Span(self._position.get(p, s.begin), s.end) for p, s in spans.items()}
        # A reset during the comparison shows as a difference.
        if self._epoch is None:
            self._epoch = (await read_epochs(self._view)).current
        async for change in changes(self._view, wanted, self._epoch, advance):
            self.voters.update(map(digest, change.voted))
            for voter, attempts in change.attempts.items():
                self.attempts[voter] = max(attempts, self.attempts.get(voter, 0))
            yield change
        self._position = {p: span.end for p, span in wanted.items()}

    async def total(self) -> int:
        """Records to read."""
        return sum(s.end - s.begin for s in (await self._view.spans(VALIDATED_TOPIC)).values())


async def changes(
    view: LogView, spans: dict[int, Span], epoch: int, advance: Advance | None
) -> AsyncIterator[Change]:
    """Mirror changes that follow from each fetch of verdict batches.

    Args:
        view: connected.
        spans: of `votes.validated`.
        epoch: batches of an earlier epoch are void.
        advance: called with the number of records read.

    Raises:
        PoisonRecord: a record cannot be decoded.
    """
    async for records in view.read(VALIDATED_TOPIC, spans, advance):
        change = Change()
        for record in records:
            _add(change, record, epoch)
        yield change


def _add(change: Change, record: Record, epoch: int) -> None:
    with poisoning(VALIDATED_TOPIC, record.partition, record.offset):
        verdicts = decode_verdicts(record.value or b"")
        batch = decode_input(verdicts.record)
    if isinstance(batch, VoteBatch) and epoch_of(batch) >= epoch:
        change.add(verdicts, batch)


def digest(voter: str) -> bytes:
    """16 bytes for a hash of up to 128."""
    return hashlib.blake2b(voter.encode(), digest_size=16).digest()


async def compare(
    view: LogView, redis: Redis, advance: Advance | None = None, *, settle_s: float
) -> Comparison:
    """Compare in both directions. A running mirror gets time to catch up.

    Args:
        view: connected.
        redis: client.
        advance: called with the number of records read.
        settle_s: longest wait for differences to disappear, in seconds.

    Raises:
        ServiceUnavailable: Kafka or Redis does not answer.
    """
    log = MirrorLog(view)
    deadline = time.monotonic() + settle_s
    async with redis_errors("compare the mirror"):
        missing: list[str] = []
        async for change in log.read_on(advance):
            missing += await _not_members(redis, change.voted)
        surplus = [m async for m in _members(redis) if digest(m) not in log.voters]
        while True:
            # Votes mirrored during the scan are in the log by now.
            async for change in log.read_on():
                missing += change.voted
            missing = await _not_members(redis, missing)
            surplus = [m for m in surplus if digest(m) not in log.voters]
            counters = await _counters(redis)
            absent = len(log.attempts.keys() - counters.keys())
            extra = len(counters.keys() - log.attempts.keys())
            unequal = sum(counters.get(v, n) != n for v, n in log.attempts.items())
            found = Comparison(
                voters_in_log=len(log.voters),
                voters_in_redis=await _size(redis),
                voters_missing=len(set(missing)),
                voters_surplus=len(surplus),
                counters_in_log=len(log.attempts),
                counters_in_redis=len(counters),
                counters_missing=absent,
                counters_surplus=extra,
                counters_different=unequal,
            )
            if found.equal or time.monotonic() > deadline:
                return found
            await asyncio.sleep(_SETTLE_S)


async def rebuild(view: LogView, redis: Redis, advance: Advance | None = None) -> dict[str, int]:
    """Rebuild the mirror from the log while the live mirror keeps running.

    A lock is set first; from then on live mirrors also write to the rebuild's keys
    (`WRITE_SCRIPT` of :mod:`streams.bridge.mirror`). The log's end is read after that, so all that
    live mirrors wrote earlier lies before it. The set built up to that end is therefore complete
    when it is renamed.

    Returns:
        `voters` and `counters`: how many the mirror has now.

    Raises:
        ScrutinError: another rebuild runs, or this one's lock was lost.
        ServiceUnavailable: Kafka or Redis does not answer; the mirror is unchanged or, once
            counters are being written, partly rebuilt.
    """
    token = secrets.token_hex(8)
    async with redis_errors("rebuild the mirror"):
        if not await _script(redis, _BEGIN, token, LOCK_S):
            raise ScrutinError(
                "Another rebuild of the mirror is running",
                where={"key": REBUILD_LOCK},
                todo=f"Wait for it; the lock of one that died expires after {LOCK_S} s",
            )
        try:
            spans = await view.spans(VALIDATED_TOPIC)
            epoch = (await read_epochs(view)).current
            async for change in changes(view, spans, epoch, advance):
                for arguments in script_calls(change):
                    await _run_locked(redis, _ADD, token, LOCK_S, *arguments)
            expected = [_text(name) async for name, _ in redis.hscan_iter(REBUILD_COUNTERS)]
            present = await _counters(redis)
            for chunk in chunks({*expected, *present}):
                await _run_locked(redis, _COUNTERS, token, LOCK_S, *chunk)
            await _run_locked(redis, _SWAP, token)
        except BaseException:
            await asyncio.shield(_script(redis, _RELEASE, token))
            raise
        return {"voters": await _size(redis), "counters": len(await _counters(redis))}


async def _script(redis: Redis, script: str, *arguments: str | int) -> int:
    evaluate: Any = redis.eval
    return int(await evaluate(script, len(_KEYS), *_KEYS, *arguments))


async def _run_locked(redis: Redis, script: str, *arguments: str | int) -> None:
    if not await _script(redis, script, *arguments):
        raise ScrutinError(
            "The rebuild lost its lock; the mirror's set is unchanged",
            where={"key": REBUILD_LOCK},
            todo="Start it again",
        )


async def _size(redis: Redis) -> int:
    size: Any = redis.scard(VOTED_HASHES)
    return int(await size)


async def _members(redis: Redis) -> AsyncIterator[str]:
    async for member in redis.sscan_iter(VOTED_HASHES, count=_CHUNK):
        yield _text(member)


async def _not_members(redis: Redis, voters: Iterable[str]) -> list[str]:
    missing: list[str] = []
    ask: Any = redis.smismember
    for chunk in chunks(voters):
        answers = await ask(VOTED_HASHES, chunk)
        missing += [voter for voter, there in zip(chunk, answers, strict=True) if not there]
    return missing


async def _counters(redis: Redis) -> dict[str, int]:
    """All counters; one that is no number is -1."""
    names = [_text(name) async for name in redis.scan_iter(f"{COUNTER_PREFIX}*", count=_CHUNK)]
    found: dict[str, int] = {}
    for chunk in chunks(names):
        for name, value in zip(chunk, await redis.mget(chunk), strict=True):
            if value is not None:
                number = _text(value)
                found[name.removeprefix(COUNTER_PREFIX)] = int(number) if number.isdecimal() else -1
    return found


def _text(value: str | bytes) -> str:
    # Other programs may have written something other than UTF-8.
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of up to 4,000."""
    source = iter(items)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk
