"""Filters, orders, pages, and who waits for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from status.crowd import NOW, WALL, crowd, lock, ticket
from tasklock_operator.picture import Picture, picture
from tasklock_operator.query import MOST, PAGE, Query, QueryError

if TYPE_CHECKING:
    from tasklock_operator.entry import Entry


def look(*entries: Entry, **query: object) -> Picture:
    return picture(entries, Query(**query), now=NOW, wall=WALL)  # type: ignore[arg-type] # a test's own words


def names(seen: Picture) -> list[str]:
    return [one.entry.name for one in seen.locks]


LOCKS = (
    lock("Alpha_Import", app="shop", namespace="prod", holder="web-1_aa", pod="web-1", first_seen=NOW - 300),
    lock("beta", app="mail", namespace="staging", holder="web-2_bb", pod="other", first_seen=NOW - 200, ttl=60),
    lock("gamma", app="shop", namespace="staging", holder=None, pod=None, last_changed=NOW - 50),
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["Alpha_Import", "beta", "gamma"]),
        ({"lock": "ALPHA"}, ["Alpha_Import"]),
        ({"lock": "alpha-import-"}, ["Alpha_Import"]),  # a part of the Lease's name
        ({"namespace": "stag"}, ["beta", "gamma"]),
        ({"app": "shop", "namespace": "prod"}, ["Alpha_Import"]),
        ({"holder": "WEB-"}, ["Alpha_Import", "beta"]),
        ({"holder": "other"}, ["beta"]),
        ({"state": "stale"}, ["gamma"]),
        ({"state": "held"}, ["Alpha_Import", "beta"]),
        ({"lock": "nothing"}, []),
    ],
)
def test_a_filter_finds_what_contains_its_text(query: dict[str, str], found: list[str]) -> None:
    assert sorted(names(look(*LOCKS, **query))) == found


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [
        ("-age", "Alpha_Import", "gamma"),
        ("age", "gamma", "Alpha_Import"),
        ("left", "gamma", "beta"),
        ("lock", "Alpha_Import", "gamma"),
        ("-lock", "gamma", "Alpha_Import"),
        ("app", "beta", "gamma"),
        ("namespace", "Alpha_Import", "gamma"),
        ("holder", "gamma", "beta"),
        ("-waiting", "beta", "Alpha_Import"),
    ],
)
def test_an_order_puts_first_what_it_says(sort: str, first: str, last: str) -> None:
    found = names(look(*LOCKS, ticket(LOCKS[1], 1), ticket(LOCKS[2], 1), ticket(LOCKS[1], 2), sort=sort))
    assert (found[0], found[-1]) == (first, last)


def test_who_waits_is_shown_with_the_lock_in_the_order_of_the_queue() -> None:
    held, other = lock("a"), lock("a", namespace="elsewhere")
    seen = look(held, other, ticket(held, 2), ticket(held, 1), ticket(held, 3, token=None))
    assert [[t.holder for t in one.waiters] for one in seen.locks if one.entry is held] == [
        ["waiter-1_00000000", "waiter-2_00000000", "waiter-3_00000000"]
    ]
    assert [one.waiters for one in seen.locks if one.entry is other] == [()]
    assert (seen.held, seen.waiting) == (2, 3)


def test_one_finds_a_lock_by_who_waits_for_it() -> None:
    held = lock("a")
    assert names(look(held, lock("b"), ticket(held, 7), holder="waiter-7")) == ["a"]


def test_the_slots_of_a_semaphore_share_its_queue() -> None:
    base = lock("pool")
    slots = [lock("pool", lease=f"shop.pool.s.{n}") for n in range(2)]
    seen = look(*slots, ticket(base, 1))
    assert [(one.lease, len(one.waiters)) for one in seen.locks] == [("shop.pool.s.1", 1), ("shop.pool.s.0", 1)]
    assert (seen.held, seen.waiting) == (2, 1)


def test_a_queue_for_a_lock_that_nobody_holds_is_shown_as_free() -> None:
    base = lock("a")
    seen = look(ticket(base, 2), ticket(base, 1))
    (one,) = seen.locks
    assert (one.state, one.lease, one.entry.holder, len(one.waiters)) == ("free", base.lease, "waiter-1_00000000", 2)
    assert (seen.held, seen.waiting, seen.matching) == (0, 2, 1)
    assert look(ticket(base, 1), state="held").matching == 0


@pytest.mark.parametrize(
    ("silent", "state"), [(0, "held"), (29.9, "held"), (30.1, "overdue"), (32.9, "overdue"), (33.1, "stale")]
)
def test_a_lock_is_overdue_after_its_ttl_and_stale_after_the_margin(silent: float, state: str) -> None:
    (one,) = look(lock(ttl=30, last_changed=NOW - silent)).locks
    assert one.state == state
    assert one.left == pytest.approx(30 - silent)


def test_pages_follow_one_another_without_a_gap_and_count_everything() -> None:
    entries = crowd(MOST)
    whole = look(*entries, limit=MOST)
    pages = [look(*entries, offset=offset) for offset in range(0, MOST, PAGE)]
    assert [one.entry.uid for page in pages for one in page.locks] == [one.entry.uid for one in whole.locks]
    assert {(page.held, page.matching) for page in pages} == {(MOST, MOST)}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sort": "colour"}, "sort must be one of"),
        ({"state": "odd"}, "state must be one of"),
        ({"limit": "-1"}, "limit must be a whole number"),
        ({"offset": "1e3"}, "offset must be a whole number"),
        ({"offset": "9" * 5_000}, "offset must be a whole number"),
        ({"limit": "٣"}, "limit must be a whole number"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused_with_a_sentence(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence):
        Query.parse(given)


def test_a_link_leads_to_the_same_look_and_says_no_more_than_it_must() -> None:
    query = Query.parse({"lock": " a&b ", "sort": "lock", "limit": "99999", "unknown": "x"})
    assert query == Query(lock="a&b", sort="lock", limit=MOST)
    assert query.link() == "?lock=a%26b&sort=lock&limit=500"
    assert Query(offset=400).link() == "?"
    assert Query(offset=400).link(offset=600) == "?offset=600"
    assert query.sorted_by("lock") == "?lock=a%26b&sort=-lock&limit=500"
    assert query.sorted_by("age") == "?lock=a%26b&limit=500"
