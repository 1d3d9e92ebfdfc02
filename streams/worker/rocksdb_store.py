"""Adapter: partitions of the voted table in RocksDB, for rolls beyond memory and quick restarts.

Each partition has a folder. One write batch holds the voters of some input records, the offset of
the last of these and its changelog record. So after any end of the process the folder is the state
at one position of the changelog, and the rest is read from there. A folder that belongs to another
log, to a deleted changelog, or that cannot be read is emptied.

Only changes that are in the changelog are saved; later decisions stay in memory until then.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import structlog
from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
)

from streams.core.recent_verdicts import RECENT_RECORDS, RecentVerdicts
from streams.core.rules import Rules
from streams.core.voted_partition import VotedPartition
from streams.errors import RecoveryFailed, SettingsError
from streams.worker.rocksdb_fill import FillingVoterStore
from streams.worker.rocksdb_voter_store import (
    RocksDbVoterStore,
    saved_acceptances,
    saved_controls,
    saved_rejections,
    writing,
)

log = structlog.get_logger(__name__)

FORMAT: Final = 1
"""Version of a folder's content; a folder of another version is emptied."""

_META: Final = b"m"

_CACHE_BYTES: Final = 64 * 1024 * 1024
_BUFFER_BYTES: Final = 16 * 1024 * 1024
_BLOOM_BITS: Final = 10
_BOUNDED_FILES: Final = 64
_METADATA_BYTES: Final = 4096


class Position(msgspec.Struct, array_like=True, frozen=True):
    """A record of the changelog."""

    offset: int
    """Its offset in the changelog."""
    digest: bytes
    """:func:`digest` of the record: a recreated topic has other records at its offsets."""


class _Meta(msgspec.Struct, array_like=True, frozen=True):
    format: int
    log_id: bytes
    applied: int
    voters: int
    position: Position | None


_encoder: Final = msgspec.msgpack.Encoder()
_meta: Final = msgspec.msgpack.Decoder(_Meta)


def digest(key: bytes, value: bytes) -> bytes:
    """Digest of a changelog record, 16 bytes."""
    return blake2b(key + value, digest_size=16).digest()


