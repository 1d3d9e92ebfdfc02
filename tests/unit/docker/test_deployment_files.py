"""What `docker/` starts is what the tests start, configured by settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.load.programs import bridge, gateway, operators_console, webhooks, worker
from streams.settings.load import secrets, variables

DOCKER = Path(__file__).parents[3] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
MANIFESTS = [
    manifest
    for path in sorted((DOCKER / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
]
OURS = ("migrate", "worker", "bridge", "gateway", "tally", "webhooks", "console")
KNOWN = {name for names in variables().values() for name in names} | {
    f"{name}_FILE" for name in secrets()
}
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
DEFAULT = re.search(r"^CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)


def exercised(tmp_path: Path) -> dict[str, list[str]]:
    """The commands by which the tests run our processes, as one types them."""
    found = {}
    for make in (worker, bridge, gateway, webhooks, operators_console):
        program = make({}, tmp_path)
        name, *rest = program.argv
        found[program.name] = [re.sub(r"^python[\d.]*$", "python", Path(name).name), *rest]
    return {**found, "tally": found["worker"], "migrate": ["scrutin", "migrate"]}


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    template = manifest.get("spec", {}).get("template")
    return [template["spec"]] if isinstance(template, dict) and "spec" in template else []


WORKLOADS = [(m["metadata"]["name"], pod) for m in MANIFESTS for pod in pods(m) if "metadata" in m]


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_what_the_tests_run(tmp_path: Path, name: str) -> None:
    assert DEFAULT is not None
    command = COMPOSE["services"][name].get("command") or yaml.safe_load(DEFAULT[1])
    assert command == exercised(tmp_path)[name]


@pytest.mark.parametrize(("name", "pod"), WORKLOADS)
def test_kubernetes_runs_what_the_tests_run(tmp_path: Path, name: str, pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    assert container["command"] == exercised(tmp_path)[name]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_workloads_are_all_there() -> None:
    assert {name for name, _ in WORKLOADS} == {"migrate", "worker", "bridge", "gateway"}
    kustomization = next(m for m in MANIFESTS if m["kind"] == "Kustomization")
    files = {path.name for path in (DOCKER / "kubernetes").glob("*.yaml")}
    assert set(kustomization["resources"]) == files - {"kustomization.yaml"}


@pytest.mark.parametrize("name", ["worker", "bridge", "gateway"])
def test_probes_disruption_budget_and_service_are_of_the_same_pods(name: str) -> None:
    kinds = {m["kind"]: m for m in MANIFESTS if m.get("metadata", {}).get("name") == name}
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["Service"]["spec"]["selector"] == labels
    [container] = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    default = {"worker": "metrics_port", "bridge": "bridge_metrics_port", "gateway": "gateway_port"}
    [port] = container["ports"]
    assert port["containerPort"] == {"metrics_port": 8001, "bridge_metrics_port": 8002}.get(
        default[name], 8000
    )
    assert container["livenessProbe"]["httpGet"]["path"] == "/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_every_variable_is_a_setting() -> None:
    names = {name for m in MANIFESTS if m["kind"] == "ConfigMap" for name in m["data"]}
    for _, pod in WORKLOADS:
        names |= {entry["name"] for entry in pod["containers"][0].get("env", [])}
    for service in OURS:
        names |= set(COMPOSE["services"][service]["environment"])
    assert len(names) > 20
    assert names <= KNOWN


@pytest.mark.parametrize("name", OURS)
def test_containers_of_ours_are_read_only_without_rights(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER scrutin$", DOCKERFILE, flags=re.MULTILINE)


def test_services_start_in_order_and_say_when_they_are_well() -> None:
    services = COMPOSE["services"]
    for name in ("rabbitmq", "kafka", "redis", "postgres", "worker", "bridge", "gateway"):
        assert "test" in services[name]["healthcheck"], name
    for name in ("worker", "gateway"):
        needs = services[name]["depends_on"]
        assert needs["migrate"] == {"condition": "service_completed_successfully"}
    for name in OURS:
        assert set(services[name]["depends_on"]) <= set(services)


def test_the_image_holds_every_package_that_is_installed() -> None:
    copied = set(re.findall(r"^COPY (?!--)(\w+) \w+$", DOCKERFILE, flags=re.MULTILINE))
    assert copied == {"schemas", "sql", "streams"}
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} < set(allowed)


def test_each_container_reaches_only_what_it_uses() -> None:
    networks = COMPOSE["networks"]
    services = COMPOSE["services"]
    members = {
        network: {name for name, service in services.items() if network in service["networks"]}
        for network in networks
    }
    opened = {
        network for network, options in networks.items() if not (options or {}).get("internal")
    }
    assert opened == {"front", "screens", "out"}
    assert members["front"] == {"gateway"}
    assert members["out"] == {"webhooks"}
    assert members["screens"] == {"prometheus", "grafana", "console"}
    assert members["metrics"] == {"prometheus", "rabbitmq", *OURS} - {"migrate"}
    backends = {"queues": "rabbitmq", "log": "kafka", "data": "postgres", "memory": "redis"}
    for network, backend in backends.items():
        assert members[network] - set(OURS) == {backend}
    # What is waited for is also reached.
    for name, service in services.items():
        for needed in set(service.get("depends_on", ())) - {"migrate"}:
            assert set(service["networks"]) & set(services[needed]["networks"]), (name, needed)
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == members["front"] | members["screens"]
    for name in members["screens"]:
        assert all(port.startswith("127.0.0.1:") for port in published[name]), name


def test_only_the_gateway_takes_connections_from_everywhere_in_kubernetes() -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in MANIFESTS if m["kind"] == "NetworkPolicy"}
    assert all(policy["policyTypes"] == ["Ingress"] for policy in policies.values())
    labels = policies["gateway"]["podSelector"]["matchLabels"]
    assert labels == {"app.kubernetes.io/name": "gateway"}
    [selected] = policies["metrics"]["podSelector"]["matchExpressions"]
    # The job of the schema listens nowhere.
    assert {"gateway", *selected["values"]} == {name for name, _ in WORKLOADS} - {"migrate"}
    [rule] = policies["metrics"]["ingress"]
    [source] = rule["from"]
    assert source["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
