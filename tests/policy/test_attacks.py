"""What somebody with the verbs of the client Role, or of ``edit``, could try: each is refused, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cluster.leases import lease
from cluster.rest import APPLY
from policy.village import create, lock, refused, renewal

if TYPE_CHECKING:
    from policy.village import Pod, Village

OURS = "app.kubernetes.io/managed-by"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
ONLY_THE_POD = "is a lock: only the pod that"
SHAPE = "is labelled as a lock, so its name must be"
STAYS = "stay what they are"


@pytest.fixture
def victim(village: Village) -> Any:
    """Give the Lease of a lock that some pod holds."""
    return village.held(village.pod())


@pytest.fixture
def thief(village: Village) -> Pod:
    return village.pod()


def changed(body: Any, *, labels: Any = None, annotations: Any = None, **rest: Any) -> Any:
    """Return a Lease with other metadata; None removes."""
    metadata = dict(body["metadata"]) | rest
    for key, changes in (("labels", labels), ("annotations", annotations)):
        merged = metadata.get(key, {}) | (changes or {})
        metadata[key] = {name: text for name, text in merged.items() if text is not None}
    return {**body, "metadata": metadata}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"annotations": {"tasklock.dev/pod-uid": "forged"}}, ONLY_THE_POD, id="a forged pod uid"),
        pytest.param({"annotations": {"tasklock.dev/pod-uid": None}}, ONLY_THE_POD, id="no pod uid"),
        pytest.param({"annotations": {"tasklock.dev/pod-uid": ""}}, ONLY_THE_POD, id="an empty pod uid"),
        pytest.param({"labels": {OURS: None}}, "may write locks only", id="no label: a squatter on the name"),
        pytest.param({"labels": {OURS: "Tasklock"}}, "may write locks only", id="almost our label"),
        pytest.param({"labels": {"tasklock.dev/app": None}}, SHAPE, id="no app"),
        pytest.param({"labels": {"tasklock.dev/app": "other"}}, SHAPE, id="another app's name"),
        pytest.param({"annotations": {"tasklock.dev/name": None}}, SHAPE, id="no name"),
        pytest.param({"name": "kube-scheduler"}, SHAPE, id="the name of an election"),
        pytest.param({"finalizers": ["example.com/never"]}, SHAPE, id="a finalizer, so that it never goes"),
    ],
)
def test_no_false_lock_is_created(village: Village, thief: Pod, change: dict[str, Any], sentence: str) -> None:
    forged = changed(lock("forged", thief.uid), **change)
    refused(create(thief.leases, forged), sentence)
    refused(create(thief.leases, forged, query="dryRun=All"), sentence)
    village.bind("worker", "edit")  # PUT needs the verb update
    name = forged["metadata"]["name"]
    refused(thief.leases.put(name, forged), sentence)
    assert village.leases.get(name).status == 404


def test_who_is_no_lock_client_forges_none_either(village: Village, thief: Pod) -> None:
    village.bind("stranger", "edit")
    stranger = village.pod("stranger")
    refused(create(stranger.leases, lock("forged", thief.uid)), ONLY_THE_POD)
    assert create(stranger.leases, lock("own", stranger.uid), query="dryRun=All").status == 201


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param(renewal(), id="renew"),
        pytest.param({"metadata": {"labels": {OURS: None}}}, id="take the label off"),
        pytest.param({"metadata": {"labels": None}}, id="take all labels off"),
        pytest.param({"metadata": {"annotations": {"tasklock.dev/pod-uid": "THIEF"}}}, id="name the thief's pod"),
        pytest.param(
            {"metadata": {"annotations": {"tasklock.dev/pod-uid": "THIEF"}}, "spec": {"holderIdentity": "thief"}},
            id="take all of it over",
        ),
        pytest.param({"metadata": {"annotations": None}}, id="take all annotations off"),
        pytest.param({"metadata": {"finalizers": ["example.com/never"]}}, id="add a finalizer"),
        pytest.param({"metadata": {"ownerReferences": []}, "spec": {"leaseDurationSeconds": 1}}, id="let it expire"),
    ],
)
def test_nobody_changes_the_lock_of_another_pod(
    village: Village,
    victim: Any,
    thief: Pod,
    patch: dict[str, Any],
) -> None:
    name = victim["metadata"]["name"]
    patch = _with_uid(patch, thief.uid)
    village.bind("stranger", "edit")
    for leases in (thief.leases, village.pod("stranger").leases):
        for kind in ("application/merge-patch+json", STRATEGIC):
            refused(leases.patch(name, patch, content_type=kind), ONLY_THE_POD)
    assert village.leases.get(name).body == victim


def test_no_other_kind_of_write_gets_by(village: Village, victim: Any, thief: Pod) -> None:
    name = victim["metadata"]["name"]
    village.bind("worker", "edit")
    mine = changed(victim, annotations={"tasklock.dev/pod-uid": thief.uid})
    refused(thief.leases.put(name, mine), ONLY_THE_POD)
    step = {"op": "replace", "path": "/metadata/annotations/tasklock.dev~1pod-uid", "value": thief.uid}
    refused(thief.leases.patch(name, [step], content_type=JSON_PATCH), ONLY_THE_POD)
    applied = lock(victim["metadata"]["annotations"]["tasklock.dev/name"], thief.uid)
    query = "fieldManager=thief&force=true"
    refused(thief.leases.patch(name, applied, query=query, content_type=APPLY), ONLY_THE_POD)
    fresh = lock("fresh", "forged")
    refused(thief.leases.patch(fresh["metadata"]["name"], fresh, query=query, content_type=APPLY), ONLY_THE_POD)
    refused(thief.leases.delete(name), ONLY_THE_POD)
    refused(thief.leases.delete(name, uid=victim["metadata"]["uid"]), ONLY_THE_POD)
    for method in ("PUT", "PATCH", "DELETE"):  # a Lease has no subresource
        assert thief.leases.rest.request(method, f"{thief.leases.path}/{name}/status", mine).status in {403, 404}
    assert village.leases.get(name).body == victim


def test_deleting_a_whole_collection_frees_the_own_locks_only(village: Village, victim: Any, thief: Pod) -> None:
    village.bind("worker", "edit")
    own = village.held(thief)["metadata"]["name"]
    name = victim["metadata"]["name"]

    def collection(which: str) -> Any:
        return thief.leases.rest.request("DELETE", f"{thief.leases.path}?fieldSelector=metadata.name%3D{which}")

    refused(collection(name), ONLY_THE_POD)
    assert village.leases.get(name).body == victim
    assert collection(own).status == 200
    assert village.leases.get(own).status == 404


def test_a_lease_that_is_no_lock_is_not_made_one(village: Village, thief: Pod) -> None:
    """Else a lock client could occupy an election, or take a squatter's Lease for its own."""
    body = lock("relabelled", thief.uid)
    name = body["metadata"]["name"]
    assert create(village.leases, changed(body, labels={OURS: None})).status == 201
    refused(thief.leases.patch(name, {"metadata": {"labels": {OURS: "tasklock"}}}), ONLY_THE_POD)
    village.bind("stranger", "edit")
    stranger = village.pod("stranger")
    relabel = {"metadata": {"labels": {OURS: "tasklock"}, "annotations": {"tasklock.dev/pod-uid": stranger.uid}}}
    refused(stranger.leases.patch(name, relabel), ONLY_THE_POD)
    village.leases.delete(name)


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        pytest.param({"metadata": {"labels": {OURS: None}}}, ONLY_THE_POD, id="the label"),
        pytest.param({"metadata": {"annotations": {"tasklock.dev/pod-uid": "other"}}}, ONLY_THE_POD, id="the pod uid"),
        pytest.param({"metadata": {"annotations": {"tasklock.dev/pod-uid": None}}}, ONLY_THE_POD, id="no pod uid"),
        pytest.param({"metadata": {"labels": {"tasklock.dev/app": "other"}}}, SHAPE, id="the app"),
        pytest.param({"metadata": {"annotations": {"tasklock.dev/name": "other"}}}, SHAPE, id="the name"),
        pytest.param({"spec": {"holderIdentity": "other"}}, STAYS, id="the holder"),
        pytest.param({"spec": {"holderIdentity": None}}, STAYS, id="no holder"),
        pytest.param({"spec": {"acquireTime": "2036-01-01T00:00:00.000000Z"}}, STAYS, id="since when"),
        pytest.param({"metadata": {"finalizers": ["example.com/never"]}}, SHAPE, id="a finalizer"),
    ],
)
def test_the_holder_itself_does_not_change_what_its_lock_is(
    village: Village,
    patch: dict[str, Any],
    sentence: str,
) -> None:
    pod = village.pod()
    held = village.held(pod)
    refused(pod.leases.patch(held["metadata"]["name"], patch), sentence)
    assert village.leases.get(held["metadata"]["name"]).body == held


def test_a_squatter_whom_nobody_listed_is_the_library_s_business(village: Village, thief: Pod) -> None:
    """The policy cares for no Lease without our label by somebody who is no lock client: the name is taken, as ever."""
    village.bind("stranger", "edit")
    name = lock("occupied", thief.uid)["metadata"]["name"]
    assert create(village.pod("stranger").leases, lease(name)).status == 201
    assert create(thief.leases, lock("occupied", thief.uid)).status == 409
    village.leases.delete(name)


def test_a_subject_of_another_namespace_is_not_the_lock_client_of_that_name(village: Village) -> None:
    namespace = village.control_plane.create_namespace()
    stranger = type(village)(village.control_plane, namespace)
    stranger.bind("worker", "edit")
    leases = stranger.person("worker", "edit")
    assert create(leases, lease("election")).status == 201


def _with_uid(patch: Any, uid: str) -> Any:
    if isinstance(patch, dict):
        return {key: _with_uid(value, uid) for key, value in patch.items()}
    return uid if patch == "THIEF" else patch
