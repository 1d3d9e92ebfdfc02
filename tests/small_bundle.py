"""Makes a bundle without services: a small count with checkpoints, published.

A law, an election by instant run-off in two regions, and one with a single choice for the country.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.codec import encode
from schemas.control import Conduct, RankedRules
from schemas.verdicts import Acceptance, Reason, Rejection, Status, VerdictBatch
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.core.leaves import OpenedLeaf, opened_leaves, secret_of
from streams.core.merkle import extend, inclusion_ranges, root_of
from streams.core.transition import verdicts_on
from streams.elections.definitions import (
    CandidateDefinition,
    Definitions,
    ElectionDefinition,
    Region,
)
from streams.elections.published import PublishedContest, conduct_fields, of_choices, of_election
from streams.proof.bundle import BundleFolder, LeafWriter, leaf_row
from streams.proof.bundle_readme import SCHEMA, readme
from streams.proof.checkpoints import (
    Checkpoint,
    ClosedContest,
    Head,
    Statement,
    TreeHead,
    body_of,
)
from streams.proof.notes import COSIGNATURE, ED25519, Signer, sign

SECRET: Final = secret_of("an invented secret for the tests")
ORIGIN: Final = "votes.example.org/2026"
KEY: Final = Signer(ORIGIN, ED25519, bytes(range(32)))
OTHER_KEY: Final = Signer(ORIGIN, ED25519, bytes(range(32, 64)))
WITNESS: Final = Signer("witness.example.net/w1", COSIGNATURE, bytes(range(64, 96)))
BEGIN: Final = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)

LAW: Final = "law é|1"
RANKED: Final = "election:1"
SINGLE: Final = "election:2"

CONDUCT: Final = Conduct(blank_ballots=True)


def definitions() -> Definitions:
    """Of the two elections."""
    candidates = [(n, 1, 1 if n < 15 else 2) for n in range(11, 19)] + [
        (n, 2, None) for n in (21, 22, 23)
    ]
    return Definitions(
        regions={1: Region(1, "N", "North", None), 2: Region(2, "S", "South", None)},
        elections={
            1: ElectionDefinition(
                1, "C", "Council", None, None, None, "ranked_choice", rules=RankedRules()
            ),
            2: ElectionDefinition(
                2, "P", "President", None, None, None, "single_choice", conduct=CONDUCT
            ),
        },
        candidates={
            n: CandidateDefinition(n, election, region, None, None, f"Candidate {n}", None, None)
            for n, election, region in candidates
        },
    )


class SmallCount:
    """A log of two partitions with its checkpoints.

    Args:
        votes: how many arrive.
        seed: of the votes.
        every: votes between two checkpoints.
        weighted: whether votes on the law have weights of 1 to 3.
    """

    def __init__(
        self, votes: int = 400, *, seed: int = 1, every: int = 150, weighted: bool = False
    ) -> None:
        self.weighted = weighted
        self.random = random.Random(seed)
        self.log_ids = [hashlib.sha256(bytes([seed, n])).digest()[:16] for n in range(2)]
        self.batches: list[list[VerdictBatch]] = [[], []]
        self.leaves: list[list[OpenedLeaf]] = [[], []]
        self.totals: Counter[tuple[str, str]] = Counter()
        self.regions: Counter[tuple[str, str, str | None]] = Counter()
        self.notes: list[str] = []
        self.head = Head()
        self.at = BEGIN
        self._trees: list[tuple[int, bytes]] = [(0, b""), (0, b"")]
        for first in range(0, votes, every):
            for start in range(first, min(first + every, votes), 50):
                self.add(
                    [self._vote(n) for n in range(start, min(start + 50, votes, first + every))]
                )
            self.checkpoint(final=first + every >= votes)

    def _vote(self, n: int) -> Vote:
        draw = self.random.random
        region = self.random.choice(("1", "2"))
        if draw() < 0.5:
            contest, kind, choice = LAW, Kind.LAW, "oui" if draw() < 0.6 else "non"
        elif draw() < 0.7:
            own = range(11, 15) if region == "1" else range(15, 19)
            weighed = sorted(own, key=lambda name: draw() * (name - 5))
            ranks = [str(name) for name in weighed[: self.random.randint(0, 4)]]
            if ranks and draw() < 0.1:
                ranks[0] = "="
            if len(ranks) > 1 and draw() < 0.1:
                ranks[1] = "=".join(sorted(ranks[1:3]))
            contest, kind, choice = RANKED, Kind.CANDIDATE, ">".join(ranks) or ">"
        else:
            contest, kind = SINGLE, Kind.CANDIDATE
            choice = self.random.choice(("21", "21", "22", "23", ">"))
        voter = hashlib.sha256(f"voter {n}".encode()).hexdigest()
        identity = hashlib.blake2b(f"{n} {choice}".encode(), digest_size=16).digest()
        metadata = json.dumps({"region_id": region})
        return Vote(voter, contest, kind, choice, Flag.ON_ROLL, identity, 0, None, metadata)

    def add(self, votes: list[Vote]) -> None:
        """A record of the input log, with some votes that do not count."""
        partition = len(self.batches[0]) > len(self.batches[1])
        bad = b"not a vote %d" % len(self.batches[partition])
        malformed = Malformed(
            "not_json", 0, bad[:16].ljust(16), len(bad), hashlib.sha256(bad).digest(), bad
        )
        batch = VoteBatch(0, "bridge", votes, [malformed])
        refused = [Rejection(len(votes), Status.MALFORMED, "not_json")]
        if len(votes) > 4:
            refused[:0] = [
                Rejection(1, Status.DUPLICATE, Reason.ALREADY_VOTED, 1),
                Rejection(3, Status.INVALID, Reason.NOT_ON_ROLL),
            ]
        offset = len(self.batches[partition]) + 1
        rejected = {each.index for each in refused}
        weights = {
            number: 1 + number % 3
            for number, vote in enumerate(votes)
            if self.weighted and vote.contest == LAW and number not in rejected
        }
        verdicts = verdicts_on(
            self.log_ids[partition],
            int(partition),
            offset,
            rejections=refused,
            acceptances=[Acceptance(n, weight) for n, weight in weights.items() if weight > 1],
            raw=encode(batch),
        )
        self.batches[partition].append(verdicts)
        self.leaves[partition] += (new := list(opened_leaves(SECRET, verdicts, batch)))
        size, peaks = self._trees[partition]
        hashes = [one.leaf.hash() for one in new]
        self._trees[partition] = size + len(new), extend(size, peaks, hashes)[0]
        for number, vote in enumerate(votes):
            if number not in rejected:
                self.totals[vote.contest, vote.choice] += weights.get(number, 1)
                region = msgspec.json.decode(vote.metadata or "{}").get("region_id")
                self.regions[vote.contest, vote.choice, region] += 1

    def statement(self, *, final: bool = False) -> Statement:
        """What the count holds now."""
        return Statement(
            at=self.at,
            epoch=0,
            trees=tuple(
                TreeHead(n, self.log_ids[n], size, root_of(peaks), len(self.batches[n]))
                for n, (size, peaks) in enumerate(self._trees)
            ),
            totals=dict(self.totals),
            closings=tuple(
                ClosedContest(name, {n: len(self.batches[n]) for n in range(2)})
                for name in (LAW, RANKED, SINGLE)
            )
            if final
            else (),
            keys=(KEY.verifier,),
        )

    def checkpoint(
        self, *, final: bool = False, signers: Iterable[Signer] = (KEY, WITNESS), text: str = ""
    ) -> str:
        """Sign it."""
        self.at += timedelta(seconds=10)
        text = text or self.statement(final=final).text()
        self.head = self.head.after(text)
        body = body_of(ORIGIN, self.head.size, self.head.root, text)
        self.notes.append(sign(body, signers, int(self.at.timestamp())))
        return self.notes[-1]

    def contests(self, public: Iterable[str] = ()) -> list[PublishedContest]:
        """As published."""
        opened = frozenset(public)
        found = []
        for name, kind in ((RANKED, "election"), (SINGLE, "election"), (LAW, "law")):
            about = {
                "contest": name,
                "kind": kind,
                "title": name,
                "state": "closed",
                "opens_at": None,
                "closes_at": None,
                "choices": None,
                "enforced": True,
                "openings": "public" if name in opened else "withheld",
                "conduct": conduct_fields(Conduct(weighted=self.weighted and kind == "law")),
                "names": {},
            }
            if kind == "law":
                totals = {c: n for (of, c), n in self.totals.items() if of == name}
                found.append(of_choices(about, totals, final=True))
                continue
            known = definitions()
            ballots = [(c, r, n) for (of, c, r), n in self.regions.items() if of == name]
            election = known.elections[1 if name == RANKED else 2]
            found.append(of_election(about, known, election, ballots, final=True))
        return found

    def write(self, path: Path, public: Iterable[str] = ()) -> Path:
        """Publish it."""
        public = frozenset(public)
        last = Checkpoint.parse(self.notes[-1])
        contests = self.contests(public)
        with BundleFolder(path) as folder:
            with folder.lines("checkpoints.jsonl") as out:
                out.write(*({"size": n, "note": note} for n, note in enumerate(self.notes, 1)))
            folder.document(
                "keys.json",
                {"log": [KEY.verifier.text], "witnesses": [WITNESS.verifier.text]},
            )
            folder.document("contests.json", [each.about for each in contests])
            results = {each.about["contest"]: each.result for each in contests}
            folder.document("results.json", results)
            for number, each in enumerate(contests):
                with folder.lines(f"openings/{number}.jsonl") as out:
                    out.write(*each.rows)
            for tree in last.statement.trees:
                with folder.lines(f"leaves/{tree.partition}.jsonl") as out:
                    writer = LeafWriter(tree, out, secret=SECRET, public=public)
                    for verdicts in self.batches[tree.partition]:
                        writer.add(verdicts)
                    writer.end()
            folder.document("schema.json", SCHEMA)
            folder.text("README.md", readme(last, [each.about for each in contests]))
            folder.manifest(
                {"origin": ORIGIN, "created": "2026-11-29", "software": "scrutin", "begins": {}}
            )
        return path

    def receipt(self, tree: int, index: int, note: str = "") -> dict[str, Any]:
        """Of a leaf, against the last checkpoint or another."""
        note = note or self.notes[-1]
        size = next(t.size for t in Checkpoint.parse(note).statement.trees if t.partition == tree)
        hashes = [one.leaf.hash() for one in self.leaves[tree]]
        path = [
            root_of(extend(0, b"", hashes[a:b])[0]).hex() for a, b in inclusion_ranges(index, size)
        ]
        one = self.leaves[tree][index]
        return {
            "format": "scrutin-receipt/1",
            "checkpoint": note,
            "tree": tree,
            "index": index,
            "leaf": leaf_row(one.leaf),
            "path": path,
            "opening": {"salt": one.salt.hex(), "opening": one.opening.hex()},
        }


def edit_lines(folder: Path, name: str, change: Callable[[list[Any]], None]) -> None:
    """Change rows of a file, and its line in the manifest, as a forger would."""
    path = folder / name
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(rows)
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    relist(folder, name)


def edit_document(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """The same for a document."""
    path = folder / name
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    relist(folder, name)


def relist(folder: Path, name: str) -> None:
    """Let the manifest list a file as it is now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    raw = (folder / name).read_bytes()
    manifest["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    path.write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
