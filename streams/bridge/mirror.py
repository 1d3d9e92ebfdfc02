"""The Redis mirror: who has voted, and the number of repeated attempts.

It is only a mirror: the count never reads it. It can be lost and rebuilt from the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from schemas.verdicts import Reason, Status, VerdictBatch
from schemas.votes import REFUSED, AdoptedVoteBatch, VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.adapters.redis.client import redis_errors
from streams.adapters.redis.keys import PATTERN_OFFSETS, PATTERNS_SEEN, VOTED_HASHES
from streams.core.records import Verdicts
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import OLD_VOTERS, LogMismatch, ServiceUnavailable
from streams.messages.outgoing import PATTERN_CHARACTERS, accepted
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service

MAX_PATTERNS: Final = 100_000
"""Limit of stored patterns, so that a sender of junk cannot fill Redis."""

REBUILD_LOCK: Final = "scrutin:mirror:rebuild"
"""Exists while a rebuild runs; writes then go to the rebuild's keys too."""
REBUILD_HASHES: Final = "scrutin:mirror:rebuild:voted_hashes"
REBUILD_COUNTERS: Final = "scrutin:mirror:rebuild:duplicate_counts"

_CHUNK: Final = 4_000
"""Entries per script call, so that no call blocks Redis for long."""

WRITE_SCRIPT: Final = """
local rebuilding = redis.call('EXISTS', KEYS[2]) == 1
local hashes = tonumber(ARGV[1])
if hashes > 0 then
  redis.call('SADD', KEYS[1], unpack(ARGV, 2, hashes + 1))
  if rebuilding then redis.call('SADD', KEYS[3], unpack(ARGV, 2, hashes + 1)) end
end
for i = hashes + 2, #ARGV, 2 do
  local attempts = tonumber(ARGV[i + 1])
  local key = ARGV[i]
  if attempts > (tonumber(redis.call('GET', 'duplicate_count:' .. key) or '0') or 0) then
    redis.call('SET', 'duplicate_count:' .. key, attempts)
  end
  if rebuilding and attempts > tonumber(redis.call('HGET', KEYS[4], key) or '0') then
    redis.call('HSET', KEYS[4], key, attempts)
  end
end
return hashes
"""
"""Adds voters and raises counters. A replay may arrive late, so counters are never lowered."""


PATTERN_SCRIPT: Final = """
local log, offset = ARGV[2], tonumber(ARGV[3])
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local known_log, known_offset = string.match(known, '^(%x+) (%d+)$')
  if known_log == log and tonumber(known_offset) >= offset then return {0, 0} end
end
local unique, repeated = 0, 0
local room = tonumber(ARGV[4]) - redis.call('SCARD', KEYS[2])
for i = 5, #ARGV, 2 do
  local new = redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 0
  local count = tonumber(ARGV[i + 1])
  if new then
    unique = unique + 1
    count = count - 1
  end
  repeated = repeated + count
  if not new or room > 0 then
    if new then
      redis.call('SADD', KEYS[2], ARGV[i])
      room = room - 1
    end
    redis.call('INCRBY', 'error_pattern:' .. ARGV[i], ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], log .. ' ' .. ARGV[3])
return {unique, repeated}
"""
"""Counts the first characters of unknown hashes, once for each record of a partition.

Returns the number of new prefixes, and the number of repetitions of known ones."""


class Patterns(msgspec.Struct, frozen=True):
    """First characters of the hashes of one record that are not on the roll."""

    partition: int
    log_id: bytes
    offset: int
    counts: dict[str, int]


