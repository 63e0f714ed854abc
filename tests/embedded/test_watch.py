"""Watches of the store: what a watcher sees, from when, and when it is too late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tasklock.testing.kinds import LEASES
from tasklock.testing.patch import MERGE
from tasklock.testing.selectors import select
from tasklock.testing.status import StatusError
from tasklock.testing.writes import Patch

if TYPE_CHECKING:
    from tasklock.testing.selectors import Selector
    from tasklock.testing.store import Store
    from tasklock.testing.watch import WatchEvent

ALL = select(LEASES, namespace="default")


def create(store: Store, name: str, **labels: str) -> None:
    store.create(LEASES, "default", {"metadata": {"name": name, "labels": labels}})


def label(store: Store, name: str, **labels: str | None) -> None:
    store.patch(LEASES, "default", name, Patch(media_type=MERGE, value={"metadata": {"labels": labels}}))


def seen(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.object["metadata"]["name"]) for event in events]


def after(store: Store, selector: Selector, revision: int) -> list[tuple[str, str]]:
    return seen(list(store.events_after(LEASES, selector, revision)))


def test_a_watch_from_a_version_sees_all_that_came_after_it(store: Store) -> None:
    create(store, "a")
    revision = store.revision
    label(store, "a", x="1")
    store.delete(LEASES, "default", "a")
    assert after(store, ALL, revision) == [("MODIFIED", "a"), ("DELETED", "a")]


def test_a_deletion_carries_the_object_with_the_deletions_own_version(store: Store) -> None:
    create(store, "a", x="1")
    store.delete(LEASES, "default", "a")
    *_, last = store.events_after(LEASES, ALL, 0)
    assert last.object["metadata"]["resourceVersion"] == str(store.revision)
    assert last.object["metadata"]["labels"] == {"x": "1"}


def test_an_object_is_added_and_deleted_for_a_watcher_as_it_starts_and_stops_matching(store: Store) -> None:
    """The deletion shows the object as it last matched, with the version of the change."""
    start = store.revision
    create(store, "a")
    label(store, "a", x="1")
    label(store, "a", y="2")
    label(store, "a", x="2")
    events = list(store.events_after(LEASES, select(LEASES, namespace="default", labels="x=1"), start))
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert events[-1].object["metadata"]["labels"] == {"x": "1", "y": "2"}
    assert events[-1].object["metadata"]["resourceVersion"] == str(store.revision)


def test_a_watch_without_a_version_begins_with_all_there_is(store: Store) -> None:
    create(store, "a")
    create(store, "b")
    events: list[WatchEvent] = []
    stop = store.watch(LEASES, ALL, events.append, since=None)
    create(store, "c")
    stop()
    create(store, "d")
    assert seen(events) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


def test_a_live_watch_of_one_name_is_told_of_that_name_only(store: Store) -> None:
    events: list[WatchEvent] = []
    by_name = select(LEASES, namespace="default", fields="metadata.name=a")
    stop = store.watch(LEASES, by_name, events.append, since=store.revision)
    create(store, "a")
    create(store, "b")
    label(store, "a", x="1")
    store.delete(LEASES, "default", "a")
    stop()
    stop()
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_a_version_that_is_compacted_away_is_410(store: Store) -> None:
    old = store.revision
    create(store, "a")
    store.compact()
    with pytest.raises(StatusError) as error:
        after(store, ALL, old)
    assert (error.value.code, error.value.reason) == (410, "Expired")
    assert error.value.message == f"too old resource version: {old} ({store.revision})"
    assert after(store, ALL, store.revision) == []


def test_only_the_newest_changes_are_kept(store: Store) -> None:
    """A store that serves for days does not grow with every renewal."""
    small = type(store)(clock=store._clock, uids=store._uids, history=10)
    for number in range(50):
        create(small, f"a{number}")
    assert small.compacted > 0
    assert len(after(small, ALL, small.compacted)) <= 20


def test_a_list_can_show_an_earlier_version(store: Store) -> None:
    create(store, "a")
    revision = store.revision
    label(store, "a", x="1")
    create(store, "b")
    store.delete(LEASES, "default", "a")
    [then] = store.list(LEASES, ALL, revision=revision)
    assert (then["metadata"]["name"], then["metadata"].get("labels")) == ("a", None)


SELECTORS: list[tuple[str, dict[str, str], bool]] = [
    ("x=1", {"x": "1"}, True),
    ("x==1", {"x": "2"}, False),
    ("x!=1", {}, True),
    ("x!=1", {"x": "1"}, False),
    ("x in (1, 2)", {"x": "2"}, True),
    ("x in (1,2)", {}, False),
    ("x notin (1)", {}, True),
    ("x notin (1)", {"x": "1"}, False),
    ("x", {"x": ""}, True),
    ("x", {}, False),
    ("!x", {}, True),
    ("!x", {"x": ""}, False),
    ("x=", {"x": ""}, True),
    ("x>1", {"x": "10"}, True),
    ("x<1", {"x": "one"}, False),
    ("a.io/x=1,y", {"a.io/x": "1", "y": ""}, True),
    ("a.io/x=1,y", {"a.io/x": "1"}, False),
    ("", {}, True),
]


@pytest.mark.parametrize(("text", "labels", "matches"), SELECTORS)
def test_label_selectors(text: str, labels: dict[str, str], *, matches: bool) -> None:
    obj: dict[str, Any] = {"metadata": {"name": "a", "namespace": "default", "labels": labels}}
    assert select(LEASES, namespace="default", labels=text).matches(obj) is matches


@pytest.mark.parametrize("text", ["x~1", "x=1,", "=1", "x in (1", "x in 1", "a b", "x=$", "x>y", "x in (1))"])
def test_what_is_no_label_selector_is_400(text: str) -> None:
    with pytest.raises(StatusError) as error:
        select(LEASES, namespace="default", labels=text)
    assert error.value.code == 400


@pytest.mark.parametrize("text", ["metadata.name", "spec.holderIdentity=x", "metadata.uid=x"])
def test_what_is_no_field_selector_is_400(text: str) -> None:
    with pytest.raises(StatusError) as error:
        select(LEASES, namespace="default", fields=text)
    assert error.value.code == 400
