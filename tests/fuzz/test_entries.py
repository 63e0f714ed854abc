"""Leases as no client of ours writes them, and as one almost does: what is not provably ours is nobody's."""

from __future__ import annotations

import string
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.heard import ANY, LABEL, PODS, inside, many, written
from fuzz.strategies import JSON, almost
from tasklock.errors import InvalidLockError
from tasklock.naming import lease_name
from tasklock_operator.book import Book, Reap
from tasklock_operator.entry import MAX_SHOWN, read_entry
from tasklock_operator.reports import events_of, tell


def is_ours(obj: Any) -> bool:
    """Tell whether a Lease is provably ours: our label, and the name that leads from its app and its lock's name."""
    metadata = inside(obj, "metadata")
    labels, notes = inside(metadata, "labels"), inside(metadata, "annotations")
    told = metadata.get("name"), labels.get("tasklock.dev/app"), notes.get("tasklock.dev/name")
    lease, app, name = (one if isinstance(one, str) else "" for one in told)
    if labels.get(LABEL) != "tasklock":
        return False
    try:
        base = lease_name(app, name)
    except InvalidLockError:
        return False
    return is_label(metadata.get("namespace")) and is_uid(metadata.get("uid")) and is_part(lease, base)


def is_uid(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 100 and set(text) <= {*string.ascii_letters, *string.digits, "-"}


def is_label(text: Any) -> bool:
    return is_uid(text) and len(text) <= 63 and text == text.lower().strip("-")


def is_part(lease: str, base: str) -> bool:
    """Tell whether it is the lock itself, a ticket of its queue or a slot of it."""
    rest = lease[len(base) :]
    ticket = len(rest) == 11 and rest[:3] == ".q." and set(rest[3:]) <= set("0123456789abcdef")
    slot = rest[:3] == ".s." and rest[3:] in {str(number) for number in (0, 12)}
    return lease.startswith(base) and (not rest or ticket or slot)


@many(10)
@given(obj=ANY | JSON)
def test_an_entry_is_made_of_what_is_provably_ours_and_of_nothing_else(obj: Any) -> None:
    entry = read_entry(obj, 5.0)
    assert (entry is not None) == is_ours(obj)
    if entry is not None:
        assert 1 <= entry.ttl <= 86_400
        assert (entry.queue is not None) == (".q." in entry.lease)
        assert all(time is None or time.tzinfo is UTC for time in (entry.acquired, entry.renewed))
        texts = [getattr(entry, one.name) for one in fields(entry) if one.name != "version"]
        assert all(len(text) <= MAX_SHOWN for text in texts if isinstance(text, str))


def claimed(name: str, *, lease: str) -> dict[str, Any]:
    labels = {LABEL: "tasklock", "tasklock.dev/app": "app"}
    metadata = {"namespace": "team", "uid": "u", "labels": labels, "annotations": {"tasklock.dev/name": name}}
    return {"metadata": {"name": lease_name("app", lease), **metadata}}


@many(5)
@given(leases=st.tuples(ANY, ANY) | written().flatmap(lambda lease: st.tuples(st.just(lease), almost(st.just(lease)))))
@example(leases=(claimed("a", lease="a"), claimed("a", lease="b")))
@example(leases=(claimed("x" * 300, lease="x" * 300), claimed("x" * MAX_SHOWN, lease="x" * 300)))
def test_what_was_known_of_a_lease_changes_nothing_in_how_it_is_read(leases: tuple[Any, Any]) -> None:
    before, after = leases
    known, afresh = read_entry(before, 1.0), read_entry(after, 2.0)
    again = read_entry(after, 2.0, known)
    if afresh is None or again is None or known is None:
        assert afresh == again
    else:
        assert again == replace(afresh, first_seen=1.0)


HEARD = st.tuples(st.sampled_from(["lease_seen", "lease_seen", "lease_gone"]), ANY) | st.tuples(
    st.sampled_from(["pod_seen", "pod_gone"]), PODS
)


@many(3)
@given(heard=st.lists(HEARD, max_size=8))
def test_a_book_takes_whatever_a_watch_tells_and_reaps_only_what_is_ours(heard: list[tuple[str, Any]]) -> None:
    book, ours = Book(), {obj["metadata"]["uid"] for _, obj in heard if is_ours(obj)}
    for now, (what, obj) in enumerate(heard):
        getattr(book, what)(obj, float(now))
    reaps = book.due(1e9)
    assert {reap.entry.uid for reap in reaps} == {entry.uid for entry in book.locks()} <= ours
    for reap in reaps:
        book.settled(reap, "failed", 1e9)
    book.relisted("leases", None, set(), 2e9)
    assert not book.locks()


@many(3)
@given(obj=written(), reason=st.sampled_from(["expired", "container-terminated", "pod-finished"]))
def test_what_is_told_of_a_reap_is_short_plain_text(obj: Any, reason: Any) -> None:
    wall = datetime(2026, 1, 1, 10, tzinfo=UTC)
    if entry := read_entry(obj, 5.0):
        note = tell(Reap(entry, reason, 6.0), 7.0, wall)
        assert note.isascii()
        assert note.isprintable()
        assert len(note) <= 1024
        for event in events_of(entry, note, wall, "operator-1"):
            name = event["metadata"]["name"]
            assert set(name) <= {*string.ascii_lowercase, *string.digits, "-", "."}
            assert len(name) <= 253
