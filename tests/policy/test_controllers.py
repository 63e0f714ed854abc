"""The cluster's own controllers, under the policy: namespaces end, garbage goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.place import wait_until
from policy.village import Village, create, lock

if TYPE_CHECKING:
    from collections.abc import Callable


def gone(village: Village, name: str) -> Callable[[], Any]:
    return lambda: village.leases.get(name).status == 404


def test_a_namespace_with_locks_that_are_held_ends(village: Village) -> None:
    namespace = village.control_plane.create_namespace()
    doomed = Village(village.control_plane, namespace)
    doomed.bind("worker", "tasklock-client")
    for _ in range(3):
        doomed.held(doomed.pod())
    village.control_plane.kubectl("delete", "namespace", namespace, "--timeout=30s")
    assert village.control_plane.rest.request("GET", f"/api/v1/namespaces/{namespace}").status == 404


def test_the_garbage_collector_deletes_a_lock_whose_owner_went(village: Village) -> None:
    """The library sets no owner; somebody else may have."""
    configs = f"/api/v1/namespaces/{village.namespace}/configmaps"
    rest = village.control_plane.rest
    owner = rest.request("POST", configs, {"metadata": {"generateName": "owner-"}}).body["metadata"]
    pod = village.pod()
    body = lock("owned", pod.uid)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["name"], "uid": owner["uid"]}
    body["metadata"]["ownerReferences"] = [reference]
    assert create(pod.leases, body).status == 201
    assert rest.request("DELETE", f"{configs}/{owner['name']}").status == 200
    wait_until(gone(village, body["metadata"]["name"]))


def test_the_garbage_collector_finishes_a_deletion_that_orphans(village: Village) -> None:
    """It takes its own finalizer off, which is an UPDATE of the Lease by nobody's pod."""
    name = village.held(village.pod())["metadata"]["name"]
    done = village.leases.rest.request("DELETE", f"{village.leases.path}/{name}", {"propagationPolicy": "Orphan"})
    assert done.status == 200
    wait_until(gone(village, name))
