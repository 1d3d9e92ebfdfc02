"""The chart, as a real Helm rendered it (`make helm`), starts what the tests start."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools.helm import FIXTURES, RENDERINGS, chart_digest
from tests.unit.docker.test_deployment_files import KNOWN, exercised

TEXTS = {name: (FIXTURES / f"{name}.yaml").read_text(encoding="utf-8") for name in RENDERINGS}
DEFAULTS, EVERYTHING = (
    [one for one in yaml.safe_load_all(TEXTS[name]) if one] for name in ("defaults", "everything")
)
KINDS = ("ConfigMap", "Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget", "Service")


def named(kind: str, manifests: list[dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """The manifests of a kind by name, without that of the release."""
    every = EVERYTHING if manifests is None else manifests
    return {m["metadata"]["name"].removeprefix("votes-"): m for m in every if m["kind"] == kind}


WORKLOADS = {
    name: m["spec"]["template"]["spec"]
    for kind in ("Deployment", "Job")
    for name, m in named(kind).items()
}


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_renderings_are_of_this_chart(name: str) -> None:
    assert TEXTS[name].startswith(f"# Rendered from the chart {chart_digest()}\n"), "make helm"


def test_what_is_off_unless_asked_for() -> None:
    assert {m["kind"] for m in DEFAULTS} == set(KINDS)
    assert set(named("Deployment", DEFAULTS)) == {"worker", "bridge", "gateway"}
    on = {"HorizontalPodAutoscaler", "Ingress", "PodMonitor"}
    assert {m["kind"] for m in EVERYTHING} == {*KINDS, *on}
    assert set(named("Deployment")) == {"worker", "bridge", "gateway", "webhooks", "console"}


def test_the_commands_are_those_of_the_tests(tmp_path: Path) -> None:
    commands = exercised(tmp_path)
    for name, pod in WORKLOADS.items():
        [container] = pod["containers"]
        assert container["command"] == commands[name.partition("-")[0]]


def test_processes_wait_for_the_migrations() -> None:
    """A bridge uses no table before workers have made it."""
    for name in ("worker", "gateway", "webhooks", "console"):
        [first] = WORKLOADS[name]["initContainers"]
        assert first["command"] == ["scrutin", "migrate", "--wait", "600"]


def test_no_container_has_rights() -> None:
    for pod in WORKLOADS.values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_every_variable_is_a_setting() -> None:
    [settings] = named("ConfigMap").values()
    names = set(settings["data"])
    for pod in WORKLOADS.values():
        names |= {entry["name"] for entry in pod["containers"][0].get("env", ())}
    assert len(names) > 20
    assert names <= KNOWN


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_what_belongs_to_a_process_selects_its_pods(kind: str) -> None:
    found = named(kind)
    deployments = named("Deployment")
    assert set(found) == set(deployments)
    for name, manifest in found.items():
        selector = manifest["spec"]["selector"]
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert selector.get("matchLabels", selector) == labels


def test_only_the_gateway_takes_connections_from_everywhere() -> None:
    policies = {name: m["spec"] for name, m in named("NetworkPolicy").items()}
    assert policies["gateway"]["ingress"] == [{"ports": [{"port": "http"}]}]
    [rule] = policies["metrics"]["ingress"]
    [source] = rule["from"]
    assert source["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert "ingress" not in policies["closed"]
    selected = {
        name
        for policy in ("metrics", "closed")
        for name in policies[policy]["podSelector"]["matchExpressions"][0]["values"]
    }
    assert {"gateway", *selected} == {name.partition("-")[0] for name in WORKLOADS}
    [ingress] = named("Ingress").values()
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == "votes-gateway"


def test_webhooks_go_out_and_not_into_the_cluster() -> None:
    policy = named("NetworkPolicy")["webhooks"]["spec"]
    labels = {"app.kubernetes.io/name": "webhooks", "app.kubernetes.io/instance": "votes"}
    assert policy["podSelector"] == {"matchLabels": labels}
    assert policy["policyTypes"] == ["Egress"]
    names, postgres, receivers = policy["egress"]
    assert {one["port"] for one in names["ports"]} == {53}
    assert postgres["ports"] == [{"port": 5432}]
    assert receivers["ports"] == [{"port": 443}]
    for block in (one["ipBlock"] for one in receivers["to"]):
        inside = [ip_network(one) for one in block["except"]]
        assert all(one.subnet_of(ip_network(block["cidr"])) for one in inside)
        for private in ("10.96.0.1", "169.254.169.254", "fd00::1"):
            address = ip_address(private)
            if address.version == ip_network(block["cidr"]).version:
                assert any(address in one for one in inside)


def test_workers_scale_by_lag_and_set_no_number_beside_it() -> None:
    [scaler] = named("HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] == "votes-worker"
    [metric] = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == "scrutin_lag_records_validation"
    assert "replicas" not in named("Deployment")["worker"]["spec"]
    assert named("Deployment", DEFAULTS)["worker"]["spec"]["replicas"] == 2


def test_every_scraped_process_is_monitored() -> None:
    [monitor] = named("PodMonitor").values()
    [selected] = monitor["spec"]["selector"]["matchExpressions"]
    assert set(selected["values"]) == set(named("Deployment")) - {"console"}
    assert monitor["spec"]["podMetricsEndpoints"][0]["path"] == "/metrics"
