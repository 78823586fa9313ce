"""deploy/kubernetes against the published schemas, the code, and what Pod Security calls restricted."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.inbound.sources import read_sources
from consent_api.links.theme import read_themes
from consent_http.token_settings import AccessTokenSettings
from consent_service.health import Health, serve_metrics
from consent_service.settings import PREFIX, ProcessSettings
from propagator.config.reader import read as read_destinations
from propagator.connectors import CATALOGUE
from status_page.settings import StatusSettings
from tests.support.deployed import (
    LASTING,
    OF_LIBRARIES,
    PREPARATIONS,
    PROCESSES,
    ROOT,
    STOP_SECONDS,
    faults,
    image_environment,
    metrics_port,
    paths,
    secrets_in_clear,
    unknown_options,
    variables,
)
from tests.support.kustomize import Document, built, read
from tests.support.prometheus import exported, selectors
from tests.support.prometheus_operator import faults as faults_of_operator
from tests.support.prometheus_operator import operator_schemas
from tests.support.provider_webhooks import SendGrid, webhook_secret

KUBERNETES = ROOT / "deploy" / "kubernetes"
EXAMPLE = KUBERNETES / "overlays" / "example"
COMPONENTS = KUBERNETES / "components"
VERSIONS = ("1.30", "1.34", "1.37")
"""The oldest that has all fields of ours, to the newest that the package knows."""
SETTINGS: dict[str, type[ProcessSettings]] = {**LASTING, **PREPARATIONS}
BASE = read(KUBERNETES / "base")
SCALERS = list(yaml.safe_load_all((COMPONENTS / "autoscaling" / "scalers.yaml").read_text()))
WEBHOOKS = list(yaml.safe_load_all((COMPONENTS / "webhooks" / "webhooks.yaml").read_text()))
MONITORING = yaml.safe_load((COMPONENTS / "monitoring" / "kustomization.yaml").read_text())["resources"]
WORKLOADS = ("Deployment", "StatefulSet", "Job")
COMPONENT = "app.kubernetes.io/component"
STATE = "/var/lib/consent-relay"


def of_kind(documents: Iterable[Document], *kinds: str) -> dict[str, Document]:
    return {each["metadata"]["name"]: each for each in documents if each["kind"] in kinds}


def pod(workload: Document) -> Document:
    found: Document = workload["spec"]["template"]["spec"]
    return found


def pod_labels(workload: Document) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def container(workload: Document) -> Document:
    [only] = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def config_maps(documents: Iterable[Document]) -> dict[str, dict[str, str]]:
    """By name, without the hash of the contents that kustomize adds."""
    return {re.sub(r"-[a-z0-9]{10}$", "", name): each["data"] for name, each in of_kind(documents, "ConfigMap").items()}


def environment(workload: Document, documents: Iterable[Document]) -> dict[str, str]:
    """What the process of the workload is given; a field of the pod counts as its name."""
    maps = config_maps(documents)
    found = image_environment()
    for source in container(workload).get("envFrom", ()):
        found |= maps[re.sub(r"-[a-z0-9]{10}$", "", source["configMapRef"]["name"])]
    for each in container(workload).get("env", ()):
        assert set(each) == {"name", "value"} or each["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        found[each["name"]] = each.get("value", "a-pod-0")
    return found


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Of a selector of pods, as Kubernetes evaluates it."""
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    operators = {"In": lambda value, values: value in values, "NotIn": lambda value, values: value not in values}
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        operators[each["operator"]](labels.get(each["key"]), each["values"])
        for each in selector.get("matchExpressions", ())
    )


def policies(component: str, direction: str) -> Iterator[Document]:
    """The rules of all policies for the pods of a component; ``direction`` is ingress or egress."""
    labels = pod_labels(of_kind(BASE, *WORKLOADS)[component])
    for policy in of_kind(BASE, "NetworkPolicy").values():
        if matches(policy["spec"]["podSelector"], labels):
            yield from policy["spec"].get(direction, ())


