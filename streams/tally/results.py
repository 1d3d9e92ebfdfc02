"""Formats the published result as clients of older deployments read it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.decryption import PlainTally
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.manifest import Manifest, first_language
from streams.tally.work import DescribedElection


def add_counts(counts: dict[str, int], tallies: Iterable[PlainTally]) -> None:
    """Add the counts of tallies to `counts`, by selection."""
    for tally in tallies:
        for selection, votes in tally.counts().items():
            counts[selection] = counts.get(selection, 0) + votes


@dataclass(frozen=True)
class Result:
    """The result of an election."""

    cast: int
    spoiled: int
    counts: Mapping[str, int]
    """Votes by selection."""
    spoiled_ballots: Mapping[str, Mapping[str, int]]
    present: Sequence[str]

    def document(self, described: DescribedElection) -> dict[str, Any]:
        """The result as a JSON object: by contest, and by candidate over all contests."""
        manifest = from_json(Manifest, described.manifest)
        keys = from_json(list[GuardianKey], described.guardians)
        names = {
            candidate.object_id: first_language(candidate.name) or candidate.object_id
            for candidate in manifest.candidates
        }
        contests: dict[str, dict[str, Any]] = {}
        candidates: dict[str, dict[str, Any]] = {}
        for contest in manifest.contests:
            lines = contest.ballot_selections
            total = sum(self.counts.get(line.object_id, 0) for line in lines)
            shown = contests[contest.object_id] = {}
            for line in lines:
                votes = self.counts.get(line.object_id, 0)
                entry = {"votes": votes, "percentage": _percentage(votes, total)}
                name = names.get(line.candidate_id, line.candidate_id)
                shown[line.object_id] = {"name": name, **entry}
                # Two contests may have a candidate of the same name.
                candidates[name if name not in candidates else line.object_id] = entry
        return {
            "election": described.election_id,
            "results": {
                "total_ballots_cast": self.cast + self.spoiled,
                "total_valid_ballots": self.cast,
                "total_spoiled_ballots": self.spoiled,
                "candidates": candidates,
                "contests": contests,
                "spoiled_ballots": self.spoiled_ballots,
            },
            "verification": {
                "ballots": "proofs of every ballot were verified before it was accepted",
                "guardians": [
                    {
                        "id": key.owner_id,
                        "sequence": key.sequence_order,
                        "present": key.owner_id in self.present,
                    }
                    for key in keys
                ],
            },
        }


def _percentage(votes: int, total: int) -> float:
    return round(100 * votes / total, 2) if total else 0.0
