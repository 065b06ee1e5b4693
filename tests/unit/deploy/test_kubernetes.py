"""The chart and the manifests rendered from it: valid, current, confined, and with the secrets of each role only."""

from __future__ import annotations

import base64
import copy
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
import yaml

from closedwon import durations
from closedwon.cli import run
from closedwon.settings import load_codec
from tests.release.manifests import CHART, EXAMPLES, KUBERNETES, MANIFESTS, header, render
from tests.support.tools import HELM, KUBERNETES_VALIDATE, needs_helm, needs_kubernetes_validate

ROLES = {"worker": "orders", "subscriber": "subscriber", "intake": "intake"}
NAMES = [example.stem for example in EXAMPLES]


class Pod(NamedTuple):
    """A pod as a rendered manifest describes it."""

    example: str
    role: str
    spec: Mapping[str, Any]

    @property
    def container(self) -> Mapping[str, Any]:
        """Its only container."""
        (container,) = self.spec["containers"]
        return container  # type: ignore[no-any-return]

    @property
    def env(self) -> dict[str, str]:
        """The variables whose values are known."""
        return {one["name"]: one["value"] for one in self.container["env"] if "value" in one}

    @property
    def credentials(self) -> dict[str, str]:
        """The file names of its credentials, and the Secrets that they come from."""
        (volume,) = (one for one in self.spec["volumes"] if one["name"] == "credentials")
        sources = [source["secret"] for source in volume["projected"]["sources"]]
        return {item["path"]: source["name"] for source in sources for item in source["items"]}


def documents(example: str) -> list[dict[str, Any]]:
    """The objects of a rendered manifest."""
    return [one for one in yaml.safe_load_all((MANIFESTS / f"{example}.yaml").read_text(encoding="utf-8")) if one]


