"""Compose and Kubernetes files are what their schemas say; each check is seen to refuse."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.tools import LOCK, environment

pytestmark = pytest.mark.timeout(500)

DOCKER = Path(__file__).parents[2] / "docker"
# Of kustomize, and in no schema; tests/unit/test_deployment_files.py looks at it.
MANIFESTS = sorted(
    set((DOCKER / "kubernetes").glob("*.yaml")) - {DOCKER / "kubernetes/kustomization.yaml"}
)


@pytest.fixture(scope="module")
def programs() -> Path:
    """Where the checking programs are; without their packages tests are skipped, but not in CI."""
    try:
        return environment("tools", LOCK).parent
    except (subprocess.SubprocessError, OSError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the checking programs cannot be installed here: {error}")


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=100, check=False
    )


def compose(programs: Path, file: Path) -> subprocess.CompletedProcess[str]:
    return run(programs / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def kubernetes(programs: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return run(programs / "kubernetes-validate", "--strict", *files)


def test_compose(programs: Path, tmp_path: Path) -> None:
    file = DOCKER / "compose.yaml"
    done = compose(programs, file)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "compose.yaml"
    broken.write_text(file.read_text().replace("healthcheck:", "health_check:", 1))
    assert compose(programs, broken).returncode == 1


def test_kubernetes(programs: Path, tmp_path: Path) -> None:
    done = kubernetes(programs, *MANIFESTS)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "WARN" not in told
    for file in MANIFESTS:
        assert f"{file} passed" in told
    broken = tmp_path / "worker.yaml"
    text = (DOCKER / "kubernetes/worker.yaml").read_text()
    broken.write_text(text.replace("livenessProbe:", "livenessprobe:", 1))
    assert kubernetes(programs, broken).returncode != 0
