"""Receipts on the real chain: over HTTP and AMQP, checked offline, and what tampering leaves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streams.devstack import Stack
from streams.messages.decode import identity_of
from streams.proof.checkpoints import Checkpoint
from streams.proof.notes import Verifier
from streams.proof.receipts import BadProof, read_consistency, read_receipt
from tests.harness import database, redis_of, until
from tests.integration.cli_harness import run_cli
from tests.integration.gateway_harness import (
    Client,
    GatewayChain,
    amqp,
    ballot,
    client_of,
    hash_of,
)
from tests.integration.proof_harness import checked

SECRETS = {
    "SCRUTIN_PROOF_SECRET": "a secret of the proof, of one test only",
    "SCRUTIN_EGRESS": "votes.review,votes.receipts",
}
MESSAGE = {"vote_hash": hash_of(3), "law_id": "L-1", "choice": "non"}


async def test_receipts_from_the_vote_to_its_proof(stack: Stack, tmp_path: Path) -> None:
    async with GatewayChain(stack, tmp_path, settings=SECRETS) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(hash_of(n) for n in range(5)))
        await redis.aclose()
        await chain.start()
        made = await cli(chain, "key", "votes.example.org", str(tmp_path / "log.key"))
        key = Verifier.parse(made)
        async with client_of(chain.gateways[0]) as client:
            receipts = await voted(client, chain)
            path = f"/v2/receipts/{receipts[1]}"
            assert await client.get(path) == (202, {"status": "pending"})
            assert (await client.get("/v2/checkpoints/latest"))[0] == 404
            await signed(chain, tmp_path)
            await what_each_shows(client, receipts, key)
            await what_the_command_says(chain, client, receipts, key, tmp_path)
            await what_the_queue_gives(chain, client, key)
            await how_checkpoints_continue(chain, client, tmp_path, key)
            await what_a_witness_adds(chain, client, tmp_path, key)
            await what_public_openings_publish(chain, tmp_path, key)
            await what_tampering_leaves(chain, client, receipts)


async def cli(chain: GatewayChain, *words: str, fails: bool = False) -> str:
    """The output of `scrutin audit`."""
    done = await asyncio.to_thread(run_cli, chain.env, "audit", *words)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout.strip()


async def signed(chain: GatewayChain, tmp_path: Path) -> None:
    await cli(chain, "checkpoint", "--key", str(tmp_path / "log.key"))


async def voted(client: Client, chain: GatewayChain) -> dict[Any, str]:
    """Receipts of a counted vote, a duplicate, a stranger's, and of a message over AMQP."""
    receipts = {}
    for name, voter in ((1, 1), (2, 2), ("again", 1), ("stranger", 99)):
        status, answer = await client.post("/api/v1/vote", ballot(voter))
        assert status == 202
        receipts[name] = answer["receipt"]
        await client.fate(answer["receipt"])
    await asyncio.to_thread(publish, chain)
    return receipts


def publish(chain: GatewayChain) -> None:
    with amqp(chain.settings) as channel:
        for body in (json.dumps(MESSAGE).encode(), b"no vote"):
            channel.basic_publish("", "votes.validation", body)


async def what_each_shows(client: Client, receipts: dict[Any, str], key: Verifier) -> None:
    shown = {}
    for name, receipt in receipts.items():
        status, document = await client.get(f"/v2/receipts/{receipt}")
        assert status == 200
        assert "opening" not in document
        found = read_receipt(json.dumps(document).encode()).check([key])
        shown[name] = (found.leaf.status, found.leaf.reason, found.choice)
    assert shown == {
        1: ("accepted", "", None),
        2: ("accepted", "", None),
        "again": ("duplicate", "already_voted", None),
        "stranger": ("invalid", "not_on_roll", None),
    }
    _, opened = await client.get(f"/v2/receipts/{receipts[2]}?opened=true")
    assert read_receipt(json.dumps(opened).encode()).check([key]).choice == "oui"
    # A gateway that answers with the proof, leaf or opening of another vote is found.
    _, other = await client.get(f"/v2/receipts/{receipts['again']}?opened=true")
    for field in ("index", "path", "leaf", "opening"):
        lie = json.dumps({**opened, field: other[field]}).encode()
        with pytest.raises(BadProof):
            read_receipt(lie).check([key])
    assert (await client.get("/v2/receipts/nonsense"))[0] == 404


async def what_the_command_says(
    chain: GatewayChain, client: Client, receipts: dict[Any, str], key: Verifier, tmp_path: Path
) -> None:
    file = str(tmp_path / "mine.json")
    words = ["receipt", file, "--key", key.text, "--json"]
    # With the words of the page in one list.
    fetch = ["receipt", file, "--key", key.text, "--id", receipts[1], "--gateway", client.base]
    found = json.loads(await cli(chain, *fetch, "--opened", "--json"))
    assert (found["valid"], found["choice"], found["contest"]) == (True, "oui", "L-1")
    edit(Path(file))
    found = json.loads(await cli(chain, *words, fails=True))
    assert found == {"valid": False, "fault": "salt and opening are not those of the leaf"}


def edit(file: Path) -> None:
    document = json.loads(file.read_text(encoding="utf-8"))
    document["opening"]["opening"] = b"non".hex()
    file.write_text(json.dumps(document), encoding="utf-8")