def pods() -> Iterator[Pod]:
    """Every pod of every example."""
    for example in NAMES:
        for one in documents(example):
            if one["kind"] in {"Deployment", "WorkerDeployment"}:
                template = one["spec"]["template"]
                yield Pod(example, template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"])


PODS = list(pods())
each_pod = pytest.mark.parametrize("pod", PODS, ids=[f"{pod.example}-{pod.role}" for pod in PODS])


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_the_manifests_are_rendered_from_the_chart_as_it_is(example: Path) -> None:
    """Plain manifests say what the chart says: `make manifests` was run after the last change."""
    assert (MANIFESTS / example.name).read_text(encoding="utf-8").startswith(header(example))
    assert {file.name for file in MANIFESTS.glob("*.yaml")} == {f"{name}.yaml" for name in NAMES}


@needs_helm
@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_helm_renders_and_accepts_the_chart(example: Path) -> None:
    """Helm's own linter has nothing to say, and renders exactly the plain manifests."""
    command = [str(HELM), "lint", str(CHART), "--strict", "--kube-version", KUBERNETES, "--values", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert (MANIFESTS / example.name).read_text(encoding="utf-8") == render(example)


@needs_kubernetes_validate
def test_kubernetes_schemas_accept_every_object() -> None:
    """Strictly: a misspelled key is an error, as it is for the API server. Custom resources have no schema there."""
    command = [str(KUBERNETES_VALIDATE), "--strict", "--quiet", "-k", "1.31"]
    files = [str(MANIFESTS / f"{name}.yaml") for name in NAMES]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False, timeout=120)
    assert 0 == done.returncode, done.stdout + done.stderr
    unknown = re.findall(r"find schema for kind (\w+)", done.stdout + done.stderr)
    custom = {
        "Connection",
        "PrometheusRule",
        "ScaledObject",
        "ServiceMonitor",
        "TriggerAuthentication",
        "WorkerDeployment",
    }
    assert custom == set(unknown)


@each_pod
def test_a_pod_is_killed_later_than_its_calls_may_take(pod: Pod) -> None:
    """A stop is graceful: Kubernetes waits longer than `workers.shutdown_grace`, also for a worker of a controller."""
    if pod.role != "codec":
        grace = durations.parse(pod.env["CLOSEDWON_WORKERS__SHUTDOWN_GRACE"])
        assert pod.spec["terminationGracePeriodSeconds"] > grace.total_seconds()


@each_pod
def test_a_pod_is_confined(pod: Pod) -> None:
    """It is not root, cannot become it, writes nowhere but to /tmp, and has no token of the API server."""
    assert pod.spec["securityContext"]["runAsNonRoot"]
    assert "RuntimeDefault" == pod.spec["securityContext"]["seccompProfile"]["type"]
    expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert expected == pod.container["securityContext"]
    assert not pod.spec["automountServiceAccountToken"]
    assert ["temporary"] == [one["name"] for one in pod.container["volumeMounts"] if not one.get("readOnly")]
    assert pod.container["resources"]["limits"]["memory"]


@each_pod
def test_a_pod_that_waits_for_temporal_is_not_restarted(pod: Pod) -> None:
    """Liveness and readiness ask different questions."""
    live, ready = pod.container["livenessProbe"], pod.container["readinessProbe"]
    if pod.role == "codec":
        assert "codec" == live["tcpSocket"]["port"] == ready["tcpSocket"]["port"]
    else:
        assert ("/livez", "/readyz") == (live["httpGet"]["path"], ready["httpGet"]["path"])


@each_pod
def test_a_pod_starts_with_the_secrets_of_its_role_only(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process reads the settings with the pod's variables and files; intake has no login to Salesforce or ERP."""
    (settings,) = (one["data"]["closedwon.toml"] for one in documents("self-hosted") if one["kind"] == "ConfigMap")
    (tmp_path / "closedwon.toml").write_text(settings, encoding="utf-8")
    for name in ("tls.crt", "tls.key", "client-ca.crt"):
        (tmp_path / name).write_text("PEM", encoding="utf-8")
    for name, value in pod.env.items():
        monkeypatch.setenv(name, value.replace("/run/intake", str(tmp_path)))
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in pod.credentials:
        secret = base64.b64encode(bytes(32)).decode() if name == "payload-key" else f"a-secret-by-the-name-of-{name}-12"
        (folder / name).write_text(secret, encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    if pod.role == "codec":
        assert load_codec(tmp_path / "closedwon.toml").codec.token
    else:
        run._settings(tmp_path / "closedwon.toml", ROLES[pod.role])
    if pod.role in {"intake", "codec"}:
        assert {"closedwon-salesforce", "closedwon-erp"}.isdisjoint(pod.credentials.values())


def test_the_purposes_of_each_role_are_those_of_the_command_line() -> None:
    """A new secret of a role is not forgotten in the chart."""
    text = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    (line,) = re.findall(r"get \(dict (.*)\) \.role", text)
    charted = {name: set(purposes.split()) for name, purposes in re.findall(r'"(\w+)" "([\w ]+)"', line)}
    for name, role in ROLES.items():
        needed = run._NEEDED[role] | run._WELCOME.get(role, set())
        assert {"payloads", *(purpose.value for purpose in needed)} == charted[name]
    assert {"payloads", "codec"} == charted["codec"]


def test_no_secret_is_in_a_manifest() -> None:
    """They are named, never contained."""
    assert "Secret" not in {one["kind"] for example in NAMES for one in documents(example)}


def test_a_worker_of_the_controller_takes_the_name_that_it_is_given() -> None:
    """The controller adds its variables behind ours, so only the command can refer to them."""
    (pod,) = (pod for pod in PODS if (pod.example, pod.role) == ("worker-controller", "worker"))
    assert "CLOSEDWON_WORKERS__DEPLOYMENT=$(TEMPORAL_DEPLOYMENT_NAME)" in pod.container["command"]
    assert "CLOSEDWON_WORKERS__BUILD_ID=$(TEMPORAL_WORKER_BUILD_ID)" in pod.container["command"]
    assert not [name for name in pod.env if name.startswith("TEMPORAL_")]


def test_the_chart_has_the_version_of_the_package() -> None:
    """The image that it starts is the one of this version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((CHART.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == chart["appVersion"]


SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
HPA = {"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 70}
KEDA = {"minReplicas": 2, "maxReplicas": 4, "targetQueueSize": 50, "queues": [{"name": "orders"}]}


def values(example: str, **changes: Any) -> dict[str, Any]:
    """The values of an example over the chart's, as helm merges them; changes are named `worker__replicas`."""
    merged: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    merge(merged, yaml.safe_load((CHART / "examples" / f"{example}.yaml").read_text(encoding="utf-8")))
    for keys, value in changes.items():
        for key in reversed(keys.split("__")):
            value = {key: value}  # noqa: PLW2901 - from the inside out
        merge(merged, value)
    return merged


def merge(base: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Put values above others: tables are merged, all else is replaced."""
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = copy.deepcopy(value)


@pytest.mark.parametrize("example", NAMES)
def test_the_examples_are_valid_values(example: str) -> None:
    """The schema refuses none of them."""
    assert jsonschema_rs.is_valid(SCHEMA, values(example))


@pytest.mark.parametrize(
    ("example", "changes"),
    [
        ("temporal-cloud", {"worker__autoscaling__hpa": HPA}),  # beside KEDA's, which makes an HPA of its own
        ("worker-controller", {"worker__autoscaling__keda": KEDA}),  # its Deployments have other names
        ("temporal-cloud", {"temporal__clientCertificate__secret": "client"}),  # beside an API key
        ("temporal-cloud", {"temporal__address": "closedwon.a1b2c.tmprl.cloud"}),
        ("temporal-cloud", {"settings": "[[orgs]]"}),  # beside a ConfigMap
        ("temporal-cloud", {"settingsConfigMap": ""}),
        ("temporal-cloud", {"credentials": []}),  # without the encryption key no process starts
        ("temporal-cloud", {"intake__enabled": True}),  # with neither TLS nor proxies
        ("intake-behind-proxy", {"intake__proxies": []}),  # any sender could write the header
        ("intake-passthrough", {"intake__certificateHeader": "ssl-client-cert", "intake__proxies": ["10.0.0.0/8"]}),
        ("intake-passthrough", {"intake__ingress__host": ""}),
        ("temporal-cloud", {"worker__replica": 2}),
    ],
)
def test_values_that_cannot_work_are_refused(example: str, changes: dict[str, Any]) -> None:
    """Before anything is installed, by helm itself."""
    assert not jsonschema_rs.is_valid(SCHEMA, values(example, **changes))