class Change(msgspec.Struct):
    """The changes to the mirror that follow from verdicts."""

    voted: list[str] = msgspec.field(default_factory=list)
    """Hashes of accepted votes."""
    attempts: dict[str, int] = msgspec.field(default_factory=dict)
    """Hash -> highest attempt number."""
    patterns: list[Patterns] = msgspec.field(default_factory=list)

    def add(self, verdicts: VerdictBatch, record: VoteBatch) -> None:
        """Add the verdicts on one record."""
        self.voted += [vote.hash for vote in accepted(verdicts, record)]
        if isinstance(record, AdoptedVoteBatch):
            # An earlier voter has voted even if the vote itself is lost.
            numbered = zip(record.votes, record.submissions, strict=True)
            self.voted += [vote.hash for vote, number in numbered if number != REFUSED]
        for rejection in verdicts.rejections:
            if rejection.status == Status.DUPLICATE:
                voter = record.votes[rejection.index].hash
                self.attempts[voter] = max(rejection.attempt, self.attempts.get(voter, 0))
        unknown = Counter(
            record.votes[rejection.index].hash[:PATTERN_CHARACTERS]
            for rejection in verdicts.rejections
            if rejection.reason == Reason.NOT_ON_ROLL
        )
        if unknown:
            place = (verdicts.partition, verdicts.log_id, verdicts.offset)
            self.patterns.append(Patterns(*place, dict(unknown)))


def script_calls(change: Change) -> Iterable[list[str | int]]:
    """Arguments for :data:`WRITE_SCRIPT`, one list per call."""
    counters = list(change.attempts.items())
    for start in range(0, max(len(change.voted), len(counters)), _CHUNK):
        voted = change.voted[start : start + _CHUNK]
        pairs = [part for pair in counters[start : start + _CHUNK] for part in pair]
        yield [len(voted), *voted, *pairs]


@dataclass(frozen=True)
class Mirror:
    """Writes verdicts to Redis. :meth:`handle` is for a verdict reader."""

    redis: Redis
    """Client."""
    _: KW_ONLY
    retry: Retry
    """Waits while Redis does not answer."""
    metrics: BridgeMetrics
    """Of the bridge."""

    async def handle(self, verdicts: Sequence[Verdicts]) -> None:
        """Write; returns when Redis has answered, however long an outage lasts.

        Raises:
            PoisonRecord: a record cannot be decoded.
        """
        change = Change()
        for one in verdicts:
            record = one.record()
            if record is not None:
                change.add(one.batch, record)
        if not change.voted and not change.attempts and not change.patterns:
            return
        await self.retry(Service.REDIS, lambda: self._write(change))
        self.metrics.mirrored.inc(len(change.voted))

    async def _write(self, change: Change) -> None:
        try:
            async with redis_errors("write the mirror's entries"):
                unique, repeated = await write(self.redis, change)
        except ServiceUnavailable:
            self.metrics.redis_operations.labels("mirror", "error").inc()
            raise
        self.metrics.redis_operations.labels("mirror", "success").inc()
        self.metrics.patterns_unique.inc(unique)
        self.metrics.patterns_repeated.inc(repeated)


async def write(redis: Redis, change: Change) -> tuple[int, int]:
    """Write a change in one round trip.

    Returns:
        The number of new prefixes of unknown hashes, and of repetitions of known ones.
    """
    keys = [VOTED_HASHES, REBUILD_LOCK, REBUILD_HASHES, REBUILD_COUNTERS]
    pipe: Any = redis.pipeline(transaction=False)
    for arguments in script_calls(change):
        pipe.eval(WRITE_SCRIPT, len(keys), *keys, *arguments)
    for one in change.patterns:
        counts = [part for pair in one.counts.items() for part in pair]
        place = (one.partition, one.log_id.hex(), one.offset, MAX_PATTERNS)
        pipe.eval(PATTERN_SCRIPT, 2, PATTERN_OFFSETS, PATTERNS_SEEN, *place, *counts)
    answers = await pipe.execute()
    counted = answers[len(answers) - len(change.patterns) :]
    return sum(unique for unique, _ in counted), sum(repeated for _, repeated in counted)


async def check_mirror(redis: Redis, reader: LogReader, partitions: int) -> None:
    """Compare the mirror with a log that holds no vote yet, before the first write to it.

    Raises:
        LogMismatch: the mirror has voters, but the log has no votes.
        ServiceUnavailable: Kafka or Redis does not answer.
    """
    ends = await reader.end_offsets(VALIDATION_TOPIC, range(partitions))
    if max(ends.values()) > 1:
        return
    async with redis_errors("count the voters"):
        voted = await redis.scard(VOTED_HASHES)
    if voted:
        raise LogMismatch(
            f"The set {VOTED_HASHES} has {voted} members, but the log holds no vote",
            where={"set": VOTED_HASHES, "topic": VALIDATION_TOPIC},
            todo=OLD_VOTERS,
        )