async def what_the_queue_gives(chain: GatewayChain, client: Client, key: Verifier) -> None:
    body = json.dumps(MESSAGE).encode()
    identity = identity_of(b"", body)
    found: dict[str, dict[str, str]] = {}

    def take() -> bool:
        with amqp(chain.settings) as channel:
            while (got := channel.basic_get("votes.receipts", auto_ack=True))[0] is not None:
                message = json.loads(got[2])
                found[message["identity"]] = message
        return len(found) == 6

    async def taken() -> bool:
        return await asyncio.to_thread(take)

    await until(taken, "six receipts")
    receipt = found[identity.hex()]["receipt"]
    _, document = await client.get(f"/v2/receipts/{receipt}?opened=true")
    checked = read_receipt(json.dumps(document).encode()).check([key], identity)
    assert (checked.leaf.status, checked.choice) == ("accepted", "non")
    with pytest.raises(BadProof, match="another message"):
        read_receipt(json.dumps(document).encode()).check([key], identity_of(b"", b"other"))
    receipt = found[identity_of(b"", b"no vote").hex()]["receipt"]
    _, document = await client.get(f"/v2/receipts/{receipt}")
    assert document["leaf"]["status"] == "malformed"


async def how_checkpoints_continue(
    chain: GatewayChain, client: Client, tmp_path: Path, key: Verifier
) -> None:
    _, answer = await client.post("/api/v1/vote", ballot(4))
    await client.fate(answer["receipt"])
    await signed(chain, tmp_path)
    _, listed = await client.get("/v2/checkpoints?limit=1")
    _, rest = await client.get(f"/v2/checkpoints?after={listed['checkpoints'][-1]['size']}")
    notes = [one["note"] for one in listed["checkpoints"] + rest["checkpoints"]]
    async with client.session.get(f"{client.base}/v2/checkpoints/latest") as latest:
        assert await latest.text() == notes[-1]
    async with client.session.get(f"{client.base}/v2/checkpoints/1") as one:
        assert await one.text() == notes[0]
    before, after = (Checkpoint.parse(note) for note in notes)
    assert after.signer([key]) == key
    later = {tree.partition: tree for tree in after.statement.trees}
    asked: list[tuple[int | None, int, int]] = [(None, before.size, after.size)]
    asked += [(t.partition, t.size, later[t.partition].size) for t in before.statement.trees]
    for tree, start, end in asked:
        of = "" if tree is None else f"&tree={tree}"
        path = f"/v2/proofs/consistency?from={start}&to={end}{of}"
        status, proof = await client.get(path)
        assert status == 200
        read_consistency(json.dumps(proof).encode()).check(before, after)
        if start:
            with pytest.raises(BadProof):
                read_consistency(json.dumps({**proof, "path": ["00" * 32]}).encode()).check(
                    before, after
                )
    assert (await client.get("/v2/proofs/consistency?from=1&to=99999"))[0] == 404
    assert (await client.get("/v2/proofs/consistency?from=3&to=2&tree=0"))[0] == 404


async def what_a_witness_adds(
    chain: GatewayChain, client: Client, tmp_path: Path, key: Verifier
) -> None:
    memory, out, own = (str(tmp_path / name) for name in ("state.json", "seen", "own.key"))
    source = ["witness", client.base, memory, "--key", key.text]
    shown = await cli(chain, *source, "--sign", own, "--name", "w.example", "--out", out)
    witness = shown.split("witness: ")[1].split()[0]
    assert "2 checkpoints, 2 new" in shown
    assert await cli(chain, "cosigned", out, "--witness", witness) == "2 cosignatures"
    _, result = await client.get("/v2/contests/L-1")
    place = result["checkpoint"]
    assert (place["size"], place["votes"], place["witnesses"]) == (2, 4, 1)
    _, listed = await client.get("/v2/checkpoints")
    for one in listed["checkpoints"]:
        assert Checkpoint.parse(one["note"]).note.signed_by(Verifier.parse(witness))
    assert "0 new" in await cli(chain, *source, "--compare", out)


async def what_public_openings_publish(chain: GatewayChain, tmp_path: Path, key: Verifier) -> None:
    chain.env["SCRUTIN_OPENINGS"] = "public"
    await cli(chain, "publish", str(tmp_path / "bundle"))
    leaves = (tmp_path / "bundle" / "leaves").glob("*.jsonl")
    rows = [json.loads(row) for file in leaves for row in file.read_text().splitlines()]
    opened = [row for row in rows if "opening" in row]
    assert {row["contest"] for row in opened} == {"L-1"}
    assert len(opened) == sum(row["contest"] == "L-1" for row in rows)
    said = await checked(tmp_path / "bundle", key.text)
    assert not any("withheld" in line for line in said["not_checked"])


async def what_tampering_leaves(
    chain: GatewayChain, client: Client, receipts: dict[Any, str]
) -> None:
    db = await database(chain.settings)
    try:
        await db.execute("UPDATE vote_audit SET choice = 'non' WHERE voter_hash = $1", hash_of(2))
    finally:
        await db.close()
    status, problem = await client.get(f"/v2/receipts/{receipts[2]}")
    assert (status, problem["status"]) == (409, 409)
    assert (await client.get(f"/v2/receipts/{receipts[1]}"))[0] == 200