class RocksDbVotedStore:
    """The folders of the partitions that this process owns.

    Args:
        directory: not used by another process at the same time.
        cache_bytes: for blocks of all partitions.
        buffer_bytes: for what one partition has not yet written, twice while it is written.
        bounded: keep indexes and filters in the cache too, so that memory does not grow with the
            voters.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cache_bytes: int = _CACHE_BYTES,
        buffer_bytes: int = _BUFFER_BYTES,
        bounded: bool = False,
    ) -> None:
        self._directory = directory
        self._open: dict[int, Rdict] = {}
        self._positions: dict[int, Position | None] = {}
        self._new_options = partial(_options, Cache(cache_bytes), buffer_bytes, bounded=bounded)

    def open(self, partition: int, log_id: bytes) -> VotedPartition:
        """The saved state of a partition; empty if it is of another log or cannot be read.

        Raises:
            SettingsError: another process has the folder open.
        """
        db = self._database(partition)
        try:
            meta = self._read_meta(db, partition, log_id)
            if meta is not None:
                state = _load(db, partition, meta)
                self._open[partition], self._positions[partition] = db, meta.position
                return state
        except (msgspec.DecodeError, struct.error) as error:
            log.error("the store cannot be read", partition=partition, error=str(error))
        db.close()
        return self.empty(partition)

    def empty(self, partition: int) -> VotedPartition:
        """Empty a partition's folder; returns an empty state."""
        self.close(partition)
        shutil.rmtree(self._path(partition), ignore_errors=True)
        db = self._open[partition] = self._database(partition)
        self._positions[partition] = None
        return VotedPartition(partition, voters=RocksDbVoterStore(db, 0))

    @contextmanager
    def filling(self, partition: int) -> Iterator[FillingVoterStore]:
        """A store for all voters of a changelog, for a folder that :meth:`empty` made.

        The folder stays without a state until the next :meth:`save`, so a filling that was
        interrupted begins again.
        """
        path = self._path(partition)
        with TemporaryDirectory(prefix="fill-", dir=path, ignore_cleanup_errors=True) as files:
            voters = FillingVoterStore(self._open[partition], self._new_options(), Path(files))
            try:
                yield voters
            finally:
                voters.close()

    def position(self, partition: int) -> Position | None:
        """Last changelog record up to which a partition's folder is complete."""
        return self._positions.get(partition)

    def save(self, state: VotedPartition, position: Position | None) -> None:
        """Save a partition's changes since the last save, atomically.

        Args:
            state: all applied records are in the changelog.
            position: changelog record up to which the state is complete; None: unchanged.

        Raises:
            RecoveryFailed: the disk cannot be written.
        """
        voters = state.voters
        assert isinstance(voters, RocksDbVoterStore)
        assert state.log_id is not None
        number = state.partition
        position = position or self._positions[number]
        batch = WriteBatch(raw_mode=True)
        voters.fill(batch)
        meta = _Meta(FORMAT, state.log_id, state.applied, len(voters), position)
        batch.put(_META, _encoder.encode(meta))
        with writing(self._path(number)):
            self._open[number].write(batch)
        voters.saved()
        self._positions[number] = position

    def close(self, partition: int) -> None:
        """Close a partition's folder, if it is open."""
        self._positions.pop(partition, None)
        db = self._open.pop(partition, None)
        if db is not None:
            db.close()

    def close_all(self) -> None:
        """Close all folders."""
        for partition in list(self._open):
            self.close(partition)

    def _path(self, partition: int) -> Path:
        return self._directory / str(partition)

    def _database(self, partition: int) -> Rdict:
        path = self._path(partition)
        path.mkdir(parents=True, exist_ok=True)
        try:
            return Rdict(str(path), self._new_options())
        except Exception as error:
            # The binding has one exception type for all errors.
            if "lock" in str(error).lower():
                raise SettingsError(
                    "Another process has the voted table's folder open",
                    where={"folder": path},
                    todo="Give each worker a SCRUTIN_DATA_DIR of its own",
                ) from error
            log.error("the store cannot be opened", partition=partition, error=str(error))
        shutil.rmtree(path)
        try:
            return Rdict(str(path), self._new_options())
        except Exception as error:
            raise RecoveryFailed(
                "The voted table's folder cannot be used",
                where={"folder": path},
                todo="Check whether SCRUTIN_DATA_DIR is writable and has free space",
            ) from error

    @staticmethod
    def _read_meta(db: Rdict, partition: int, log_id: bytes) -> _Meta | None:
        stored = db.get(_META)
        if stored is None:
            return None
        meta = _meta.decode(stored)
        if meta.format != FORMAT or meta.log_id != log_id:
            log.warning("the store is of another log or version", partition=partition)
            return None
        return meta


def _load(db: Rdict, partition: int, meta: _Meta) -> VotedPartition:
    rules = Rules()
    for control in saved_controls(db):
        rules.apply(control)
    first = max(0, meta.applied - RECENT_RECORDS + 1)
    recent = RecentVerdicts()
    rejected, accepted = dict(saved_rejections(db)), saved_acceptances(db)
    for offset in range(first, meta.applied + 1):
        # Records without rejections have none on disk.
        recent.put(offset, rejected.get(offset, []), accepted.get(offset, []))
    return VotedPartition(
        partition,
        log_id=meta.log_id,
        applied=meta.applied,
        rules=rules,
        voters=RocksDbVoterStore(db, meta.voters),
        recent=recent,
    )


def _options(cache: Cache, buffer_bytes: int, *, bounded: bool) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    # Nearly all lookups are for voters who have not voted yet.
    blocks.set_bloom_filter(_BLOOM_BITS, block_based=False)
    options = Options(raw_mode=True)
    if bounded:
        blocks.set_cache_index_and_filter_blocks(v=True)
        # A filter of a whole file is larger than a shard of the cache, and would be read for each
        # look-up.
        blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
        # Its stub has another name for the argument.
        blocks.set_partition_filters(True)
        blocks.set_metadata_block_size(_METADATA_BYTES)
        blocks.set_pin_top_level_index_and_filter(v=True)
        options.set_max_open_files(_BOUNDED_FILES)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(buffer_bytes)
    # Digests do not compress.
    options.set_compression_type(DBCompressionType.none())
    options.set_keep_log_file_num(2)
    return options
