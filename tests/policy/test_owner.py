"""Who may write the Lease of a lock: the pod that it names, those who may force, and nobody else."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from chart.render import NAMESPACE, RELEASE
from cluster.leases import Leases, lease
from policy.village import create, lock, operator, refused, renewal

if TYPE_CHECKING:
    from policy.village import Village

FORCE = "ClusterRole tasklock-force-release"


def test_the_pod_that_a_lock_names_creates_renews_and_deletes_it(village: Village) -> None:
    pod = village.pod()
    name = village.held(pod)["metadata"]["name"]
    assert pod.leases.patch(name, renewal()).status == 200
    assert pod.leases.patch(name, {"metadata": {"annotations": {"tasklock.dev/token": "7"}}}).status == 200
    assert pod.leases.delete(name).status == 200


def test_another_pod_of_the_same_account_may_do_none_of_it(village: Village) -> None:
    name = village.held(village.pod())["metadata"]["name"]
    other = village.pod()
    refused(other.leases.patch(name, renewal()), f"you are pod {other.uid}")
    refused(other.leases.delete(name), FORCE)
    assert village.leases.get(name).status == 200


def test_a_neighbour_in_the_same_pod_may_take_over(village: Village) -> None:
    """Another container has another token, bound to the same pod."""
    pod = village.pod()
    held = village.held(pod)
    rest = village.control_plane.service_account_rest(village.namespace, "worker", pod=pod.name)
    neighbour = Leases(rest, village.namespace)
    about = held["metadata"]
    assert neighbour.delete(about["name"], uid=about["uid"], resourceVersion=about["resourceVersion"]).status == 200
    assert create(neighbour, lock(about["annotations"]["tasklock.dev/name"], pod.uid)).status == 201


def test_credentials_that_are_bound_to_no_pod_take_no_lock(village: Village) -> None:
    leases = village.person("worker", "tasklock-client")
    refused(create(leases, lock("laptop", village.pod().uid)), "your credentials are bound to no pod")
    refused(create(leases, lock("laptop", None)), "Take locks from inside a pod")


def test_kubectl_delete_by_an_ordinary_user_is_refused_with_a_sentence(village: Village) -> None:
    name = village.held(village.pod())["metadata"]["name"]
    village.person("ordinary", "edit")
    config = village.control_plane.service_account_kubeconfig(village.namespace, "ordinary")
    with pytest.raises(subprocess.CalledProcessError) as error:
        village.control_plane.kubectl(f"--kubeconfig={config}", "delete", "lease", name)
    said = error.value.stderr
    assert f"Lease {village.namespace}/{name} is a lock" in said
    assert "ask for the ClusterRole tasklock-force-release; the operator frees it by itself" in said


@pytest.mark.parametrize("role", ["admin", "tasklock-force-release", "cluster-admin"])
def test_kubectl_delete_by_somebody_who_may_force_works(village: Village, role: str) -> None:
    name = village.held(village.pod())["metadata"]["name"]
    village.person(f"may-{role}", role)
    config = village.control_plane.service_account_kubeconfig(village.namespace, f"may-{role}")
    village.control_plane.kubectl(f"--kubeconfig={config}", "delete", "lease", name)
    assert village.leases.get(name).status == 404


def test_the_operator_deletes_and_does_nothing_else(village: Village) -> None:
    village.bind(RELEASE, "edit", of=NAMESPACE)  # were it to have more verbs than the chart gives it
    held = village.held(village.pod())["metadata"]
    leases = operator(village)
    refused(leases.patch(held["name"], renewal()), "your credentials are bound to no pod")
    refused(create(leases, lock("own", "some-uid")), "your credentials are bound to no pod")
    gone = leases.delete(held["name"], uid=held["uid"], resourceVersion=held["resourceVersion"])
    assert gone.status == 200


def test_a_lock_client_writes_no_other_lease(village: Village) -> None:
    pod = village.pod()
    village.leases.create("elected-leader")
    sentence = "system:serviceaccount:jobs:worker may write locks only"
    refused(pod.leases.post("elected-elsewhere"), sentence)
    refused(pod.leases.patch("elected-leader", renewal()), sentence)
    refused(pod.leases.delete("elected-leader"), sentence)


def test_leases_that_are_no_locks_are_nobody_elses_business(village: Village) -> None:
    """Node heartbeats and leader elections, by whoever is no lock client."""
    leases = village.person("elected", "edit")
    made = create(leases, lease("election"))
    assert made.status == 201
    assert leases.put("election", made.body).status == 200
    assert leases.patch("election", renewal()).status == 200
    assert leases.delete("election").status == 200
