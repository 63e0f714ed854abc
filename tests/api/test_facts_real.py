"""Facts about the API server that only the real one can show: restarts, races, admission, tokens."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cluster.leases import Leases, lease
from cluster.rest import APPLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.control_plane import ControlPlane

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
POD_UID = "authentication.kubernetes.io/pod-uid"


# ---- watches and restarts


def errors(events: Iterator[Any]) -> list[int]:
    return [event["object"]["code"] for event in events if event["type"] == "ERROR"]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["graceful", "killed"])
def test_after_a_restart_a_watch_from_an_objects_version_is_410_until_the_object_changes(
    control_plane: ControlPlane,
    real: Leases,
    *,
    kill: bool,
) -> None:
    """And again after every re-GET; a watch from a LIST's version is fresh."""
    real.create("a")
    real.create("b")  # a later write of the same type, as in any cluster
    control_plane.stop_api(kill=kill)
    control_plane.start_api()
    query = "fieldSelector=metadata.name=a&timeoutSeconds=1&resourceVersion="
    for _ in range(2):
        read_again = real.get("a").body["metadata"]["resourceVersion"]
        with real.watch(query + read_again) as events:
            assert errors(events) == [410]
    listed = real.list("fieldSelector=metadata.name=a")["metadata"]["resourceVersion"]
    with real.watch(query + listed) as events:
        assert errors(events) == []
    changed = real.patch("a", {"spec": {"holderIdentity": "worker-2"}}).body["metadata"]["resourceVersion"]
    with real.watch(query + changed) as events:
        assert errors(events) == []


# ---- server-side apply: never used, because


def test_server_side_apply_creates_what_is_missing(real: Leases) -> None:
    applied = real.patch("a", lease("a"), query="fieldManager=test", content_type=APPLY)
    assert applied.status == 201
    assert real.get("a").status == 200


# ---- deletecollection: never used, because


def test_deletecollection_deletes_by_name_what_it_listed_before(real: Leases) -> None:
    """A lease that was made anew meanwhile, and no longer matches the selector, is deleted all the same."""
    names = [f"l-{number:03}" for number in range(300)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: real.create(name, metadata={"labels": {"old": "yes"}}), names))
    start = real.list()["metadata"]["resourceVersion"]
    with ThreadPoolExecutor(1) as pool, real.watch(f"resourceVersion={start}&timeoutSeconds=60") as events:
        collection = pool.submit(real.rest.request, "DELETE", f"{real.path}?labelSelector=old%3Dyes")
        assert next(events)["type"] == "DELETED"  # it has listed, and works its way through the names
        assert real.delete(names[-1]).status == 200
        anew = real.create(names[-1])
        assert "labels" not in anew["metadata"]
        assert collection.result().status == 200
    assert real.get(names[-1]).status == 404


def test_a_precondition_of_deletecollection_is_held_against_every_lease(real: Leases) -> None:
    """So it can name no object of the collection: the first other one ends it."""
    real.create("a")
    second = real.create("b")
    body = {"preconditions": {"uid": second["metadata"]["uid"]}}
    assert real.rest.request("DELETE", real.path, body).status == 409
    assert [item["metadata"]["name"] for item in real.list()["items"]] == ["a", "b"]


# ---- admission policies


@contextmanager
def policy(real: Leases, *validations: dict[str, str]) -> Iterator[None]:
    """Hold a ValidatingAdmissionPolicy on this namespace's leases, in force on entry."""
    canary = {"expression": "object.metadata.name != 'canary'"}
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "apiVersions": ["v1"],
        "resources": ["leases"],
        "operations": ["CREATE", "UPDATE"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": real.namespace}}
    parts = {
        "validatingadmissionpolicies": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": here, "resourceRules": [rule]},
            "validations": [*validations, canary],
        },
        "validatingadmissionpolicybindings": {
            "policyName": real.namespace,
            "validationActions": ["Deny"],
        },
    }
    for kind, spec in parts.items():
        body = {"metadata": {"name": real.namespace}, "spec": spec}
        assert real.rest.request("POST", f"{ADMISSION}/{kind}", body).status == 201
    try:
        deadline = time.monotonic() + 30
        while real.post("canary", query="dryRun=All").status == 201:
            assert time.monotonic() < deadline, "the policy never came into force"
            time.sleep(0.05)
        yield
    finally:
        for kind in parts:
            real.rest.request("DELETE", f"{ADMISSION}/{kind}/{real.namespace}")


def no_thief(**more: str) -> dict[str, str]:
    return {"expression": "object.spec.holderIdentity != 'thief'", **more}


