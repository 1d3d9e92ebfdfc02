"""The product broken on purpose, one invariant at a time, to show that the harness notices.

A patch in this folder is a unified diff against the repository. :func:`broken_product` applies it
to a copy; programs that run in that folder (`cwd`) take their modules from it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from streams.devstack.packages import Need, ensure, which

ROOT: Final = Path(__file__).parents[3]
PRODUCT: Final = ("streams", "schemas", "sql", "topology.py")


def patches() -> list[str]:
    """Names of all patches."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.patch"))


def broken_product(name: str, directory: Path) -> Path:
    """Copy the product and break one invariant.

    Args:
        name: of a patch.
        directory: to put the copy in; it must not be there yet.

    Returns:
        The folder to run programs in.
    """
    ensure([Need("git", "git", lambda: which("git"))], print)
    directory.mkdir(parents=True)
    for part in PRODUCT:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, directory / part, ignore=ignore)
        else:
            shutil.copy2(source, directory / part)
    patch = Path(__file__).with_name(f"{name}.patch")
    applied = subprocess.run(
        ["git", "apply", "--verbose", str(patch)],
        cwd=directory,
        # Inside a repository git would skip, without a word, what is not part of it.
        env={
            **os.environ,
            "GIT_CEILING_DIRECTORIES": str(directory.parent),
            "GIT_DIR": "/dev/null",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if applied.returncode != 0:
        raise AssertionError(
            f"{patch.name} no longer applies; make it from the present code:\n{applied.stderr}"
        )
    return directory
