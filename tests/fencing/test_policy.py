"""What the policy of manifests/fence lets through and what it does not, asked of the real API server."""

from __future__ import annotations

import json
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.rest import MERGE_PATCH, Reply
from contract.place import wait_until
from fencing.places import FENCE, MANIFESTS, Fenced, accepted, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def put(fenced: Fenced, token: str | None) -> Reply:
    body = fenced.get()
    body["metadata"]["annotations"] = {} if token is None else {FENCE: token}
    return fenced.rest.request("PUT", f"{fenced.path}/thing", body)


def json_patch(fenced: Fenced, token: str | None) -> Reply:
    where = f"/metadata/annotations/{FENCE.replace('/', '~1')}"
    step = {"op": "remove", "path": where} if token is None else {"op": "replace", "path": where, "value": token}
    return fenced.rest.request("PATCH", f"{fenced.path}/thing", [step], JSON_PATCH)


def patch(kind: str) -> Callable[[Fenced, str | None], Reply]:
    def sent(fenced: Fenced, token: str | None) -> Reply:
        body = {"metadata": {"annotations": {FENCE: token}}}
        return fenced.rest.request("PATCH", f"{fenced.path}/thing", body, kind)

    return sent


WAYS: dict[str, Callable[[Fenced, str | None], Reply]] = {
    "merge patch": patch(MERGE_PATCH),
    "strategic merge patch": patch(STRATEGIC),
    "JSON patch": json_patch,
    "PUT": put,
    "server-side apply": lambda fenced, token: fenced.apply("owner", token, value="1"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_smaller_token_is_refused_however_it_is_written(fenced: Fenced, way: Any) -> None:
    accepted(fenced.apply("owner", "10"))
    refused(way(fenced, "9"), "9", "10", "comes too late", "its lock was lost")
    accepted(way(fenced, "10"))
    accepted(way(fenced, "100"))
    refused(way(fenced, "99"), "comes too late")
    refused(way(fenced, None), "may not be removed", "now 100")
    assert fenced.fence_of() == "100"


def test_the_change_that_came_with_a_smaller_token_is_not_made(fenced: Fenced) -> None:
    accepted(fenced.create(fence="57"))
    refused(fenced.patch("41", value="late"))
    assert fenced.get()["data"] == {"value": "0"}
    accepted(fenced.patch("57", value="in time"))
    assert fenced.get()["data"] == {"value": "in time"}


NO_TOKENS = ["", "0", "007", "-1", "+1", "1.5", "1e3", "abc", "\u0663", " 5", "5 ", "5\n", "9" * 19, "RESET", "0x10"]


@pytest.mark.parametrize("text", NO_TOKENS, ids=ascii)
def test_what_is_no_number_is_refused_when_written(fenced: Fenced, text: str) -> None:
    refused(fenced.create("other", fence=text), "must be the fencing token", "TASKLOCK_TOKEN")
    accepted(fenced.create(fence="5"))
    refused(fenced.patch(text), "must be the fencing token")


def test_the_largest_token_is_far_above_any_revision_and_still_compared_right(fenced: Fenced) -> None:
    accepted(fenced.create(fence="9" * 18))
    refused(fenced.patch("9" * 17 + "8"), "comes too late")
    refused(fenced.patch("1" + "0" * 18), "must be the fencing token")


def test_a_write_without_the_annotation_is_not_fenced_and_keeps_it(fenced: Fenced) -> None:
    """The API server cannot know who holds what: each holder must send its token along."""
    accepted(fenced.create(fence="5"))
    accepted(fenced.patch(None, value="unfenced"))
    accepted(fenced.apply("another", None, value="unfenced"))
    assert fenced.fence_of() == "5"


def test_each_of_several_locks_has_a_fence_of_its_own(fenced: Fenced) -> None:
    accepted(fenced.create(fence_disk="10", fence_net="900", fence="50"))

    def write(**fences: str) -> Reply:
        annotations = {f"tasklock.dev/fence.{key}": value for key, value in fences.items()}
        return fenced.rest.request(
            "PATCH", f"{fenced.path}/thing", {"metadata": {"annotations": annotations}}, MERGE_PATCH
        )

    accepted(write(disk="11"))
    refused(write(disk="10", net="901"), "tasklock.dev/fence.disk is 10", "11")
    refused(write(net="899"), "tasklock.dev/fence.net is 899")
    accepted(write(net="901"))
    accepted(write(other="1"))


def test_status_and_other_subresources_cannot_lower_it_either(fenced: Fenced) -> None:
    deployments = f"/apis/apps/v1/namespaces/{fenced.namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"metadata": {"name": "d", "annotations": {FENCE: "10"}}, "spec": spec}
    accepted(fenced.rest.request("POST", deployments, body))

    def write(subresource: str, body: Any) -> Reply:
        return fenced.rest.request("PATCH", f"{deployments}/d{subresource}", body, MERGE_PATCH)

    lower = {"metadata": {"annotations": {FENCE: "9"}}}
    refused(write("/status", lower), "comes too late")
    refused(write("", lower), "comes too late")
    accepted(write("/status", {"status": {"replicas": 0, "observedGeneration": 1}}))
    accepted(write("/scale", {"spec": {"replicas": 3}}))  # a Scale has no annotations: not fenced, says the page


def test_an_object_outside_of_namespaces_is_fenced_too(fenced: Fenced) -> None:
    namespaces = f"/api/v1/namespaces/{fenced.namespace}"

    def write(token: str) -> Reply:
        return fenced.rest.request("PATCH", namespaces, {"metadata": {"annotations": {FENCE: token}}}, MERGE_PATCH)

    accepted(write("10"))
    refused(write("9"), "comes too late")


def test_a_lock_itself_is_none_of_the_policys_business(fenced: Fenced) -> None:
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{fenced.namespace}/leases"
    accepted(fenced.rest.request("POST", leases, {"metadata": {"name": "x", "annotations": {FENCE: "odd"}}}))


def test_deletion_is_fenced_by_the_version_that_the_token_was_written_to(fenced: Fenced) -> None:
    accepted(fenced.create())
    mine = fenced.patch("5").body["metadata"]["resourceVersion"]
    accepted(fenced.patch("6"))
    options = {"preconditions": {"resourceVersion": mine}}
    assert fenced.rest.request("DELETE", f"{fenced.path}/thing", options).status == 409
    mine = fenced.patch("6", value="x").body["metadata"]["resourceVersion"]
    options = {"preconditions": {"resourceVersion": mine}}
    accepted(fenced.rest.request("DELETE", f"{fenced.path}/thing", options))


def test_a_late_patch_does_not_bring_a_deleted_object_back_but_a_late_apply_does(fenced: Fenced) -> None:
    """With the object goes its fence: what is fenced is emptied rather than deleted, says the page."""
    accepted(fenced.create(fence="6"))
    accepted(fenced.rest.request("DELETE", f"{fenced.path}/thing"))
    assert fenced.patch("5").status == 404
    accepted(fenced.apply("late", "5"))


def test_kubectl_apply_of_a_manifest_without_the_annotation_keeps_it(fenced: Fenced) -> None:
    manifest = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thing"}, "data": {"a": "b"}})
    kubectl = fenced.control_plane.kubectl
    kubectl("-n", fenced.namespace, "apply", "-f", "-", input=manifest)
    accepted(fenced.patch("5"))
    kubectl("-n", fenced.namespace, "apply", "-f", "-", input=manifest.replace('"b"', '"c"'))
    assert fenced.fence_of() == "5"


def test_a_fence_is_set_back_only_by_the_verb_for_it_and_in_so_many_words(fenced: Fenced) -> None:
    accepted(fenced.create(fence="500"))
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{fenced.namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}
    accepted(fenced.rest.request("POST", f"{rbac}/roles", {"metadata": {"name": "writer"}, "rules": [rule]}))
    for account, roles in (("writer", [("Role", "writer")]), ("chief", [("Role", "writer"), ("ClusterRole", "reset")])):
        for kind, name in roles:
            name = "tasklock-fence-reset" if kind == "ClusterRole" else name  # noqa: PLW2901 - in full
            body = {
                "metadata": {"generateName": "x-"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": fenced.namespace}],
            }
            accepted(fenced.rest.request("POST", f"{rbac}/rolebindings", body))
    writer, chief = (fenced.control_plane.service_account_rest(fenced.namespace, name) for name in ("writer", "chief"))
    for rest in (writer, chief):
        wait_until(lambda rest=rest: fenced.patch(rest=rest).status == 200)  # the API server knows of the Role
    refused(fenced.patch("reset", rest=writer), "verb resetfence")
    refused(fenced.patch("1", rest=chief), "comes too late")  # the verb alone excuses no late write
    refused(fenced.patch("1"), "comes too late")  # nor does being the administrator
    wait_until(lambda: fenced.patch("reset", rest=chief).status == 200)
    accepted(fenced.patch("1", rest=writer))
    refused(WAYS["merge patch"](fenced, None), "may not be removed")
    accepted(fenced.patch("reset"))
    accepted(WAYS["merge patch"](fenced, None))


def test_writers_that_race_never_lower_it(fenced: Fenced) -> None:
    accepted(fenced.create(fence="1"))
    tokens = list(range(1, 97))
    random.Random(5).shuffle(tokens)
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda token: fenced.patch(str(token), value=str(token)), tokens))
    written = sorted(
        (int(reply.body["metadata"]["resourceVersion"]), int(reply.body["data"]["value"]))
        for reply in replies
        if reply.status == 200
    )
    assert [token for _, token in written] == sorted(token for _, token in written)
    assert written[-1][1] == 96
    assert {reply.status for reply in replies} == {200, 403}


def test_the_chart_renders_the_very_same(helm: Path) -> None:
    chart = MANIFESTS.parents[1] / "charts" / "tasklock"
    command = [helm, "template", "tasklock", chart, "--set", "fence.enabled=true"]
    rendered = subprocess.run(
        [*command, "--show-only", "templates/fencepolicy.yaml"], capture_output=True, text=True, check=True
    ).stdout
    ours = [yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text()) for name in ("policy", "binding", "reset-role")]
    assert _by_kind(yaml.safe_load_all(rendered)) == _by_kind(ours)


def _by_kind(objects: Iterable[Any]) -> dict[str, Any]:
    return {one["kind"]: one | {"metadata": {**one["metadata"], "labels": None}} for one in objects}