def ports(rules: Iterable[Document]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """What `kubectl apply -k` would send of the example, which has every component."""
    return built(EXAMPLE, tmp_path_factory.mktemp("example"))


@pytest.mark.long
@pytest.mark.parametrize("version", VERSIONS)
def test_the_published_schemas_accept_it(version: str) -> None:
    for document in [*BASE, *SCALERS, *WEBHOOKS]:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_what_is_wrong() -> None:
    wrong = {**of_kind(BASE, "Deployment")["api"], "replica": 2}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_process_and_every_preparation_is_there() -> None:
    assert set(of_kind(BASE, "Deployment", "StatefulSet")) == set(LASTING)
    assert set(of_kind(BASE, "Job")) == set(PREPARATIONS)


@pytest.mark.parametrize("name", SETTINGS)
def test_its_command_and_options_exist(name: str) -> None:
    words = container(of_kind(BASE, *WORKLOADS)[name])["args"]
    assert words[0] == name
    assert unknown_options(words) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_its_settings_exist_and_suffice(name: str, tmp_path: Path) -> None:
    workload = of_kind(BASE, *WORKLOADS)[name]
    check_settings(name, environment(workload, BASE), tmp_path)
    own = {each["name"] for each in container(workload).get("env", ())}
    assert own <= variables(SETTINGS[name])


def check_settings(name: str, given: Mapping[str, str], directory: Path) -> None:
    everything: set[str] = set().union(*map(variables, SETTINGS.values()), OF_LIBRARIES)
    foreign = {each for each in given if not each.startswith(PREFIX)} - image_environment().keys()
    assert {each for each in given if each.startswith(PREFIX)} <= everything
    assert foreign <= OF_LIBRARIES
    assert faults(SETTINGS[name], given, directory) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_its_secrets_are_files(name: str) -> None:
    workload = of_kind(BASE, *WORKLOADS)[name]
    given = environment(workload, BASE)
    assert secrets_in_clear(SETTINGS[name], given) == []
    mounts = {each["mountPath"]: each for each in container(workload)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(workload)["volumes"]}
    for path in paths(given):
        [mount] = [each for at, each in mounts.items() if path.startswith(f"{at}/")]
        assert mount["readOnly"]
        volume = volumes[mount["name"]]
        assert ("secret" in volume) == path.startswith("/run/"), "secrets are below /run, all else below /etc"
    for volume in volumes.values():
        assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440
    claimed = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
    assert {each["name"] for each in mounts.values()} == volumes.keys() | claimed


@pytest.mark.parametrize("name", LASTING)
def test_its_ports_are_those_where_it_answers(name: str) -> None:
    workload = of_kind(BASE, *WORKLOADS)[name]
    named = {each["name"]: each["containerPort"] for each in container(workload)["ports"]}
    assert named["metrics"] == metrics_port()
    http = environment(workload, BASE).get(f"CONSENT_RELAY_{name.upper()}_PORT")
    assert named.get("http") == (None if http is None else int(http))
    service = of_kind(BASE, "Service")[name]
    assert {each["targetPort"]: each["port"] for each in service["spec"]["ports"]} == named
    assert matches({"matchLabels": service["spec"]["selector"]}, pod_labels(workload))


@pytest.fixture(scope="module")
def health_pages() -> Iterator[str]:
    """The URL of the pages that every process serves."""
    server = serve_metrics(CollectorRegistry(), Health(), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


@pytest.mark.parametrize("name", LASTING)
def test_its_probes_ask_pages_that_exist(name: str, health_pages: str) -> None:
    probes = {
        probe: container(of_kind(BASE, *WORKLOADS)[name])[probe]["httpGet"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert {page["port"] for page in probes.values()} == {"metrics"}
    assert all(httpx.get(f"{health_pages}{page['path']}").status_code == 200 for page in probes.values())
    asked = {probe: page["path"] for probe, page in probes.items()}
    assert asked == {"startupProbe": "/startupz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@pytest.mark.parametrize(("name", "longest"), STOP_SECONDS.items())
def test_it_may_finish_before_it_is_killed(name: str, longest: float) -> None:  # R41
    workload = of_kind(BASE, *WORKLOADS)[name]
    assert pod(workload)["terminationGracePeriodSeconds"] >= longest + 15


@pytest.mark.parametrize("name", SETTINGS)
def test_its_pod_is_restricted(name: str) -> None:
    """The profile of Pod Security, and a root file system that is read-only."""
    spec = pod(of_kind(BASE, *WORKLOADS)[name])
    security = spec["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not spec["automountServiceAccountToken"]
    assert not spec["enableServiceLinks"]
    [only] = spec["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(set(each) <= {"name", "emptyDir", "secret", "configMap"} for each in spec["volumes"])
    writable = {each["mountPath"] for each in only["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/tmp", *([STATE] if name in ("suppression", "propagator") else [])}
    assert {"cpu", "memory"} == set(only["resources"]["requests"])
    assert "memory" in only["resources"]["limits"]


def test_its_namespace_admits_restricted_pods_alone() -> None:
    [namespace] = of_kind(BASE, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", LASTING)
def test_one_node_does_not_take_all_of_it(name: str) -> None:
    workload = of_kind(BASE, *WORKLOADS)[name]
    spec = pod(workload)
    terms = spec["affinity"]["podAntiAffinity"]
    required = terms.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    preferred = [each["podAffinityTerm"] for each in terms.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
    [apart] = [*required, *preferred]
    assert bool(required) == (name == "propagator"), "active and standby are never on one node"
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    [spread] = spec["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert matches(apart["labelSelector"], pod_labels(workload))
    assert matches(spread["labelSelector"], pod_labels(workload))
    budgets = [
        each
        for each in of_kind(BASE, "PodDisruptionBudget").values()
        if matches(each["spec"]["selector"], pod_labels(workload))
    ]
    assert len(budgets) == (1 if workload["spec"]["replicas"] > 1 else 0)
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets)


def test_the_api_for_webhooks_is_an_api_with_little_weight() -> None:
    kinds = ("Deployment", "Service", "PodDisruptionBudget")
    for own in [each for each in WEBHOOKS if each["kind"] in kinds]:
        kind = own["kind"]
        as_api = yaml.safe_load(re.sub(r"\bwebhooks\b", "api", yaml.safe_dump(own)))
        api = copy.deepcopy(of_kind(BASE, kind)[as_api["metadata"]["name"]])
        if kind == "Deployment":
            weights = [container(each)["resources"]["requests"].pop("cpu") for each in (as_api, api)]
            assert weights == ["50m", "500m"]
        assert as_api == api
    [policy] = of_kind(WEBHOOKS, "NetworkPolicy").values()
    given = policy["spec"]
    assert matches(given["podSelector"], pod_labels(of_kind(WEBHOOKS, "Deployment")["webhooks"]))
    for component, direction in (("api", "ingress"), ("api", "egress")):
        everywhere = ports(
            rule
            for each in of_kind(BASE, "NetworkPolicy").values()
            if matches(each["spec"]["podSelector"], {COMPONENT: "webhooks"})
            for rule in each["spec"].get(direction, ())
        )
        assert ports(given[direction]) | everywhere == ports(policies(component, direction))


def test_what_keeps_a_name_in_its_group_or_a_disk_is_a_stateful_set() -> None:
    stateful = of_kind(BASE, "StatefulSet")
    assert set(stateful) == {"ingest", "suppression", "propagator"}
    for name, workload in stateful.items():
        assert environment(workload, BASE)["CONSENT_RELAY_INSTANCE_ID"] == "a-pod-0"
        assert bool(workload["spec"].get("volumeClaimTemplates")) == (name != "ingest")
        assert workload["spec"]["serviceName"] in of_kind(BASE, "Service")


def test_numbers_of_instances_fit_the_partitions_and_the_propagator_s_takeover() -> None:
    partitions = int(config_maps(BASE)["settings"]["CONSENT_RELAY_PARTITIONS"])
    scalers = of_kind(
        yaml.safe_load_all((COMPONENTS / "autoscaling" / "scalers.yaml").read_text()), "HorizontalPodAutoscaler"
    )
    workloads = of_kind(BASE, *WORKLOADS)
    assert scalers["suppression"]["spec"]["maxReplicas"] <= partitions
    assert workloads["suppression"]["spec"]["replicas"] <= partitions
    assert workloads["ingest"]["spec"]["replicas"] <= partitions
    assert workloads["propagator"]["spec"]["replicas"] == 2
    assert set(scalers) == {"api", "gate", "suppression"}
    for name, scaler in scalers.items():
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (workloads[name]["kind"], name)
        assert scaler["spec"]["minReplicas"] == workloads[name]["spec"]["replicas"]


def test_the_merge_is_scaled_by_a_metric_that_is_exported() -> None:
    adapter = yaml.safe_load((COMPONENTS / "autoscaling" / "prometheus-adapter.yaml").read_text())
    [rule] = adapter["rules"]["external"]
    scalers = of_kind(
        yaml.safe_load_all((COMPONENTS / "autoscaling" / "scalers.yaml").read_text()), "HorizontalPodAutoscaler"
    )
    [metric] = scalers["suppression"]["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    [(series, labels)] = selectors(rule["seriesQuery"])
    metrics = exported((ROOT / "docs" / "metrics.md").read_text())
    assert set(re.findall(r"(\w+)[!=]", labels)) <= metrics[series] | {"namespace"}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_reaches_what_it_needs_and_nothing_else(name: str) -> None:
    """By the settings that it is given."""
    workload = of_kind(BASE, *WORKLOADS)[name]
    given = environment(workload, BASE)
    servers = {
        "CONSENT_RELAY_KAFKA": 9093,
        "CONSENT_RELAY_API_DATABASE_FILE": 5432,
        "CONSENT_RELAY_GATE_API_URL": 8080,
        "CONSENT_RELAY_STATUS_API_URL": 8080,
        "CONSENT_RELAY_STATUS_TARGETS": metrics_port(),
    }
    needed = {port for variable, port in servers.items() if variable in given}
    needed |= {53} | ({8443} if name not in ("migrate", "status") else set())
    needed |= {443} if name == "propagator" else set()
    assert ports(policies(name, "egress")) == needed
    answers = {each["containerPort"] for each in container(workload).get("ports", ())}
    assert ports(policies(name, "ingress")) == answers | {metrics_port()}


def test_the_status_page_asks_every_pod_of_every_process() -> None:
    """By names of headless Services, which have the address of each pod, of those that are not ready too."""
    status = of_kind(BASE, "Deployment")["status"]
    targets = StatusSettings(**settings_of(environment(status, BASE))).targets
    assert {each.process for each in targets} == set(PROCESSES)
    services = of_kind(BASE, "Service")
    for each in targets:
        url = httpx.URL(each.url)
        service = services[url.host]["spec"]
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        assert service["selector"] == {COMPONENT: each.process}
        [port] = service["ports"]
        assert (port["port"], port["targetPort"]) == (url.port, "metrics")
    reached = {name for name in PROCESSES if metrics_port() in ports(policies(name, "ingress"))}
    assert reached == set(PROCESSES)


def settings_of(given: Mapping[str, str]) -> dict[str, Any]:
    """What the status page is given, without its file of keys, which is in the container."""
    names = {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}
    return {name: names[name] for name in ("status_targets", "status_api_url")} | {"status_keys_file": __file__}


def test_what_no_policy_names_is_denied() -> None:
    policy = of_kind(BASE, "NetworkPolicy")["default-deny"]
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for each in of_kind(BASE, "NetworkPolicy").values():
        for rule in (*each["spec"].get("ingress", ()), *each["spec"].get("egress", ())):
            assert rule["ports"]
            assert rule.get("to") or rule.get("from")


def test_the_tools_are_at_no_private_address() -> None:
    [rule] = of_kind(BASE, "NetworkPolicy")["tools"]["spec"]["egress"]
    blocks = {each["ipBlock"]["cidr"]: set(each["ipBlock"]["except"]) for each in rule["to"]}
    assert blocks["0.0.0.0/0"] >= {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"}
    assert blocks["::/0"] >= {"fc00::/7", "fe80::/10"}


@pytest.mark.long
def test_the_published_schemas_of_the_prometheus_operator_accept_it(tmp_path: Path) -> None:
    schemas = operator_schemas(tmp_path, "ServiceMonitor", "PrometheusRule")
    documents = [
        each for file in MONITORING for each in yaml.safe_load_all((COMPONENTS / "monitoring" / file).read_text())
    ]
    assert {each["kind"] for each in documents} == schemas.keys()
    for each in documents:
        assert faults_of_operator(each, schemas[each["kind"]]) == []
    [rules, _] = [each for each in documents if each["kind"] == "PrometheusRule"]
    wrong = copy.deepcopy(rules)
    [group, *_] = wrong["spec"]["groups"]
    group["rules"][0]["for"] = "5 minutes"
    wrong["spec"]["groups"].append({**group, "intervall": "1m"})
    found = faults_of_operator(wrong, schemas["PrometheusRule"])
    assert any("5 minutes" in each for each in found)
    assert any("intervall" in each for each in found)
    assert any("comes twice" in each for each in found)


def test_prometheus_finds_every_process_as_the_rules_name_it() -> None:
    monitor = yaml.safe_load((COMPONENTS / "monitoring" / "service-monitor.yaml").read_text())["spec"]
    [pair] = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["labels"]
    assert pair["pairs"][monitor["jobLabel"]] == "consent-relay"
    assert matches(monitor["selector"], pair["pairs"])
    [endpoint] = monitor["endpoints"]
    assert endpoint["path"] == "/metrics"
    [relabeling] = endpoint["relabelings"]
    source = relabeling["sourceLabels"][0].removeprefix("__meta_kubernetes_service_label_")
    assert (source, relabeling["targetLabel"]) == (re.sub(r"\W", "_", COMPONENT), "process")
    asked = [
        each["metadata"]["labels"][COMPONENT]
        for each in of_kind(BASE, "Service").values()
        if endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
    ]
    assert sorted(asked) == sorted(LASTING), "each pod is asked once"


def commands(heading: str, number: int, directory: Path, *, failing: str = "") -> list[list[str]]:
    """The words of each kubectl command that a block of README.md below the heading runs, in their order. A command
    with the words `failing` fails."""
    section = (KUBERNETES / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.findall(r"^```console\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[number]
    program, log = directory / "kubectl", directory / "commands"
    fail = f'case "$*" in *{shlex.quote(failing)}*) exit 1;; esac\n' if failing else ""
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {shlex.quote(str(log))}\n{fail}')
    program.chmod(0o755)
    script = "".join(line[2:] for line in block.splitlines(keepends=True))
    paths = f"{directory}:{os.environ['PATH']}"
    # As a shell at a prompt, which goes on after a command that failed.
    done = subprocess.run(["sh", "-c", script], env={"PATH": paths}, check=False, timeout=30)
    assert done.returncode == (1 if failing else 0)
    return [line.split() for line in log.read_text().splitlines()]


def identity(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def selected(command: list[str], documents: list[Document]) -> set[tuple[str, str]]:
    """Of the documents, what a `kubectl apply -k my-overlay` takes."""
    assert command[:3] == ["apply", "-k", "my-overlay"]
    wanted = dict([command[4].split("=")]) if command[3:4] == ["-l"] else {}
    assert len(command) in (3, 5)
    return {
        identity(each) for each in documents if matches({"matchLabels": wanted}, each["metadata"].get("labels", {}))
    }


def rolled_out_first() -> list[str]:
    """The order of docs/running.md, of the processes that Kubernetes runs."""
    section = (ROOT / "docs" / "running.md").read_text().split("\n## Restart and roll out\n")[1].split("\n## ")[0]
    items = re.findall(r"^\d\. (.*)", section, re.MULTILINE)
    return [name for item in items for name in re.findall(r"`([a-z]+)`", item)]


@pytest.mark.long
@pytest.mark.parametrize("number", [0, 1], ids=["install", "upgrade"])
def test_the_documented_commands_apply_everything_in_its_order(
    number: int, example: list[Document], tmp_path: Path
) -> None:
    steps = commands("Install, and upgrade", number, tmp_path)
    first: dict[tuple[str, str], int] = {}
    for at, command in enumerate(steps):
        if command[0] == "apply":
            for each in selected(command, example) - first.keys():
                first[each] = at
    assert steps[-1] == ["apply", "-k", "my-overlay"]
    assert set(first) == set(map(identity, example)), "nothing stays at the release before"

    def waited(job: str) -> int:
        [at] = [at for at, each in enumerate(steps) if "wait" in each and each[-1] == f"job/{job}"]
        assert "--for=condition=complete" in steps[at]
        return at

    assert first["Job", "migrate"] < waited("migrate") < first["Job", "topics"] < waited("topics")
    workloads = of_kind(example, *WORKLOADS)
    assert min(first[identity(each)] for each in workloads.values() if each["kind"] != "Job") > waited("topics")
    for each in workloads.values():
        mounted = {volume["configMap"]["name"] for volume in pod(each)["volumes"] if "configMap" in volume}
        mounted |= {source["configMapRef"]["name"] for source in container(each)["envFrom"]}
        needed = {("ConfigMap", name) for name in mounted & of_kind(example, "ConfigMap").keys()}
        needed |= {
            identity(policy)
            for policy in of_kind(example, "NetworkPolicy").values()
            if matches(policy["spec"]["podSelector"], pod_labels(each))
        }
        needed.add(("ServiceAccount", pod(each)["serviceAccountName"]))
        assert {name for name in needed if first[name] != first["Namespace", "consent-relay"]} == set()


@pytest.mark.long
def test_an_upgrade_replaces_one_process_after_the_other(example: list[Document], tmp_path: Path) -> None:
    steps = commands("Install, and upgrade", 1, tmp_path)
    kinds = {name: each["kind"].lower() for name, each in of_kind(example, "Deployment", "StatefulSet").items()}
    each_process = [
        step
        for name in rolled_out_first()
        for step in (
            ["apply", "-k", "my-overlay", "-l", f"{COMPONENT}={name}"],
            ["-n", "consent-relay", "rollout", "status", "--timeout=15m", f"{kinds[name]}/{name}"],
        )
    ]
    assert steps[-1 - len(each_process) : -1] == each_process
    assert sorted(rolled_out_first()) == sorted(kinds)
    assert steps[0] == ["-n", "consent-relay", "delete", "job", "migrate", "topics", "--ignore-not-found"]


@pytest.mark.parametrize(
    "failing", ["job/migrate", "component=suppression", "rollout status --timeout=15m statefulset/propagator"]
)
def test_an_upgrade_ends_where_something_fails(failing: str, tmp_path: Path) -> None:
    steps = [" ".join(step) for step in commands("Install, and upgrade", 1, tmp_path, failing=failing)]
    assert failing in steps[-1]
    assert [step for step in steps if failing in step] == steps[-1:]


@pytest.mark.long
def test_the_secrets_and_maps_that_an_operator_makes_are_listed(example: list[Document]) -> None:
    """Of README.md: each that a pod mounts and that no file here makes."""
    made = of_kind(example, "ConfigMap").keys()
    volumes = [volume for workload in of_kind(example, *WORKLOADS).values() for volume in pod(workload)["volumes"]]
    needed = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    needed |= {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    listed = set(re.findall(r"^\| `([a-z-]+)`", (KUBERNETES / "README.md").read_text(), re.MULTILINE))
    of_kafka = {name for name in needed if name.startswith("kafka-")}
    assert listed == needed - made - of_kafka | {"kafka-"}
    assert of_kafka == {f"kafka-{name}" for name in SETTINGS if name not in ("api", "migrate", "status")}


@pytest.mark.long
def test_the_example_s_sources_are_right_and_read_by_both_apis(example: list[Document], tmp_path: Path) -> None:
    text = config_maps(example)["sources"]["sources.yaml"]
    assert text == (EXAMPLE / "sources.yaml").read_text()
    for name in ("api", "webhooks"):
        workload = of_kind(example, "Deployment")[name]
        volumes = {each["name"]: each for each in pod(workload)["volumes"]}
        mounts = {
            each["mountPath"]: volumes[each["name"]]
            for each in container(workload)["volumeMounts"]
            if each.get("readOnly")
        }
        directory, _, file = environment(workload, example)["CONSENT_RELAY_INBOUND_FILE"].rpartition("/")
        assert (file, mounts[directory]["configMap"]["name"][:-11]) == ("sources.yaml", "sources")
        of_secret = mounts["/run/consent-relay/inbound"]["secret"]
        assert of_secret == {"secretName": "inbound", "defaultMode": 0o440}
    file = tmp_path / "sources.yaml"
    file.write_text(text.replace("/run/consent-relay/inbound/", f"{tmp_path}/"))
    (tmp_path / "crm").write_text(webhook_secret())
    (tmp_path / "sendgrid").write_text(SendGrid().verification_key)
    purposes = Purposes(declared=frozenset(config_maps(example)["settings"]["CONSENT_RELAY_PURPOSES"].split(",")))
    rules = ValidationRules(channels=("sms", "email", "voice"), default_region="FR", purposes=purposes)
    sources = read_sources(file, tenants=("acme",), rules=rules, environ={})
    declared = yaml.safe_load((EXAMPLE / "destinations.yaml").read_text())["destinations"]
    of_destinations = {each["name"]: (each["tenant"], each["channel"]) for each in declared}
    assert {name: (each.tenant, each.channel) for name, each in sources.items()} == {
        name: of_destinations[each.destination or ""] for name, each in sources.items()
    }


@pytest.mark.long
def test_the_example_s_preference_centre_offers_what_its_installation_has(example: list[Document]) -> None:
    settings, api = config_maps(example)["settings"], of_kind(example, "Deployment")["api"]
    directory, _, file = environment(api, example)["CONSENT_RELAY_THEME_FILE"].rpartition("/")
    mount = next(each for each in container(api)["volumeMounts"] if each["mountPath"] == directory)
    volume = next(each for each in pod(api)["volumes"] if each["name"] == mount["name"])
    assert (file, volume["configMap"]["name"][:-11]) == ("theme.yaml", "theme")
    assert config_maps(example)["theme"]["theme.yaml"] == (EXAMPLE / "theme.yaml").read_text()
    themes = read_themes(EXAMPLE / "theme.yaml", channels=settings["CONSENT_RELAY_CHANNELS"].split(","))
    offered = {purpose.id for purpose in themes["acme"].purposes}
    assert offered
    assert offered <= set(settings["CONSENT_RELAY_PURPOSES"].split(","))


def test_the_key_set_of_access_tokens_can_be_fetched_by_those_that_take_them() -> None:
    [policy] = yaml.safe_load_all((EXAMPLE / "authorization-server.yaml").read_text())
    kubernetes_validate.validate(policy, VERSIONS[0], strict=True)
    selector = policy["spec"]["podSelector"]
    chosen = {
        each["metadata"]["name"]
        for each in [*of_kind(BASE, *WORKLOADS).values(), *of_kind(WEBHOOKS, "Deployment").values()]
        if matches(selector, pod_labels(each))
    }
    taking = {name for name, each in PROCESSES.items() if issubclass(each, AccessTokenSettings)}
    assert chosen == taking | {"webhooks"}
    assert policy["spec"]["policyTypes"] == ["Egress"]
    assert ports(policy["spec"]["egress"]) == {443}
    assert policy["metadata"]["labels"] == {"consent-relay/stage": "prepare"}
    assert "# - authorization-server.yaml" in (EXAMPLE / "kustomization.yaml").read_text()


@pytest.mark.long
def test_kustomize_builds_the_base_as_it_is_read_here(tmp_path: Path) -> None:
    documents = built(KUBERNETES / "base", tmp_path)
    assert {(each["kind"], re.sub(r"-[a-z0-9]{10}$", "", each["metadata"]["name"])) for each in documents} == {
        (each["kind"], each["metadata"]["name"]) for each in BASE
    }
    for kind in ("NetworkPolicy", "PodDisruptionBudget", "Service"):
        for name, each in of_kind(documents, kind).items():
            assert each["spec"] == of_kind(BASE, kind)[name]["spec"]
    for name, each in of_kind(documents, *WORKLOADS).items():
        assert each["metadata"]["namespace"] == "consent-relay"
        assert pod_labels(each).items() >= {"app.kubernetes.io/part-of": "consent-relay", COMPONENT: name}.items()
        assert environment(each, documents) == environment(of_kind(BASE, *WORKLOADS)[name], BASE)


@pytest.mark.long
def test_the_api_for_webhooks_is_watched_as_every_process_is(example: list[Document]) -> None:
    """By Prometheus, and by the status page, whose policy lets it reach its pods alone."""
    status = of_kind(example, "Deployment")["status"]
    targets = {each.name: each for each in StatusSettings(**settings_of(environment(status, example))).targets}
    of_base = StatusSettings(**settings_of(environment(of_kind(BASE, "Deployment")["status"], BASE))).targets
    assert {name: each for name, each in targets.items() if name != "webhooks"} == {each.name: each for each in of_base}
    services = of_kind(example, "Service")
    labels = pod_labels(of_kind(example, "Deployment")["webhooks"])
    url = httpx.URL(targets["webhooks"].url)
    instances = services[url.host]["spec"]
    assert (instances["clusterIP"], instances["publishNotReadyAddresses"]) == ("None", True)
    assert matches({"matchLabels": instances["selector"]}, labels)
    [port] = instances["ports"]
    assert (port["port"], port["targetPort"]) == (url.port, "metrics")
    policies_of = of_kind(example, "NetworkPolicy")
    reached = [each for rule in policies_of["status"]["spec"]["egress"] for each in rule["to"] if "podSelector" in each]
    assert any(matches(each["podSelector"], labels) for each in reached)
    assert matches(policies_of["metrics"]["spec"]["podSelector"], labels)
    [monitor] = of_kind(example, "ServiceMonitor").values()
    [endpoint] = monitor["spec"]["endpoints"]
    watched = [
        each["metadata"]["labels"][COMPONENT]
        for each in services.values()
        if matches(monitor["spec"]["selector"], each["metadata"]["labels"])
        and endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
    ]
    assert sorted(watched) == sorted([*LASTING, "webhooks"]), "each pod is asked once"


@pytest.mark.long
def test_the_example_is_an_installation(example: list[Document], tmp_path: Path) -> None:
    """Built by the real program, with all components."""
    for document in example:
        if document["kind"] not in ("ServiceMonitor", "PrometheusRule"):
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    workloads = of_kind(example, *WORKLOADS)
    assert set(workloads) == {*SETTINGS, "webhooks"}
    for name, workload in workloads.items():
        check_settings("api" if name == "webhooks" else name, environment(workload, example), tmp_path)
        assert container(workload)["image"].startswith("images.example.com/consent-relay:")
    scaled = of_kind(example, "HorizontalPodAutoscaler")
    assert all("replicas" not in workloads[name]["spec"] for name in scaled)
    assert {"CONSENT_RELAY_PURPOSES", "FORWARDED_ALLOW_IPS"} <= set(config_maps(example)["settings"])
    assert of_kind(example, "ServiceMonitor")
    rules = of_kind(example, "PrometheusRule")
    for name in ("rules", "alerts"):
        shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / f"{name}.yml").read_text())
        assert rules[f"consent-relay-{name}"]["spec"] == shipped
    dashboards = {
        file: text
        for each in of_kind(example, "ConfigMap").values()
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for file, text in each["data"].items()
    }
    assert dashboards == {file.name: file.read_text() for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
    mounted = {each["configMap"]["name"] for each in pod(workloads["propagator"])["volumes"] if "configMap" in each}
    assert mounted & set(of_kind(example, "ConfigMap")), "the destinations of the overlay are those of the propagator"


def test_the_example_s_destinations_are_right(tmp_path: Path) -> None:
    text = (EXAMPLE / "destinations.yaml").read_text()
    credentials = set(re.findall(r"/run/consent-relay/credentials/(\w+)", text))
    for name in credentials:
        (tmp_path / name).write_text("whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE=")
    file = tmp_path / "destinations.yaml"
    file.write_text(text.replace("/run/consent-relay/credentials/", f"{tmp_path}/"))
    declared = read_destinations(
        file, catalogue=CATALOGUE, channels=("sms", "email", "voice"), keyring=None, environ={}
    )
    assert len(declared) == len(credentials)
