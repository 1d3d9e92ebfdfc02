"""The repository has only text: a package or an archive that slipped in cannot be reviewed."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_tracked_file_is_text() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(paths) > 500
    binary = [
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_file() and b"\0" in path.read_bytes()
    ]
    assert binary == []
