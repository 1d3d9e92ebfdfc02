"""The wheel, alone and with each of its extras, in environments that hold nothing else.

By default the command line alone, which is what most machines have; `INSTALLS` names others, and
`make installs` all of them. Versions are those of `requirements.lock`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from streams.cli import MODULES
from streams.errors import ExitCode
from tests.faults.broken import PRODUCT

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = (*PRODUCT, "local", "pyproject.toml", "README.md", "LICENSE")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALL_S: Final = 400
"""Limit for an installation from a registry."""
COMMAND_S: Final = 60

HELP: Final = "scrutin --help"
APART: Final = {"stack", "demo", "publish", "verify"}
"""Commands of the local stack and the load generator."""
CALCULATING: Final = {"tally", "guardian"}


@dataclass(frozen=True)
class Install:
    """What is installed, and what must and must not work then."""

    extras: str
    commands: tuple[str, ...]
    missing: frozenset[str]
    """Subcommands of `scrutin` that say what else to install."""
    absent: frozenset[str] = frozenset()
    """Modules that must not have come along."""
    local: bool = False


PROCESSES: Final = ("bridge", "console", "gateway", "worker")
"""Commands that become a process, whose packages they need."""
HEAVY: Final = frozenset(
    {"faust", "gmpy2", "litestar", "numpy", "pyarrow", "pytest", "rocksdict", "uvicorn"}
)
INSTALLS: Final = {
    "cli": Install(
        extras="",
        commands=(
            "scrutin doctor --help",
            "scrutin settings --json",
            "scrutin schema",
            "scrutin roll load --help",
            "scrutin tables --help",
        ),
        missing=frozenset({*APART, *CALCULATING, "rebuild", *PROCESSES}),
        absent=HEAVY | {"uvloop", "cryptography"},
    ),
    "bridge": Install(
        extras="bridge",
        commands=("python -c 'import streams.bridge.__main__'",),
        missing=frozenset({*APART, *CALCULATING, "rebuild", "console", "gateway", "worker"}),
        absent=HEAVY,
    ),
    "worker": Install(
        extras="worker",
        commands=("python -c 'import topology'", "faust --version", "scrutin rebuild --help"),
        missing=frozenset({*APART, *CALCULATING, "console", "gateway"}),
        absent=frozenset({"gmpy2", "litestar", "pyarrow", "uvicorn"}),
    ),
    "gateway": Install(
        extras="gateway",
        commands=("python -c 'import streams.gateway.__main__'",),
        missing=frozenset({*APART, "console", "rebuild", "worker"}),
        absent=frozenset({"faust", "numpy", "pyarrow", "rocksdict"}),
    ),
    "console": Install(
        extras="console",
        commands=("python -c 'import streams.console.__main__'",),
        missing=frozenset({*APART, "rebuild", "worker"}),
        absent=frozenset({"faust", "numpy", "pyarrow", "rocksdict"}),
    ),
    "tally": Install(
        extras="worker,tally",
        commands=(
            "SCRUTIN_STAGES=tally python -c 'import topology'",
            "scrutin tally create --help",
            "scrutin guardian --help",
        ),
        missing=frozenset({*APART, "console", "gateway"}),
        absent=frozenset({"litestar", "pyarrow"}),
    ),
    "parquet": Install(
        extras="parquet",
        commands=("python -c 'import pyarrow.parquet'",),
        missing=frozenset({*APART, *CALCULATING, "rebuild", *PROCESSES}),
        absent=HEAVY - {"pyarrow"},
    ),
    "pictures": Install(
        extras="pictures",
        commands=("python -c 'import resvg_py'",),
        missing=frozenset({*APART, *CALCULATING, "rebuild", *PROCESSES}),
        absent=HEAVY,
    ),
    "local": Install(
        extras="",
        local=True,
        commands=(
            *(f"scrutin {command} --help" for command in sorted(APART)),
            "scrutin tally demo --help",
            "python -c 'from streams.devstack import jars; assert jars.expected()'",
        ),
        missing=frozenset(),
        absent=frozenset({"pyarrow", "pytest"}),
    ),
    "dev": Install(
        extras="dev",
        commands=("mypy --version", "lint-imports --help", "pytest --version"),
        missing=frozenset(APART),
    ),
}
ASKED: Final = os.environ.get("INSTALLS", "cli").split()


@dataclass(frozen=True)
class Wheels:
    """The product as a release gives it."""

    product: Path
    local: Path
    constraints: Path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Both distributions, built from a copy of the tree without what other builds have left."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(source, tree / name, ignore=ignore)
        else:
            shutil.copy(source, tree)
    made = tree / "dist"
    for source in (tree, tree / "local"):
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "-w", str(made), str(source)], check=True, timeout=INSTALL_S)
    constraints = tree / "constraints.txt"
    lock = (ROOT / "requirements.lock").read_text()
    constraints.write_text("\n".join(re.findall(r"^([\w.-]+==[^\\\n]+)", lock, re.MULTILINE)))
    [product], [local] = made.glob("scrutin-*.whl"), made.glob("scrutin_local-*.whl")
    return Wheels(product, local, constraints)


@dataclass(frozen=True)
class Installed:
    """An environment with one of the installs."""

    what: Install
    folder: Path

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody types it who has only this environment."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return subprocess.run(
            ["/bin/sh", "-c", command],
            env={**kept, "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "COLUMNS": "200"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def packages(self) -> Path:
        """The folder that the packages are in."""
        [found] = self.folder.glob("lib/python3*/site-packages")
        return found


@pytest.fixture(scope="module", params=ASKED)
def installed(
    request: pytest.FixtureRequest, wheels: Wheels, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    what = INSTALLS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=COMMAND_S)
    wanted = [f"{wheels.product}[{what.extras}]" if what.extras else str(wheels.product)]
    wanted += [str(wheels.local)] if what.local else []
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--no-compile", "--only-binary", ":all:"]
    subprocess.run([*pip, "-c", str(wheels.constraints), *wanted], check=True, timeout=INSTALL_S)
    done = Installed(what, folder)
    # What venv brings by itself is not ours.
    pip_only = {"pip", "setuptools", "_distutils_hack", "pkg_resources"}
    bytes_ = sum(
        path.stat().st_size
        for path in done.packages().rglob("*")
        if path.is_file() and path.relative_to(done.packages()).parts[0] not in pip_only
    )
    print(f"\n{request.param}: {bytes_ / 1e6:.0f} MB")
    return done


def test_the_wheels_hold_the_product_and_what_goes_beside_it(wheels: Wheels) -> None:
    def modules(wheel: Path) -> set[str]:
        names = zipfile.ZipFile(wheel).namelist()
        return {name for name in names if ".dist-info/" not in name}

    product, local = modules(wheels.product), modules(wheels.local)
    apart = ("streams/devstack/", "streams/load/")
    files = {
        path.relative_to(ROOT).as_posix()
        for part in PRODUCT
        for path in [ROOT / part, *(ROOT / part).rglob("*")]
        if path.is_file() and path.suffix != ".pyc"
    }
    assert product == {name for name in files if not name.startswith(apart)}
    assert local == {name for name in files if name.startswith(apart)}


def test_both_distributions_have_one_version() -> None:
    project = tomllib.loads((ROOT / "local" / "pyproject.toml").read_text())["project"]
    assert project["version"] == PROJECT["version"]
    [product] = [name for name in project["dependencies"] if name.startswith("scrutin")]
    assert product.endswith(f"=={PROJECT['version']}")


def test_every_extra_is_one_of_the_installs() -> None:
    extras = {name for install in INSTALLS.values() for name in install.extras.split(",") if name}
    assert extras == set(PROJECT["optional-dependencies"])


@pytest.mark.timeout(INSTALL_S + 200)
def test_the_help_lists_every_command(installed: Installed) -> None:
    done = installed.run(HELP)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for command in MODULES:
        [line] = [line for line in lines if re.match(rf"\W*{command}\s", line)]
        assert ("not installed" in line) == (command in installed.what.missing), line


@pytest.mark.timeout(INSTALL_S + 200)
def test_a_command_works_or_says_what_to_install(installed: Installed) -> None:
    for command in MODULES:
        done = installed.run(f"scrutin {command} --help")
        if command in installed.what.missing:
            assert done.returncode == ExitCode.NOT_INSTALLED, command
            assert f"`scrutin {command}` needs scrutin" in done.stderr
            assert "pip install" in done.stderr
            assert "Traceback" not in done.stderr
        else:
            assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.timeout(INSTALL_S + 200)
def test_what_it_is_installed_for_works(installed: Installed) -> None:
    for command in installed.what.commands:
        done = installed.run(command)
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.timeout(INSTALL_S + 200)
def test_nothing_comes_along_that_it_does_not_need(installed: Installed) -> None:
    there = {path.name for path in installed.packages().iterdir()}
    assert "msgspec" in there
    assert not there & installed.what.absent


@pytest.mark.timeout(INSTALL_S + 200)
@pytest.mark.parametrize("installed", ["cli"], indirect=True)
@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("stack up", "scrutin-local"),
        ("publish --votes 1", "scrutin-local"),
        ("roll load --from-expected x.json", "scrutin-local"),
        ("tally status", "scrutin[tally]"),
        ("rebuild voted", "scrutin[worker]"),
        ("roll load x.parquet", "scrutin[parquet]"),
    ],
)
def test_the_command_line_alone_names_what_is_missing(
    installed: Installed, command: str, package: str
) -> None:
    (installed.folder / "x.parquet").write_bytes(b"PAR1")
    done = installed.run(f"scrutin {command}")
    assert done.returncode == ExitCode.NOT_INSTALLED, done.stderr
    assert f"needs {package}, which is not installed" in done.stderr
    assert done.stdout == ""
