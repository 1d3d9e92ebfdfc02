"""An election with rankings, weights and revotes, announced before the votes come.

Only what is documented: a file for `scrutin election import`, and a roll with weights.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults.votes import ASSEMBLY, ASSEMBLY_CANDIDATES, ASSEMBLY_ID


async def announced(env: Mapping[str, str], folder: Path, weights: Mapping[str, int]) -> None:
    """Announce the election, load its roll, and open it; workers run."""
    election = {
        "elections": [
            {
                "id": ASSEMBLY_ID,
                "election_name": "Assembly",
                "voting_method": "ranked_choice",
                "roll": "table",
                "rules": {"revote": True, "weighted": True},
            }
        ],
        "candidates": [
            {"id": int(each), "last_name": each, "election_id": ASSEMBLY_ID}
            for each in ASSEMBLY_CANDIDATES
        ],
    }
    (tables := folder / "assembly.json").write_text(json.dumps(election))
    rows = "".join(f"{voter},{weight}\n" for voter, weight in sorted(weights.items()))
    (roll := folder / "assembly.csv").write_text(f"hash,weight\n{rows}")
    await _typed(env, "election", "import", str(tables))
    contest = ("--contest", ASSEMBLY)
    await _typed(env, "roll", "load", str(roll), *contest, "--weights", "weight")
    await _typed(env, "contest", "open", ASSEMBLY)


async def _typed(env: Mapping[str, str], *words: str) -> None:
    argv = [sys.executable, "-c", "import streams.cli; streams.cli.main()", *words]
    done = await asyncio.to_thread(
        subprocess.run, argv, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
