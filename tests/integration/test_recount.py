"""`scrutin audit verify` on the real chain: each kind of tampering is found and named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition
from msgspec import structs

from schemas.codec import decode_input, decode_voted, encode
from schemas.genesis import Genesis
from schemas.voted import VotedRecord
from schemas.votes import VoteBatch
from streams.adapters.kafka.clients import kafka_admin
from streams.adapters.kafka.view import LogView, Record
from streams.core.topics import VALIDATION_TOPIC, changelog_topic
from streams.devstack import Stack
from streams.load.election import LoadPlan
from streams.maintenance.recount.findings import DifferenceKind
from streams.maintenance.recount.verify import IN_MEMORY, RecountReport, recount
from streams.proof.checkpoints import Checkpoint, Head, body_of
from streams.proof.notes import Signer, Verifier, sign
from streams.proof.store import take_checkpoint
from streams.settings.configs import DeploymentConfig
from streams.settings.kafka_security import client
from tests.harness import Chain, database, redis_of, until
from tests.integration.cli_harness import run_cli
from tests.integration.proof_harness import no_bars

SECRET = "a secret of the proof, of one test only"
SETTINGS = {"SCRUTIN_PARTITIONS": "2", "SCRUTIN_PROOF_SECRET": SECRET}
PLAN = LoadPlan(votes=1200, laws=2, duplicates=0.05, unknown=0.02, malformed=0.02, seed=21)
MORE = LoadPlan(votes=300, laws=2, citizens=1600, seed=22)
ROW = "(SELECT id FROM vote_audit WHERE source_partition = 0 ORDER BY id OFFSET 10 LIMIT 1)"
COLUMNS = """vote_hash, voter_hash, citizen_id, law_id, contest, candidate_id, choice, "timestamp",
    processed_timestamp, metadata, source_partition, source_offset, source_index"""

TAMPERED = {
    # What is typed -> the kind and the table that the recount names.
    f"UPDATE vote_audit SET choice = 'other' WHERE id = {ROW}": ("row-changed", "vote_audit"),
    f"UPDATE vote_audit SET citizen_id = 'other' WHERE id = {ROW}": ("row-changed", "vote_audit"),
    f"DELETE FROM vote_audit WHERE id = {ROW}": ("row-missing", "vote_audit"),
    f"""INSERT INTO vote_audit ({COLUMNS}) SELECT repeat('e', 64), {COLUMNS.partition(",")[2]}
        FROM vote_audit WHERE id = {ROW}""": ("row-added", "vote_audit"),
    """WITH a AS (SELECT max(id) AS last FROM vote_audit WHERE source_partition = 0)
        UPDATE vote_audit SET source_offset = source_offset + 1000000
        WHERE id = (SELECT last FROM a)""": ("row-missing", "vote_audit"),
    """UPDATE vote_audit AS v SET source_offset = o.source_offset, source_index = o.source_index
        FROM vote_audit AS o WHERE v.source_partition = 0 AND o.source_partition = 0
            AND v.id + o.id = (SELECT min(id) + max(id) FROM vote_audit WHERE source_partition = 0)
        """: ("row-reordered", "vote_audit"),
    "UPDATE vote_audit SET source_partition = 9 WHERE source_partition = 1": (
        "row-missing",
        "vote_audit",
    ),
    "UPDATE rejected_votes SET reason = 'other' WHERE status = 'invalid'": (
        "row-changed",
        "rejected_votes",
    ),
    "DELETE FROM rejected_votes WHERE status = 'duplicate'": ("row-missing", "rejected_votes"),
    "UPDATE contest_results SET votes = votes + 1 WHERE choice = 'oui'": (
        "totals",
        "contest_results",
    ),
    "UPDATE vote_results SET non_count = non_count + 1": ("totals", "vote_results"),
    "UPDATE vote_windows SET votes = votes + 1": ("windows", "vote_windows"),
    "UPDATE duplicate_attempts SET attempt_count = 9": ("duplicates", "duplicate_attempts"),
    "UPDATE control_progress SET source_offset = source_offset + 1": (
        "closing",
        "control_progress",
    ),
    "UPDATE proof_leaves SET hashes = substr(hashes, 1, length(hashes) - 1) || 'x'": (
        "stored-tree",
        "proof_leaves",
    ),
    "UPDATE sink_offsets SET tree_peaks = '\\x00'": ("stored-tree", "sink_offsets"),
    "UPDATE sink_offsets SET tree_secret = '\\x00'": ("secret", ""),
    "DELETE FROM proof_checkpoints WHERE size = 2": ("checkpoint-missing", ""),
    "UPDATE proof_checkpoints SET note = replace(note, ' oui ', ' non ') WHERE size = 2": (
        "checkpoint-signature",
        "",
    ),
    "UPDATE proof_checkpoints AS c SET note = o.note FROM proof_checkpoints AS o"
    " WHERE c.size + o.size = 3": ("checkpoint-chain", ""),
}

TABLES = (
    *("vote_audit", "rejected_votes", "contest_results", "vote_results", "vote_windows"),
    *("duplicate_attempts", "control_progress", "proof_leaves", "sink_offsets"),
    "proof_checkpoints",
)


@dataclass
class Counted:
    """A count that was signed twice."""

    config: DeploymentConfig
    db: asyncpg.Connection
    signer: Signer
    seen: dict[int, str]

    async def recount(
        self,
        config: DeploymentConfig | None = None,
        seen: dict[int, str] | None = None,
        in_memory: int = IN_MEMORY,
    ) -> RecountReport:
        return await recount(
            config or self.config,
            [self.signer.verifier],
            self.seen if seen is None else seen,
            no_bars,
            processes=1,
            in_memory=in_memory,
        )


@pytest.mark.timeout(480)
async def test_each_kind_of_tampering_is_named(stack: Stack, tmp_path: Path) -> None:
    async with Chain(stack, tmp_path, settings=SETTINGS) as chain, counted(chain) as count:
        report = await count.recount()
        assert report.equal, report.as_dict()
        assert (report.votes, report.checkpoints) == (PLAN.votes + MORE.votes, 2)
        assert report.audit_rows == report.votes
        # With the voters on disk, as for many more.
        assert await count.recount(in_memory=0) == report
        for statements in rounds():
            await one_round(count, statements)
        assert (await count.recount()).equal
        await another_secret(count)
        await another_content_of_a_signature(count)
        await an_edited_voted_table(count)
        await redis_decides_nothing(chain, count)
        await the_command(chain, count, tmp_path)
        await a_rewritten_log(count)
        await a_truncated_log(count)


@asynccontextmanager
async def counted(chain: Chain) -> AsyncIterator[Counted]:
    await chain.load_roll(PLAN)
    await chain.start()
    signer = Signer.new("votes.example.org")
    for words in (("create", "law-001"), ("open", "law-001")):
        done = await asyncio.to_thread(run_cli, chain.env, "contest", *words, "--wait", "60")
        assert done.returncode == 0, done.stderr
    db = await database(chain.settings)
    try:
        assert await chain.publish(PLAN)
        await settled(db, PLAN.votes)
        notes = [await take_checkpoint(db, signer)]
        await chain.load_roll(MORE)
        assert await chain.publish(MORE)
        await settled(db, PLAN.votes + MORE.votes)
        done = await asyncio.to_thread(
            run_cli, chain.env, "contest", "close", "law-001", "--yes", "--wait", "60"
        )
        assert done.returncode == 0, done.stderr
        notes.append(await take_checkpoint(db, signer))
        seen = {note.size: note.note.text() for note in notes if note is not None}
        assert sorted(seen) == [1, 2]
        # The sink must not meet what follows.
        for program in chain.programs:
            assert await program.terminate() == 0
        yield Counted(chain.deployment, db, signer, seen)
    finally:
        await db.close()


async def settled(db: asyncpg.Connection, votes: int) -> None:
    async def all_counted() -> bool:
        return bool(await db.fetchval("SELECT count(*) FROM vote_audit") == votes)

    await until(all_counted, f"{votes} votes")


def rounds() -> Iterator[dict[str, str]]:
    """Statements by the table that they change, one for each table at a time."""
    by_table: dict[str, list[str]] = {}
    for statement in TAMPERED:
        words = statement.split()
        table = next(name for name in TABLES if name in words)
        by_table.setdefault(table, []).append(statement)
    for number in range(max(map(len, by_table.values()))):
        yield {name: of[number] for name, of in by_table.items() if number < len(of)}


async def one_round(count: Counted, statements: dict[str, str]) -> None:
    """Tamper with several tables, look, and put everything back."""
    for table, statement in statements.items():
        await unchecked(count.db, table)
        await count.db.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")
        assert (await count.db.execute(statement)).split()[-1] != "0", statement
    try:
        report = await count.recount()
        found = {(one.kind, one.table) for one in report.findings}
        missed = [each for each in statements.values() if TAMPERED[each] not in found]
        assert not missed, (missed, report.as_dict())
    finally:
        for table in statements:
            await put_back(count.db, table)


async def unchecked(db: asyncpg.Connection, table: str) -> None:
    """The owner of a database can put checks aside; a view is written by a trigger."""
    role = "origin" if table == "vote_audit" else "replica"
    await db.execute(f"SET session_replication_role = {role}")


async def put_back(db: asyncpg.Connection, table: str) -> None:
    await unchecked(db, table)
    rows = await db.fetch(
        "SELECT quote_ident(column_name) FROM information_schema.columns WHERE"
        " table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'",
        table,
    )
    columns = ", ".join(row[0] for row in rows)
    await db.execute(f"DELETE FROM {table}")
    await db.execute(
        f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE"
        f" SELECT {columns} FROM kept_{table}"
    )
    await db.execute(f"DROP TABLE kept_{table}")


async def another_secret(count: Counted) -> None:
    other = replace(count.config, proof_secret="another secret, of thirty-two letters")
    kinds = {one.kind for one in (await count.recount(other)).findings}
    assert {DifferenceKind.SECRET, DifferenceKind.TREE, DifferenceKind.STORED_TREE} <= kinds


async def another_content_of_a_signature(count: Counted) -> None:
    """The log's own key signs another content: others have the first."""
    first = Checkpoint.parse(count.seen[1])
    totals = {key: votes + 1 for key, votes in first.statement.totals.items()}
    text = replace(first.statement, totals=totals).text()
    head = Head().after(text)
    lie = sign(body_of(first.origin, 1, head.root, text), [count.signer])
    await count.db.execute("UPDATE proof_checkpoints SET note = $1 WHERE size = 1", lie)
    try:
        report = await count.recount()
        kinds = {one.kind for one in report.findings}
        # The second still continues the first one.
        expected = {
            DifferenceKind.SPLIT_VIEW,
            DifferenceKind.CHECKPOINT_CHAIN,
            DifferenceKind.CHECKPOINT_TOTALS,
        }
        assert expected <= kinds, report.as_dict()
        # Of another log: its key is not the one that was published.
        other = Signer.new("votes.example.org")
        await count.db.execute(
            "UPDATE proof_checkpoints SET note = $1 WHERE size = 1",
            sign(body_of(first.origin, 1, head.root, text), [other]),
        )
        kinds = {one.kind for one in (await count.recount(seen={})).findings}
        assert DifferenceKind.CHECKPOINT_SIGNATURE in kinds
    finally:
        await count.db.execute(
            "UPDATE proof_checkpoints SET note = $1 WHERE size = 1", count.seen[1]
        )