def test_a_policys_denial_is_422_invalid_with_no_field_among_its_causes(real: Leases) -> None:
    """It cannot be taken for a failed uid check, whose cause names the field ``metadata.uid``."""
    real.create("a")
    with policy(real, no_thief()):
        for denied in (
            real.post("b", holderIdentity="thief"),
            real.patch("a", {"spec": {"holderIdentity": "thief"}}),
        ):
            assert (denied.status, denied.body["reason"]) == (422, "Invalid")
            assert all("field" not in cause for cause in denied.body["details"].get("causes", []))


def test_a_policys_denial_with_a_reason_is_403_forbidden(real: Leases) -> None:
    real.create("a")
    with policy(real, no_thief(reason="Forbidden")):
        for denied in (
            real.post("b", holderIdentity="thief"),
            real.patch("a", {"spec": {"holderIdentity": "thief"}}),
        ):
            assert (denied.status, denied.body["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize(("asks_first", "status"), [("", 422), ("has(request.userInfo.extra) && ", 403)])
def test_a_policy_expression_that_fails_is_422_whatever_reason_it_sets(
    real: Leases,
    asks_first: str,
    status: int,
) -> None:
    """``userInfo.extra`` is missing, not empty, for a caller that has none: an expression must ask first."""
    expression = f"{asks_first}'{POD_UID}' in request.userInfo.extra"
    with policy(real, {"expression": expression, "reason": "Forbidden"}):
        assert real.post("a").status == status


@pytest.mark.parametrize("more", [{}, {"reason": "Forbidden"}], ids=["plain", "forbidden"])
def test_the_uid_check_of_a_patch_comes_before_the_policy(real: Leases, more: dict[str, str]) -> None:
    real.create("a")
    with policy(real, no_thief(**more)):
        refused = real.patch("a", {"metadata": {"uid": "another"}, "spec": {"holderIdentity": "thief"}})
    assert refused.status == 422
    assert {cause["field"] for cause in refused.body["details"]["causes"]} == {"metadata.uid"}


# ---- pod-bound tokens


@pytest.fixture
def pod(control_plane: ControlPlane, namespace: str) -> Iterator[Any]:
    """Make a Pod object that is scheduled to a node."""
    rest = control_plane.rest
    node = rest.request("POST", "/api/v1/nodes", {"metadata": {"generateName": "node-"}}).body["metadata"]
    spec = {"nodeName": node["name"], "containers": [{"name": "worker", "image": "worker"}]}
    body = {"metadata": {"name": "worker-1"}, "spec": spec}
    made = rest.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
    assert made.status == 201, made
    yield made.body
    rest.request("DELETE", f"/api/v1/nodes/{node['name']}")


def test_a_pod_bound_token_claims_its_pod_and_node(control_plane: ControlPlane, pod: Any) -> None:
    namespace = pod["metadata"]["namespace"]
    token = control_plane.service_account_token(namespace, "default", pod="worker-1")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["kubernetes.io"]
    assert claims["namespace"] == namespace
    assert claims["pod"] == {"name": "worker-1", "uid": pod["metadata"]["uid"]}
    assert claims["node"]["name"] == pod["spec"]["nodeName"]


def test_admission_sees_the_pod_of_a_pod_bound_token(
    control_plane: ControlPlane,
    real: Leases,
    pod: Any,
) -> None:
    namespace = real.namespace
    control_plane.kubectl("create", "role", "w", "--verb=create", "--resource=leases", f"-n{namespace}")
    account = f"--serviceaccount={namespace}:default"
    control_plane.kubectl("create", "rolebinding", "w", "--role=w", account, f"-n{namespace}")

    def leases_of(bound_to: str | None) -> Leases:
        return Leases(control_plane.service_account_rest(namespace, "default", pod=bound_to), namespace)

    mine = f"request.userInfo.extra['{POD_UID}'][0] == object.metadata.annotations['tasklock.dev/pod-uid']"
    asks_first = f"has(request.userInfo.extra) && '{POD_UID}' in request.userInfo.extra && {mine}"
    annotated = {"annotations": {"tasklock.dev/pod-uid": pod["metadata"]["uid"]}}
    elsewhere = {"annotations": {"tasklock.dev/pod-uid": "another pod"}}
    with policy(real, {"expression": asks_first, "reason": "Forbidden"}):
        assert leases_of("worker-1").post("a", metadata=annotated).status == 201
        assert leases_of("worker-1").post("b", metadata=elsewhere).status == 403
        assert leases_of(None).post("c", metadata=annotated).status == 403
