"""``manifests/client`` and the examples apply on a real API server, grant exactly what they say, and run restricted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.leases import Leases

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane

MANIFESTS = Path(__file__).parents[2] / "manifests"
CLIENT = MANIFESTS / "client"
EXAMPLES = sorted((MANIFESTS / "examples").glob("*.yaml"))
VERBS = {"get", "list", "watch", "create", "patch", "delete"}


@pytest.fixture
def overlay(tmp_path: Path, namespace: str) -> Path:
    """Make a kustomization that puts manifests/client into the test's namespace, as a user's own would."""
    shutil.copytree(CLIENT, tmp_path / "tasklock")
    (tmp_path / "kustomization.yaml").write_text(f"namespace: {namespace}\nresources: [tasklock]\n")
    return tmp_path


@pytest.fixture
def applied(control_plane: ControlPlane, overlay: Path) -> None:
    control_plane.kubectl("apply", "--dry-run=server", "-k", str(overlay))
    control_plane.kubectl("apply", "-k", str(overlay))


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def pod_template(workload: Any) -> Any:
    spec = workload["spec"]
    return (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]


def example(kind: str) -> Any:
    return next(found for path in EXAMPLES for found in documents(path) if found["kind"] == kind)


def test_the_manifests_apply_as_they_are(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "--dry-run=server", "-k", str(CLIENT))


@pytest.mark.usefixtures("applied")
def test_the_role_grants_six_verbs_on_leases_and_nothing_else(
    control_plane: ControlPlane,
    namespace: str,
) -> None:
    role = json.loads(control_plane.kubectl("get", "role", "tasklock-client", "-ojson", f"-n{namespace}"))
    (rule,) = role["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["coordination.k8s.io"], ["leases"])
    assert sorted(rule["verbs"]) == sorted(VERBS)
    assert set(rule) == {"apiGroups", "resources", "verbs"}


@pytest.mark.usefixtures("applied")
def test_the_worker_account_may_do_just_that_in_its_namespace(
    control_plane: ControlPlane,
    namespace: str,
) -> None:
    """Asked of the API server's authorizer, with the worker's own token."""
    worker = control_plane.service_account_rest(namespace, "tasklock-worker")

    def may(verb: str, resource: str, where: str) -> bool:
        attributes = {"verb": verb, "group": "coordination.k8s.io", "resource": resource, "namespace": where}
        reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        reply = worker.request("POST", reviews, {"spec": {"resourceAttributes": attributes}})
        assert reply.status == 201, reply
        return bool(reply.body["status"]["allowed"])

    every_verb = [*VERBS, "update", "deletecollection", "forcerelease"]
    assert {verb for verb in every_verb if may(verb, "leases", namespace)} == VERBS
    assert not any(may(verb, "leases", "default") for verb in every_verb)
    assert not any(may(verb, "leasecandidates", namespace) for verb in every_verb)


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_applies_without_a_warning_where_pods_are_restricted(
    control_plane: ControlPlane,
    namespace: str,
    path: Path,
) -> None:
    level = "pod-security.kubernetes.io"
    control_plane.kubectl("label", "namespace", namespace, f"{level}/enforce=restricted")
    control_plane.kubectl("label", "namespace", namespace, f"{level}/warn=restricted")
    apply = ("apply", "--warnings-as-errors", f"-n{namespace}", "-f", str(path))
    control_plane.kubectl(*apply, "--dry-run=server")
    control_plane.kubectl(*apply)


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_a_pod_of_an_example_is_admitted_where_pods_are_restricted(
    control_plane: ControlPlane,
    namespace: str,
    kind: str,
) -> None:
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    control_plane.kubectl("label", "namespace", namespace, enforce)
    pod = {"apiVersion": "v1", "kind": "Pod", **pod_template(example(kind))}
    pod["metadata"] = {**pod["metadata"], "name": "one"}
    control_plane.kubectl("create", f"-n{namespace}", "-f-", input=json.dumps(pod))


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_an_example_runs_as_the_account_that_the_role_is_bound_to(kind: str) -> None:
    (binding,) = documents(CLIENT / "rolebinding.yaml")
    assert pod_template(example(kind))["spec"]["serviceAccountName"] in [
        subject["name"] for subject in binding["subjects"]
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_the_worker_of_the_deployment_runs_under_the_role_and_frees_its_lock_when_stopped(
    control_plane: ControlPlane,
    namespace: str,
) -> None:
    config = control_plane.service_account_kubeconfig(namespace, "tasklock-worker")
    leases = Leases(control_plane.rest, namespace)
    with subprocess.Popen(
        [sys.executable, "-u", "-c", example("ConfigMap")["data"]["worker.py"]],
        env={**os.environ, "KUBECONFIG": str(config)},
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline().startswith("step 0, fencing token ")
            (held,) = leases.list()["items"]
            assert held["metadata"]["annotations"]["tasklock.dev/name"] == "shared-import"
            worker.terminate()
            assert worker.wait(10) == 0
        finally:
            worker.kill()
    assert leases.list()["items"] == []


def test_every_document_carries_the_recommended_labels() -> None:
    for path in [*(CLIENT / f"{kind}.yaml" for kind in ("serviceaccount", "role", "rolebinding")), *EXAMPLES]:
        for document in documents(path):
            assert "app.kubernetes.io/name" in document["metadata"]["labels"], path