async def an_edited_voted_table(count: Counted) -> None:
    """In a copy of the changelog one voter has not voted, or a record is missing."""
    topic = changelog_topic(count.config.kafka.app_id)
    servers = count.config.kafka.servers
    records = await records_of(servers, topic)
    edited = next(
        n for n, r in enumerate(records) if getattr(decode_voted(r.value or b""), "repeats", None)
    )
    change = decode_voted(records[edited].value or b"")
    assert isinstance(change, VotedRecord)
    forged = encode(VotedRecord(change.log_id, change.first_votes, change.contests, [], []))
    for app_id, value in (("edited", forged), ("missing", None)):
        values = [value if n == edited else record.value for n, record in enumerate(records)]
        await write_topic(servers, changelog_topic(app_id), records, values)
        other = replace(count.config, kafka=replace(count.config.kafka, app_id=app_id))
        report = await count.recount(other)
        [finding] = report.findings
        offset = int.from_bytes(records[edited].key or b"", "big")
        assert (finding.kind, finding.offset) == (DifferenceKind.VOTED_TABLE, offset), (
            report.as_dict()
        )


async def a_rewritten_log(count: Counted) -> None:
    """The log is written again: with another choice in it, with another identity, as it was."""
    servers = count.config.kafka.servers
    records = await records_of(servers, VALIDATION_TOPIC)
    kept = [record.value or b"" for record in records]
    decoded = [decode_input(value) for value in kept]
    first = next(n for n, one in enumerate(decoded) if isinstance(one, VoteBatch))
    batch, begin = decoded[first], decoded[0]
    assert isinstance(batch, VoteBatch)
    assert isinstance(begin, Genesis)
    choice = "non" if batch.votes[0].choice == "oui" else "oui"
    vote = structs.replace(batch.votes[0], choice=choice)
    changed = encode(structs.replace(batch, votes=[vote, *batch.votes[1:]]))
    other = encode(structs.replace(begin, log_id=bytes(len(begin.log_id))))
    for place, value, kinds in (
        (first, changed, {DifferenceKind.TREE, DifferenceKind.STORED_TREE}),
        (0, other, {DifferenceKind.LOG_REPLACED}),
        (0, kept[0], set()),
    ):
        await remove_topic(servers, VALIDATION_TOPIC)
        values = [value if n == place else one for n, one in enumerate(kept)]
        await write_topic(servers, VALIDATION_TOPIC, records, values)
        report = await count.recount()
        assert kinds <= {one.kind for one in report.findings}, report.as_dict()
    assert {one.table for one in report.findings} == {"vote_results"}


