"""Files of Compose, Kubernetes and Grafana fit their schemas; each check is seen to refuse."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests import tools
from tests.tools import LOCK, environment, kubernetes_schemas
from tests.tools.helm import FIXTURES

pytestmark = pytest.mark.timeout(500)

DOCKER = Path(__file__).parents[2] / "docker"
MANIFESTS = [
    manifest
    # The chart as Helm rendered it, with everything on.
    for file in (
        *sorted((DOCKER / "kubernetes").glob("*.yaml")),
        FIXTURES / "everything.yaml",
    )
    for manifest in yaml.safe_load_all(file.read_text())
    # In no schema of Kubernetes' own; the tests in tests/unit/docker look at them.
    if manifest and manifest["kind"] not in {"Kustomization", "PodMonitor"}
]
KINDS = {(manifest["kind"], manifest["apiVersion"]) for manifest in MANIFESTS}


@pytest.fixture(scope="module")
def program() -> Path:
    """What checks a file; without its packages tests are skipped, but not in CI."""
    with had("the checking program"):
        return environment("tools", LOCK).with_name("check-jsonschema")
    raise AssertionError


@pytest.fixture(scope="module")
def schemas() -> Path:
    """The folder of Kubernetes' schemas; in the same way."""
    with had("Kubernetes' schemas"):
        return kubernetes_schemas()
    raise AssertionError


@contextmanager
def had(what: str) -> Iterator[None]:
    try:
        yield
    except (subprocess.SubprocessError, OSError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{what} cannot be had here: {error}")


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=100, check=False
    )


def test_compose(program: Path, tmp_path: Path) -> None:
    def check(file: Path) -> subprocess.CompletedProcess[str]:
        return run(program, "--builtin-schema", "vendor.compose-spec", file)

    file = DOCKER / "compose.yaml"
    done = check(file)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "compose.yaml"
    broken.write_text(file.read_text().replace("healthcheck:", "health_check:", 1))
    assert check(broken).returncode == 1


@pytest.mark.parametrize(("kind", "version"), sorted(KINDS))
def test_kubernetes(program: Path, schemas: Path, tmp_path: Path, kind: str, version: str) -> None:
    parts = [kind, *(part.partition(".")[0] for part in version.split("/"))]
    schema = schemas / ("-".join(parts).lower() + ".json")
    files = []
    for n, manifest in enumerate(m for m in MANIFESTS if m["kind"] == kind):
        files.append(tmp_path / f"{n}.json")
        files[-1].write_text(json.dumps(manifest))
    done = run(program, "--schemafile", schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = json.loads(files[0].read_text()) | {"metadate": {}}
    files[0].write_text(json.dumps(broken))
    assert run(program, "--schemafile", schema, files[0]).returncode == 1


DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_grafana_knows_all_of_a_dashboard(program: Path, tmp_path: Path, file: Path) -> None:
    checks = (program.with_name("python"), Path(tools.__file__).with_name("dashboards.py"))
    done = run(*checks, file)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = json.loads(file.read_text())
    broken["panels"][0] |= {"descriptoin": "x"}
    broken["panels"][0]["targets"][0] |= {"query": "up"}
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    done = run(*checks, tmp_path / "broken.json")
    assert done.returncode == 1
    assert set(done.stdout.splitlines()) == {
        "dashboard.panels[0].descriptoin: unknown to Grafana",
        "dashboard.panels[0].targets[0].query: unknown to Grafana",
    }


def test_they_are_the_types_of_the_grafana_that_runs() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    _, _, version = compose["services"]["grafana"]["image"].partition(":")
    assert re.search(
        rf"^grafana-foundation-sdk==\d+!{re.escape(version)} ", LOCK.read_text(), re.MULTILINE
    )
