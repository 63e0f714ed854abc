"""What the lock rests on: facts about the API server, each a sentence, on the embedded and on the real one."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from cluster.leases import lease

if TYPE_CHECKING:
    from cluster.leases import Leases
    from cluster.rest import Reply

LATER = "2026-01-01T00:00:10.000000Z"


def uid(body: Any) -> str:
    return str(body["metadata"]["uid"])


def version(body: Any) -> str:
    return str(body["metadata"]["resourceVersion"])


def causes(reply: Reply) -> list[dict[str, str]]:
    return list((reply.body.get("details") or {}).get("causes") or [])


def reborn(api: Leases, name: str) -> tuple[Any, Any]:
    """Create a lease, delete it, create it again; return both incarnations."""
    first = api.create(name)
    assert api.delete(name).status == 200
    return first, api.create(name)


# ---- create


def test_creating_a_name_that_exists_is_409_already_exists(api: Leases) -> None:
    first = api.create("a")
    refused = api.post("a", holderIdentity="worker-2")
    assert (refused.status, refused.body["reason"]) == (409, "AlreadyExists")
    assert api.get("a").body == first


def test_a_dry_run_create_gives_the_true_answer_and_writes_nothing(api: Leases) -> None:
    assert api.post("a", query="dryRun=All").status == 201
    assert api.get("a").status == 404
    existing = api.create("a")
    refused = api.post("a", query="dryRun=All")
    assert (refused.status, refused.body["reason"]) == (409, "AlreadyExists")
    assert api.get("a").body == existing


@pytest.mark.parametrize("name", ["a", "a.b", "0-a", "x" * 253])
def test_a_dns_subdomain_of_at_most_253_characters_is_a_name(api: Leases, name: str) -> None:
    assert api.post(name).status == 201


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", ".a", "a..b", "ä", "a/b", "x" * 254])
def test_anything_else_is_no_name(api: Leases, name: str) -> None:
    refused = api.post(name)
    assert refused.status == 422
    assert {cause["field"] for cause in causes(refused)} == {"metadata.name"}


def test_a_label_value_has_at_most_63_characters(api: Leases) -> None:
    assert api.post("a", metadata={"labels": {"k": "x" * 63}}).status == 201
    refused = api.post("b", metadata={"labels": {"k": "x" * 64}})
    assert refused.status == 422
    assert {cause["field"] for cause in causes(refused)} == {"metadata.labels"}


def test_all_annotations_together_have_at_most_256_kib(api: Leases) -> None:
    """Keys count too."""
    assert api.post("a", metadata={"annotations": {"k": "x" * (256 * 1024 - 1)}}).status == 201
    refused = api.post("b", metadata={"annotations": {"k": "x" * (128 * 1024), "l": "x" * (128 * 1024)}})
    assert refused.status == 422
    assert {cause["field"] for cause in causes(refused)} == {"metadata.annotations"}


# ---- put: never used, because


@pytest.mark.parametrize("old_version", [False, True])
def test_a_put_without_uid_brings_a_deleted_lease_back_to_life(api: Leases, *, old_version: bool) -> None:
    first = api.create("a")
    assert api.delete("a").status == 200
    metadata = {"resourceVersion": version(first)} if old_version else {}
    risen = api.put("a", lease("a", metadata))
    assert risen.status == 201
    assert uid(risen.body) != uid(first)


def test_a_put_with_uid_to_a_deleted_lease_is_409(api: Leases) -> None:
    first = api.create("a")
    assert api.delete("a").status == 200
    assert api.put("a", first).status == 409
    assert api.get("a").status == 404


# ---- merge-patch: a renewal


def test_a_merge_patch_with_the_uid_of_another_incarnation_is_422_that_names_the_uid(api: Leases) -> None:
    first, second = reborn(api, "a")
    refused = api.patch("a", {"metadata": {"uid": uid(first)}, "spec": {"renewTime": LATER}})
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in causes(refused)} == {"metadata.uid"}
    assert api.get("a").body == second


def test_a_merge_patch_with_the_right_uid_changes_the_lease(api: Leases) -> None:
    first = api.create("a")
    renewed = api.patch("a", {"metadata": {"uid": uid(first)}, "spec": {"renewTime": LATER}})
    assert renewed.status == 200
    assert renewed.body["spec"] == {**first["spec"], "renewTime": LATER}
    assert uid(renewed.body) == uid(first)
    assert int(version(renewed.body)) > int(version(first))


def test_a_merge_patch_of_a_missing_lease_is_404(api: Leases) -> None:
    first = api.create("a")
    assert api.delete("a").status == 200
    assert api.patch("a", {"metadata": {"uid": uid(first)}, "spec": {"renewTime": LATER}}).status == 404
    assert api.get("a").status == 404


def test_a_merge_patch_with_a_stale_resource_version_is_409(api: Leases) -> None:
    first = api.create("a")
    second = api.patch("a", {"spec": {"renewTime": LATER}}).body
    stale = {"metadata": {"resourceVersion": version(first)}, "spec": {"holderIdentity": "worker-2"}}
    refused = api.patch("a", stale)
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert api.get("a").body == second


def test_a_merge_patch_that_changes_nothing_makes_no_version_and_no_event(api: Leases) -> None:
    first = api.create("a")
    same = api.patch("a", {"metadata": {"uid": uid(first)}, "spec": {"renewTime": first["spec"]["renewTime"]}})
    assert (same.status, version(same.body)) == (200, version(first))
    changed = api.patch("a", {"spec": {"renewTime": LATER}})
    with api.watch(f"resourceVersion={version(first)}&timeoutSeconds=10") as events:
        assert next(events) == {"type": "MODIFIED", "object": changed.body}


# ---- delete: a release


def test_a_delete_with_another_uid_or_version_is_409(api: Leases) -> None:
    first, second = reborn(api, "a")
    assert api.delete("a", uid=uid(first)).status == 409
    assert api.delete("a", resourceVersion=version(first)).status == 409
    assert api.delete("a", uid=uid(second), resourceVersion=version(first)).status == 409
    assert api.get("a").body == second


def test_a_delete_with_the_right_preconditions_is_200_and_tells_the_uid(api: Leases) -> None:
    first = api.create("a")
    done = api.delete("a", uid=uid(first), resourceVersion=version(first))
    assert (done.status, done.body["status"]) == (200, "Success")
    assert done.body["details"]["uid"] == uid(first)
    assert api.get("a").status == 404


def test_a_delete_of_a_missing_lease_is_404(api: Leases) -> None:
    first = api.create("a")
    assert api.delete("a").status == 200
    assert api.delete("a", uid=uid(first)).status == 404


# ---- fields


NOT_SIX_DIGITS = [
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.000Z",
    "2026-01-01T00:00:00.00000Z",
    "2026-01-01T00:00:00.0000000Z",
]


@pytest.mark.parametrize("moment", NOT_SIX_DIGITS)
def test_a_renew_time_without_six_fraction_digits_is_422_in_a_patch_and_400_in_a_create(
    api: Leases,
    moment: str,
) -> None:
    existing = api.create("a")
    assert api.patch("a", {"spec": {"renewTime": moment}}).status == 422
    assert api.post("b", renewTime=moment).status == 400
    assert api.get("a").body == existing


@pytest.mark.parametrize("duration", [1, 2**31 - 1])
def test_a_duration_is_a_positive_int32(api: Leases, duration: int) -> None:
    assert api.create("a", leaseDurationSeconds=duration)["spec"]["leaseDurationSeconds"] == duration


@pytest.mark.parametrize("duration", [0, -1])
def test_a_duration_of_zero_or_less_is_422(api: Leases, duration: int) -> None:
    existing = api.create("a")
    for refused in (
        api.post("b", leaseDurationSeconds=duration),
        api.patch("a", {"spec": {"leaseDurationSeconds": duration}}),
    ):
        assert refused.status == 422
        assert [cause["field"] for cause in causes(refused)] == ["spec.leaseDurationSeconds"]
    assert api.get("a").body == existing


@pytest.mark.parametrize("duration", [0.5, 1.0, 2**31, "30", True])
def test_a_duration_that_is_no_int32_is_422_in_a_patch_and_400_in_a_create(
    api: Leases,
    duration: object,
) -> None:
    existing = api.create("a")
    assert api.patch("a", {"spec": {"leaseDurationSeconds": duration}}).status == 422
    assert api.post("b", leaseDurationSeconds=duration).status == 400
    assert api.get("a").body == existing


def test_resource_versions_are_integers_that_grow_with_every_write(api: Leases) -> None:
    written = [api.create("a")]
    with api.watch(f"resourceVersion={version(written[0])}&timeoutSeconds=10") as events:
        written.append(api.create("b"))
        written.append(api.patch("a", {"spec": {"renewTime": LATER}}).body)
        assert api.delete("a").status == 200
        seen = [next(events)["object"] for _ in range(3)]
    written.append(seen[-1])  # the deletion has a version of its own
    written.append(api.create("a"))
    assert all(int(version(older)) < int(version(newer)) for older, newer in pairwise(written))


# ---- managed fields: a hint


def managed(body: Any) -> list[dict[str, Any]]:
    return list(body["metadata"].get("managedFields") or [])


def newest(body: Any) -> datetime:
    return max(datetime.fromisoformat(entry["time"]) for entry in managed(body))


def test_the_server_stamps_managed_fields_with_its_own_clock_in_whole_seconds(api: Leases) -> None:
    """Its own clock: the one that it tells in the ``Date`` header, not the writer's ``renewTime``."""
    api.create("a")
    renewed = api.patch("a", {"spec": {"renewTime": "2001-01-01T00:00:00.000001Z"}})
    told = parsedate_to_datetime(renewed.headers["date"])
    assert abs(newest(renewed.body) - told) <= timedelta(seconds=2)
    assert all(len(entry["time"]) == len("2026-01-01T00:00:00Z") for entry in managed(renewed.body))