async def records_of(servers: list[str], topic: str) -> list[Record]:
    async with LogView(servers) as view:
        spans = await view.spans(topic)
        return [r async for several in view.read(topic, spans) for r in several]


async def remove_topic(servers: list[str], topic: str) -> None:
    async with kafka_admin(servers) as admin:
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await until(gone, "the topic is gone")


async def write_topic(
    servers: list[str], topic: str, records: Sequence[Record], values: Sequence[bytes | None]
) -> None:
    """A new topic with the records' keys and places; those without a value are left out."""
    async with kafka_admin(servers) as admin:
        await admin.create_topics([NewTopic(topic, 2, 1)])
    async with AIOKafkaProducer(**client(servers)) as producer:
        for record, value in zip(records, values, strict=True):
            if value is not None:
                to = {"key": record.key, "partition": record.partition}
                await producer.send_and_wait(topic, value, **to)


async def redis_decides_nothing(chain: Chain, count: Counted) -> None:
    redis = redis_of(chain.settings)
    await redis.spop("voted_hashes")
    await redis.sadd("valid_hashes", "f" * 64)
    await redis.aclose()
    assert (await count.recount()).equal
    done = await asyncio.to_thread(run_cli, chain.env, "mirror", "check")
    assert done.returncode == 3, done.stdout


async def the_command(chain: Chain, count: Counted, tmp_path: Path) -> None:
    for size, note in count.seen.items():
        write(tmp_path / "checkpoints" / f"{size}.txt", note)
    key = ["--key", count.signer.verifier.text, "--json"]
    words = [
        "audit",
        "verify",
        "--key",
        *key[1:],
        "--seen",
        str(tmp_path / "checkpoints"),
        "--processes",
        "2",
    ]
    done = await asyncio.to_thread(run_cli, chain.env, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["equal"], found["checkpoints"], found["key_given"]) == (True, 2, True)
    await count.db.execute("UPDATE vote_results SET oui_count = 0")
    done = await asyncio.to_thread(run_cli, chain.env, *words)
    assert done.returncode == 3
    assert "vote_results" in done.stdout
    assert Verifier.parse(count.signer.verifier.text) == count.signer.verifier


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


async def a_truncated_log(count: Counted) -> None:
    admin = AIOKafkaAdminClient(**client(count.config.kafka.servers))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(VALIDATION_TOPIC, 0): RecordsToDelete(3)})
    finally:
        await admin.close()
    [finding] = (await count.recount()).findings
    assert (finding.kind, finding.partition) == (DifferenceKind.LOG_TRUNCATED, 0)
