"""The store: each fact about the API server that a lock rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tasklock.testing.deletes import DeleteOptions
from tasklock.testing.kinds import CORE_EVENTS, EVENTS, LEASES, NAMESPACES, PODS
from tasklock.testing.patch import MERGE, STRATEGIC
from tasklock.testing.selectors import select
from tasklock.testing.status import StatusError
from tasklock.testing.writes import Patch, WriteOptions

if TYPE_CHECKING:
    from embedded.conftest import Clock
    from tasklock.testing.store import Store

ALL = select(LEASES, namespace="default")
RENEWED = "2026-01-01T00:00:10.000000Z"


def lease(name: str = "a", *, metadata: dict[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, **(metadata or {})}, "spec": spec}


def create(store: Store, name: str = "a", **spec: object) -> dict[str, Any]:
    return store.create(LEASES, "default", lease(name, **spec)).obj


def merge(store: Store, value: dict[str, Any], name: str = "a", **options: Any) -> dict[str, Any]:
    return store.patch(LEASES, "default", name, Patch(media_type=MERGE, value=value), WriteOptions(**options)).obj


def refusal(error: pytest.ExceptionInfo[StatusError]) -> tuple[int, str]:
    return error.value.code, error.value.reason


def causes(error: pytest.ExceptionInfo[StatusError]) -> set[str]:
    return {cause["field"] for cause in (error.value.details or {})["causes"]}


def test_exactly_one_create_of_a_name_succeeds(store: Store) -> None:
    first = create(store, holderIdentity="one")
    with pytest.raises(StatusError) as error:
        create(store, holderIdentity="two")
    assert refusal(error) == (409, "AlreadyExists")
    assert store.get(LEASES, "default", "a") == first


def test_every_write_makes_the_version_larger_and_every_create_has_its_own_uid(store: Store) -> None:
    first = create(store)
    changed = merge(store, {"spec": {"holderIdentity": "x"}})
    store.delete(LEASES, "default", "a")
    second = create(store)
    versions = [int(obj["metadata"]["resourceVersion"]) for obj in (first, changed, second)]
    assert versions == sorted(set(versions))
    assert first["metadata"]["uid"] == changed["metadata"]["uid"] != second["metadata"]["uid"]


def test_put_without_uid_brings_a_deleted_lease_back_to_life(store: Store) -> None:
    old = create(store)["metadata"]
    store.delete(LEASES, "default", "a")
    written = store.update(LEASES, "default", "a", lease(metadata={"resourceVersion": old["resourceVersion"]}))
    assert written.created
    assert written.obj["metadata"]["uid"] != old["uid"]


def test_put_with_uid_to_a_deleted_lease_is_a_conflict(store: Store) -> None:
    old = create(store)["metadata"]
    store.delete(LEASES, "default", "a")
    with pytest.raises(StatusError) as error:
        store.update(LEASES, "default", "a", lease(metadata={"uid": old["uid"]}))
    assert refusal(error) == (409, "Conflict")


def test_put_without_a_version_is_invalid(store: Store) -> None:
    create(store)
    with pytest.raises(StatusError) as error:
        store.update(LEASES, "default", "a", lease())
    assert refusal(error) == (422, "Invalid")
    assert causes(error) == {"metadata.resourceVersion"}


def test_a_patch_with_the_uid_of_another_incarnation_is_422_with_that_field_as_cause(store: Store) -> None:
    old = create(store)["metadata"]["uid"]
    store.delete(LEASES, "default", "a")
    create(store)
    with pytest.raises(StatusError) as error:
        merge(store, {"metadata": {"uid": old}, "spec": {"renewTime": RENEWED}})
    assert refusal(error) == (422, "Invalid")
    assert causes(error) == {"metadata.uid"}


def test_a_patch_of_a_missing_lease_is_404(store: Store) -> None:
    with pytest.raises(StatusError) as error:
        merge(store, {"spec": {"renewTime": RENEWED}})
    assert refusal(error) == (404, "NotFound")


def test_a_patch_with_a_stale_version_is_a_conflict(store: Store) -> None:
    stale = create(store)["metadata"]["resourceVersion"]
    merge(store, {"spec": {"holderIdentity": "x"}})
    with pytest.raises(StatusError) as error:
        merge(store, {"metadata": {"resourceVersion": stale}, "spec": {"holderIdentity": "y"}})
    assert refusal(error) == (409, "Conflict")


def test_a_patch_that_changes_nothing_keeps_the_version_and_tells_nobody(store: Store) -> None:
    before = create(store, renewTime=RENEWED)
    revision = store.revision
    assert merge(store, {"spec": {"renewTime": RENEWED}}) == before
    assert list(store.events_after(LEASES, ALL, revision)) == []


@pytest.mark.parametrize("options", [DeleteOptions(uid="other"), DeleteOptions(resource_version="1")])
def test_a_delete_whose_precondition_differs_is_a_conflict(store: Store, options: DeleteOptions) -> None:
    create(store)
    with pytest.raises(StatusError) as error:
        store.delete(LEASES, "default", "a", options)
    assert refusal(error) == (409, "Conflict")
    store.get(LEASES, "default", "a")


def test_a_delete_whose_preconditions_hold_deletes(store: Store) -> None:
    metadata = create(store)["metadata"]
    options = DeleteOptions(uid=metadata["uid"], resource_version=metadata["resourceVersion"])
    assert store.delete(LEASES, "default", "a", options).gone
    with pytest.raises(StatusError) as error:
        store.delete(LEASES, "default", "a", options)
    assert refusal(error) == (404, "NotFound")


def test_a_collection_is_deleted_by_name_and_gives_what_it_listed(store: Store) -> None:
    create(store, "a")
    create(store, "b")
    selector = select(LEASES, namespace="default", fields="metadata.name=a")
    assert [obj["metadata"]["name"] for obj in store.delete_collection(LEASES, selector)] == ["a"]
    assert [obj["metadata"]["name"] for obj in store.list(LEASES, ALL)] == ["b"]


@pytest.mark.parametrize(
    "time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.1234567Z", "now", ""]
)
def test_a_renew_time_without_exactly_six_fraction_digits_is_refused(store: Store, time: str) -> None:
    """A create that cannot be read is 400, a patch that leads to it 422."""
    with pytest.raises(StatusError) as error:
        create(store, renewTime=time)
    assert refusal(error) == (400, "BadRequest")
    create(store)
    with pytest.raises(StatusError) as error:
        merge(store, {"spec": {"renewTime": time}})
    assert refusal(error) == (422, "Invalid")


def test_times_are_brought_to_utc(store: Store) -> None:
    created = create(store, renewTime="2026-01-01T02:00:00.000001+02:00")
    assert created["spec"]["renewTime"] == "2026-01-01T00:00:00.000001Z"


@pytest.mark.parametrize("duration", [0, -1])
def test_a_duration_below_one_second_is_422(store: Store, duration: int) -> None:
    with pytest.raises(StatusError) as error:
        create(store, leaseDurationSeconds=duration)
    assert refusal(error) == (422, "Invalid")
    assert causes(error) == {"spec.leaseDurationSeconds"}


@pytest.mark.parametrize("duration", [1.5, "30", True, 2**31, [30]])
def test_a_duration_that_is_no_int32_is_refused(store: Store, duration: object) -> None:
    with pytest.raises(StatusError) as error:
        create(store, leaseDurationSeconds=duration)
    assert refusal(error) == (400, "BadRequest")
    create(store)
    with pytest.raises(StatusError) as error:
        merge(store, {"spec": {"leaseDurationSeconds": duration}})
    assert refusal(error) == (422, "Invalid")


def test_an_empty_holder_is_kept_and_negative_transitions_are_422(store: Store) -> None:
    assert create(store, holderIdentity="")["spec"] == {"holderIdentity": ""}
    with pytest.raises(StatusError) as error:
        create(store, "b", leaseTransitions=-1)
    assert causes(error) == {"spec.leaseTransitions"}


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a..b", "ä", "a" * 254])
def test_a_name_that_is_no_dns_subdomain_is_422(store: Store, name: str) -> None:
    with pytest.raises(StatusError) as error:
        create(store, name)
    assert causes(error) == {"metadata.name"}


@pytest.mark.parametrize("labels", [{"k": "x" * 64}, {"k": "a b"}, {"a b": ""}, {"": ""}, {"A/b": ""}, {"a/b/c": ""}])
def test_a_label_that_is_none_is_422(store: Store, labels: dict[str, str]) -> None:
    with pytest.raises(StatusError) as error:
        store.create(LEASES, "default", lease(metadata={"labels": labels}))
    assert causes(error) == {"metadata.labels"}


def test_all_annotations_together_have_at_most_256_kib(store: Store) -> None:
    store.create(LEASES, "default", lease("fits", metadata={"annotations": {"n": "x" * (256 * 1024 - 1)}}))
    with pytest.raises(StatusError) as error:
        store.create(LEASES, "default", lease(metadata={"annotations": {"n": "x" * 256 * 1024}}))
    assert causes(error) == {"metadata.annotations"}


def test_a_dry_run_gives_the_true_answer_and_writes_nothing(store: Store) -> None:
    revision = store.revision
    store.create(LEASES, "default", lease(), WriteOptions(dry_run=True))
    assert (store.list(LEASES, ALL), store.revision) == ([], revision)
    before = create(store)
    with pytest.raises(StatusError) as error:
        store.create(LEASES, "default", lease(), WriteOptions(dry_run=True))
    assert refusal(error) == (409, "AlreadyExists")
    assert merge(store, {"spec": {"holderIdentity": "x"}}, dry_run=True)["spec"] == {"holderIdentity": "x"}
    assert store.delete(LEASES, "default", "a", DeleteOptions(dry_run=True)).gone
    assert store.get(LEASES, "default", "a") == before


def test_a_namespace_must_exist_before_something_is_created_in_it(store: Store) -> None:
    with pytest.raises(StatusError) as error:
        store.create(LEASES, "team", lease())
    assert refusal(error) == (404, "NotFound")
    assert 'namespaces "team" not found' in error.value.message
    assert store.list(LEASES, select(LEASES, namespace="team")) == []
    store.create(NAMESPACES, "", {"metadata": {"name": "team"}})
    store.create(LEASES, "team", lease())


def test_a_namespace_takes_its_objects_with_it(store: Store) -> None:
    store.create(NAMESPACES, "", {"metadata": {"name": "team"}})
    store.create(LEASES, "team", lease())
    store.delete(NAMESPACES, "", "team")
    assert store.list(LEASES, select(LEASES, namespace=None)) == []


def test_a_body_that_names_another_namespace_is_400(store: Store) -> None:
    with pytest.raises(StatusError) as error:
        store.create(LEASES, "default", lease(metadata={"namespace": "other"}))
    assert refusal(error) == (400, "BadRequest")


def test_unknown_fields_warn_are_ignored_or_refused_as_asked(store: Store) -> None:
    warned = store.create(LEASES, "default", lease(bogus=1))
    assert warned.warnings == ('unknown field "spec.bogus"',)
    silent = store.create(LEASES, "default", lease("b", bogus=1), WriteOptions(field_validation="Ignore"))
    assert silent.warnings == ()
    with pytest.raises(StatusError) as error:
        store.create(LEASES, "default", lease("c", bogus=1), WriteOptions(field_validation="Strict"))
    assert refusal(error) == (400, "BadRequest")


def test_a_generated_name_begins_with_what_was_asked(store: Store) -> None:
    made = [store.create(LEASES, "default", {"metadata": {"generateName": "job-"}}).obj for _ in range(3)]
    names = {obj["metadata"]["name"] for obj in made}
    assert len(names) == 3
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


def test_finalizers_hold_a_deleted_object_until_they_are_gone(store: Store) -> None:
    store.create(LEASES, "default", lease(metadata={"finalizers": ["x.io/f"]}))
    assert not store.delete(LEASES, "default", "a").gone
    assert store.get(LEASES, "default", "a")["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    with pytest.raises(StatusError) as error:
        merge(store, {"metadata": {"finalizers": ["x.io/f", "y.io/g"]}})
    assert causes(error) == {"metadata.finalizers"}
    merge(store, {"metadata": {"finalizers": None}})
    assert store.list(LEASES, ALL) == []


def managed(obj: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["manager"], entry["time"]) for entry in obj["metadata"].get("managedFields", ())]


def test_every_changing_write_is_stamped_with_its_manager_and_the_second(store: Store, clock: Clock) -> None:
    create(store, holderIdentity="x")
    clock.advance(5.9)
    changed = merge(store, {"spec": {"renewTime": RENEWED}}, manager="renewer")
    assert managed(changed) == [("unknown", "2026-01-01T00:00:00Z"), ("renewer", "2026-01-01T00:00:05Z")]
    clock.advance(60)
    unchanged = merge(store, {"spec": {"renewTime": RENEWED}}, manager="renewer")
    assert managed(unchanged) == managed(changed)


def test_managed_fields_can_be_forged(store: Store) -> None:
    forged = create(store, holderIdentity="x")["metadata"]["managedFields"][0] | {
        "manager": "forger",
        "time": "2001-01-01T00:00:00Z",
    }
    assert managed(merge(store, {"metadata": {"managedFields": [forged]}})) == [("forger", "2001-01-01T00:00:00Z")]


@pytest.mark.parametrize("cleared", [[], [{}]])
def test_managed_fields_once_cleared_are_never_stamped_again(store: Store, cleared: list[Any]) -> None:
    create(store, holderIdentity="x")
    assert managed(merge(store, {"metadata": {"managedFields": cleared}})) == []
    assert managed(merge(store, {"spec": {"renewTime": RENEWED}})) == []


def pod(store: Store, **spec: Any) -> None:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], **spec}}
    store.create(PODS, "default", body)


def patch_pod(store: Store, value: dict[str, Any], subresource: str = "") -> dict[str, Any]:
    change = Patch(media_type=STRATEGIC, value=value)
    return store.patch(PODS, "default", "p", change, WriteOptions(subresource=subresource)).obj


def test_a_pods_status_is_written_through_its_subresource_only(store: Store) -> None:
    pod(store)
    main = patch_pod(store, {"status": {"phase": "Failed"}, "metadata": {"labels": {"x": "y"}}})
    assert (main["status"]["phase"], main["metadata"]["labels"]) == ("Pending", {"x": "y"})
    status = patch_pod(store, {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}}, "status")
    assert (status["status"]["phase"], status["spec"].get("nodeName")) == ("Running", None)


def test_container_statuses_are_merged_by_name(store: Store) -> None:
    pod(store)
    patch_pod(store, {"status": {"containerStatuses": [{"name": "c", "restartCount": 0, "ready": True}]}}, "status")
    both = [{"name": "c", "restartCount": 1}, {"name": "d", "restartCount": 0}]
    merged = patch_pod(store, {"status": {"containerStatuses": both}}, "status")
    assert merged["status"]["containerStatuses"] == [
        {"name": "c", "restartCount": 1, "ready": True},
        {"name": "d", "restartCount": 0},
    ]


def test_a_pod_on_a_node_goes_gracefully(store: Store) -> None:
    pod(store, nodeName="n")
    marked = store.delete(PODS, "default", "p")
    assert not marked.gone
    assert marked.obj["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:30Z"
    assert store.delete(PODS, "default", "p", DeleteOptions(grace_seconds=0)).gone


def test_both_event_apis_show_the_same_events(store: Store) -> None:
    about = {"kind": "Lease", "name": "a", "namespace": "default"}
    body = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "Reaped", "message": "gone", "type": "Normal"}
    store.create(CORE_EVENTS, "default", body)
    shown = store.get(EVENTS, "default", "e")
    assert (shown["apiVersion"], shown["regarding"], shown["note"]) == ("events.k8s.io/v1", about, "gone")
    by_lease = select(EVENTS, namespace="default", fields="regarding.name=a")
    assert store.list(EVENTS, by_lease) == [shown]
    assert len(store.list(CORE_EVENTS, select(CORE_EVENTS, namespace=None, fields="involvedObject.name=a"))) == 1