def test_any_writer_can_forge_the_time_of_managed_fields(api: Leases) -> None:
    """Backwards and forwards, and under anybody's name."""
    entries = managed(api.create("a"))
    for manager, moment in (("ghost", "2099-01-01T00:00:00Z"), ("phantom", "2001-01-01T00:00:00Z")):
        forged = [{**copy.deepcopy(entry), "manager": manager, "time": moment} for entry in entries]
        reply = api.patch("a", {"metadata": {"managedFields": forged}})
        assert reply.status == 200
        assert newest(reply.body) == datetime.fromisoformat(moment)


def test_managed_fields_that_were_cleared_are_never_stamped_again(api: Leases) -> None:
    api.create("a")
    assert managed(api.patch("a", {"metadata": {"managedFields": [{}]}}).body) == []
    for second in (1, 2):
        renewed = api.patch("a", {"spec": {"renewTime": f"2026-01-01T00:00:0{second}.000000Z"}})
        assert renewed.status == 200
        assert managed(renewed.body) == []


def test_the_date_header_is_the_servers_clock(api: Leases) -> None:
    told = parsedate_to_datetime(api.get("a").headers["date"])
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=5)


# ---- list and watch


def test_a_list_by_name_gives_that_lease_or_none_and_a_version_to_watch_from(api: Leases) -> None:
    query = "fieldSelector=metadata.name=a"
    api.create("b")
    empty = api.list(query)
    assert empty["items"] == []
    created = api.create("a")
    with api.watch(f"{query}&resourceVersion={version(empty)}&timeoutSeconds=10") as events:
        assert next(events)["object"] == created
    found = api.list(query)
    assert [uid(item) for item in found["items"]] == [uid(created)]
    assert int(version(found)) >= int(version(created))


def test_a_watch_by_name_tells_of_that_name_only(api: Leases) -> None:
    start = version(api.list())
    api.create("b")
    created = api.create("a")
    assert api.delete("b").status == 200
    changed = api.patch("a", {"spec": {"renewTime": LATER}}).body
    assert api.delete("a", uid=uid(created)).status == 200
    query = f"fieldSelector=metadata.name=a&resourceVersion={start}&timeoutSeconds=10"
    with api.watch(query) as events:
        seen = [next(events) for _ in range(3)]
    assert seen[:2] == [{"type": "ADDED", "object": created}, {"type": "MODIFIED", "object": changed}]
    assert (seen[2]["type"], uid(seen[2]["object"])) == ("DELETED", uid(created))
    assert int(version(seen[2]["object"])) > int(version(changed))
