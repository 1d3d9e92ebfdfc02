"""The scripts of findings/: nothing in the folder of their caller has a part in what they see."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "findings").glob("*.sh"))
PROGRAMS = ("python3", "node", "npm", "cargo", "java", "javac", "mvn", "go")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_works_in_a_folder_of_its_own(script: Path, tmp_path: Path) -> None:
    """Python reads modules such as `enum.py` from where it is started, and others do alike."""
    (programs := tmp_path / "programs").mkdir()
    (caller := tmp_path / "caller").mkdir()
    for name in PROGRAMS:
        (program := programs / name).write_text(f'#!/bin/sh\npwd >> "{tmp_path}/started"\nexit 3\n')
        program.chmod(0o755)
    done = subprocess.run(
        ["bash", script],
        cwd=caller,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    [folder] = (tmp_path / "started").read_text().splitlines()
    assert folder not in {str(caller), str(ROOT)}
    # It leaves nothing behind.
    assert not Path(folder).exists()
    assert not list(caller.iterdir())
