"""The chart and the manifests on a real API server: accepted as they are, upgraded, rolled back, and gone again."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chart.generate import CHART, ROOT
from chart.render import NAMESPACE, helm_template
from reaping.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster.control_plane import ControlPlane

EVERYTHING: Any = {
    "client": {
        "bindings": [{"namespace": "NAMESPACE", "subjects": [{"name": "a"}, {"kind": "Group", "name": "b"}]}],
        "boundElsewhere": [{"kind": "User", "name": "c"}],
    },
    "commonLabels": {"team": "a"},
    "dashboard": {"enabled": True},
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
    "extraVolumes": [{"name": "v", "emptyDir": {}}],
    "fence": {"enabled": True},
    "flowSchema": {"enabled": True},
    "forceRelease": {
        "enabled": True,
        "proxy": {
            "container": {
                "name": "proxy",
                "image": "proxy",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            },
        },
    },
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "s"}],
    "networkPolicy": {"enabled": True, "ingressFrom": [{"podSelector": {}}], "apiServer": [{"podSelector": {}}]},
    "ownershipPolicy": {"enabled": True, "validationActions": ["Warn", "Audit"]},
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
    "priorityClassName": "system-cluster-critical",
    "tolerations": [{"operator": "Exists"}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
}
RELEASE = "rollout"  # not the one of the manifests, which this test applies too
NAME = "rollout-tasklock"


@pytest.fixture
def restricted(control_plane: ControlPlane, namespace: str) -> str:
    """Give a namespace that takes restricted pods only, and warns of whatever would make others."""
    for mode in ("enforce", "warn"):
        label = f"pod-security.kubernetes.io/{mode}=restricted"
        control_plane.kubectl("label", "namespace", namespace, label)
    return namespace


def documents(text: str) -> list[Any]:
    return [found for found in yaml.safe_load_all(text) if found]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_api_server_takes_every_object_without_a_warning(
    control_plane: ControlPlane,
    restricted: str,
    helm: Path,
    tmp_path: Path,
    values: Any,
) -> None:
    """Unknown fields are errors; the pods of the Deployment and of ``helm test`` are restricted ones."""
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values).replace("NAMESPACE", restricted))
    found = documents(helm_template(helm, CHART, "--values", str(file), namespace=restricted))
    (deployment,) = (one for one in found if one["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    found.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": template["spec"]})
    if values:
        kinds = {one["kind"] for one in found}
        assert kinds >= {"FlowSchema", "NetworkPolicy", "PodDisruptionBudget", "ValidatingAdmissionPolicy", "ConfigMap"}
    apply = ("apply", f"-n{restricted}", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f-")
    accounts = [one for one in found if one["kind"] == "ServiceAccount"]
    control_plane.kubectl("apply", f"-n{restricted}", "-f-", input=yaml.safe_dump_all(accounts))  # pods need them
    control_plane.kubectl(*apply, input=yaml.safe_dump_all(found))


@pytest.fixture
def helm_in(control_plane: ControlPlane, helm: Path, restricted: str) -> Callable[..., str]:
    """Run helm as the administrator in the restricted namespace."""

    def run(*args: str | Path) -> str:
        environment = {"KUBECONFIG": str(control_plane.kubeconfig), "HOME": str(control_plane.folder)}
        command = [helm, *args, "--namespace", restricted]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """Give the chart as an older version of it: with another image, without the policies of this one."""
    folder = tmp_path / "previous"
    shutil.copytree(CHART, folder)
    meta = yaml.safe_load((folder / "Chart.yaml").read_text()) | {"version": "0.0.9", "appVersion": "0.0.9"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(meta))
    (folder / "templates" / "ownership-policy.yaml").unlink()
    return folder


def test_it_is_upgraded_rolled_back_and_leaves_nothing(
    control_plane: ControlPlane,
    restricted: str,
    helm_in: Callable[..., str],
    previous: Path,
) -> None:
    helm_in("install", RELEASE, previous)
    assert images(control_plane, restricted) == ["registry.example/tasklock-operator:0.0.9"]
    selector = deployment(control_plane, restricted)["spec"]["selector"]

    values = ("--set", "ownershipPolicy.enabled=true,replicas=2,operator.namespaces={" + restricted + "}")
    helm_in("upgrade", RELEASE, CHART, *values)
    assert images(control_plane, restricted) == ["registry.example/tasklock-operator:0.1.0"]
    assert deployment(control_plane, restricted)["spec"]["selector"] == selector
    assert stray(control_plane) >= {
        f"role/{NAME}",
        f"validatingadmissionpolicy/{NAME}-ownership",
        f"clusterrole/{NAME}-force-release",
    }
    assert f"clusterrole/{NAME}" not in stray(control_plane)  # it has a Role now

    helm_in("rollback", RELEASE, "1")
    assert images(control_plane, restricted) == ["registry.example/tasklock-operator:0.0.9"]
    assert deployment(control_plane, restricted)["spec"]["replicas"] == 1
    assert f"clusterrole/{NAME}" in stray(control_plane)
    assert not any("policy" in name for name in stray(control_plane))

    helm_in("uninstall", RELEASE)
    assert stray(control_plane) == set()


def deployment(control_plane: ControlPlane, namespace: str) -> Any:
    return json.loads(control_plane.kubectl("get", "deployment", NAME, f"-n{namespace}", "-ojson"))


def images(control_plane: ControlPlane, namespace: str) -> list[str]:
    found = deployment(control_plane, namespace)
    return [container["image"] for container in found["spec"]["template"]["spec"]["containers"]]


def stray(control_plane: ControlPlane) -> set[str]:
    """Return what there is of the release, of whatever kind the chart knows, in the whole cluster."""
    kinds = (
        "deployments,services,serviceaccounts,configmaps,roles,rolebindings,clusterroles,clusterrolebindings,"
        "networkpolicies,poddisruptionbudgets,validatingadmissionpolicies,validatingadmissionpolicybindings,"
        "flowschemas,prioritylevelconfigurations"
    )
    label = f"app.kubernetes.io/instance={RELEASE}"
    template = '{{range .items}}{{.kind}}/{{.metadata.name}}{{"\\n"}}{{end}}'
    listed = control_plane.kubectl("get", kinds, "-A", "-l", label, "-o", f"go-template={template}")
    return {f"{kind.lower()}/{name}" for kind, name in (line.split("/") for line in listed.split())}


@pytest.fixture
def applied(control_plane: ControlPlane) -> Iterator[None]:
    manifests = str(ROOT / "manifests")
    control_plane.kubectl("apply", "--validate=strict", "-k", manifests)
    yield
    made = documents(control_plane.kubectl("kustomize", manifests))
    rest = [one for one in made if one["kind"] != "Namespace"]  # which would never be gone here
    control_plane.kubectl("delete", "-f-", input=yaml.safe_dump_all(rest))


@pytest.mark.usefixtures("applied")
def test_the_manifests_apply_and_give_operator_and_worker_what_they_need(control_plane: ControlPlane) -> None:
    def may(account: str, verb: str, resource: str, where: str) -> bool:
        try:
            answer = control_plane.kubectl("auth", "can-i", verb, resource, f"--as={account}", f"-n{where}")
        except subprocess.CalledProcessError as error:  # no
            answer = error.stdout
        return answer.strip() == "yes"

    found = control_plane.kubectl("get", "deployment,service,serviceaccount", f"-n{NAMESPACE}", "-oname")
    assert set(found.split()) == {"deployment.apps/tasklock", "service/tasklock", "serviceaccount/tasklock"}
    operator = f"system:serviceaccount:{NAMESPACE}:tasklock"
    wait_until(lambda: may(operator, "delete", "leases.coordination.k8s.io", "default"))
    assert not may(operator, "create", "leases.coordination.k8s.io", "default")
    worker = "system:serviceaccount:default:tasklock-worker"
    wait_until(lambda: may(worker, "create", "leases.coordination.k8s.io", "default"))
    assert not may(worker, "create", "leases.coordination.k8s.io", NAMESPACE)
    control_plane.kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-k", str(ROOT / "manifests"))
