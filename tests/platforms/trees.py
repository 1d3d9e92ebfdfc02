"""Debian trees made by debootstrap, and commands that run inside them.

A command has a mount namespace of its own, so that no mount is left behind. It shares the machine's
network: services in the tree listen on loopback, on ports that the local stack chooses.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = ("ca-certificates", "git", "make", "procps", "python3", "python3-venv")
"""Only what `make` itself needs: the rest is for `make demo` to install."""

_ENTER: Final = """
set -e
tree=$1; shift
mkdir -p "$tree/proc" "$tree/dev" "$tree/sys" "$tree/mnt/cache"
mount -t proc proc "$tree/proc"; mount --rbind /dev "$tree/dev"; mount --bind /sys "$tree/sys"
mount --bind "$1" "$tree/mnt/cache"; shift
exec chroot "$tree" /usr/bin/env -i HOME=/root XDG_CACHE_HOME=/mnt/cache LANG=C.UTF-8 \
  DEBIAN_FRONTEND=noninteractive \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$@"
"""


@dataclass(frozen=True)
class Tree:
    """One release of Debian, in a folder.

    Args:
        name: of the tree.
        suite: of Debian's archive.
        folder: of all trees.
    """

    name: str
    suite: str
    folder: Path

    @property
    def root(self) -> Path:
        """The root of the tree's file system."""
        return self.folder / self.name

    def build(self) -> None:
        """Make the tree unless it is there."""
        if (self.root / ".built").exists():
            return
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.parent.mkdir(parents=True, exist_ok=True)
        # An older debootstrap has no script of a newer suite; they are all the same.
        script = "/usr/share/debootstrap/scripts/sid"
        argv = ["debootstrap", "--variant=minbase", "--include=ca-certificates"]
        subprocess.run([*argv, self.suite, str(self.root), MIRROR, script], check=True)
        # A mirror may be older than the date that its lists are valid until.
        conf = self.root / "etc/apt/apt.conf.d/90scrutin"
        conf.write_text('Acquire::Check-Valid-Until "false";\n')
        policy = self.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        for name in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
            shutil.copyfile(f"/{name}", self.root / name)
        install = f"apt-get update -qq && apt-get install -y -qq {' '.join(PACKAGES)}"
        if self.run(install, self.folder / f"{self.name}.log") != 0:
            raise RuntimeError(f"{self.name}: packages cannot be installed, see its log")
        (self.root / ".built").touch()

    def copy_checkout(self) -> None:
        """Replace the files in the tree by those of this checkout; its environment there stays."""
        target = self.root / "scrutin"
        for old in target.glob("*"):
            if old.name != ".venv":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout.decode()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in filter(None, listed.split("\0")):
                if (ROOT / name).is_file():
                    archive.add(ROOT / name, name)
        packed.seek(0)
        with tarfile.open(fileobj=packed) as archive:
            archive.extractall(target, filter="data")
        # Tests ask git which files belong to the repository.
        for step in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", *step], cwd=target, check=True)

    def run(self, command: str, log: Path, *, timeout_s: float = 3600) -> int:
        """Run a shell command in the tree, in the checkout if it is there.

        Returns:
            Its exit status; 124 if the time is over.
        """
        cache = self.folder / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        inside = f"[ ! -d /scrutin ] || cd /scrutin; {command}"
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        argv += ["bash", "-c", _ENTER, "enter", str(self.root), str(cache), "bash", "-c", inside]
        with log.open("ab") as out:
            try:
                done = subprocess.run(
                    argv, stdout=out, stderr=out, check=False, timeout=timeout_s, env=os.environ
                )
            except subprocess.TimeoutExpired:
                return 124
        return done.returncode
