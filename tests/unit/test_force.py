"""Freeing locks by a person's order, and listing them. Design, section 5, "Force-release"."""

from __future__ import annotations

from typing import Any

import pytest

from tasklock.errors import InvalidLockError, LockApiError, LockForbiddenError
from tasklock.naming import lease_name
from tasklock.protocol.effects import Reply
from tasklock.protocol.release import flush, flush_stale, force, listing
from unit.script import (
    APP,
    IS_ALIVE,
    IS_DEAD,
    LEASE,
    NAME,
    START,
    Expected,
    World,
    conflict,
    delete,
    got,
    lease,
    listed,
    listing_fails,
    lost_reply,
    missing,
    no_connection,
    refused,
    wall,
)

PROCESS = "boot/4026531836/17/88213"


def of(name: str, *, app: str = APP, **options: Any) -> dict[str, Any]:
    return lease(name=name, app=app, lease=lease_name(app, name), uid=f"uid-{name}", **options)


def test_force_is_a_get_and_a_delete_of_that_uid() -> None:
    world = World().expect(got(lease(uid="u")), delete())
    assert world.run(force(APP, NAME)) is True
    assert world.sent("GET").lease == LEASE
    assert world.sent("DELETE").body["preconditions"] == {"uid": "u"}


def test_force_of_a_free_lock_is_false() -> None:
    assert World().expect(got(missing())).run(force(APP, NAME)) is False


def test_force_of_a_lock_that_ends_by_itself_is_false() -> None:
    assert World().expect(got(lease()), delete(missing())).run(force(APP, NAME)) is False
    assert World().expect(got(lease()), delete(conflict())).run(force(APP, NAME)) is False


def test_force_whose_deletion_was_carried_out_but_not_answered_is_true() -> None:
    world = World().expect(got(lease()), delete(lost_reply()), delete(missing()))
    assert world.run(force(APP, NAME)) is True


def test_force_whose_deletion_never_arrived_is_not_true_for_that() -> None:
    world = World().expect(got(lease()), delete(no_connection()), delete(missing()))
    assert world.run(force(APP, NAME)) is False


@pytest.mark.parametrize("there", [lease(app=None), lease(name="another"), lease(app="other")])
def test_force_never_touches_what_is_not_that_very_lock(there: dict[str, Any]) -> None:
    with pytest.raises(InvalidLockError, match="kubectl delete lease"):
        World().expect(got(there)).run(force(APP, NAME))


def test_force_gives_up_after_four_troubles() -> None:
    world = World().expect(got(lease()), *[delete(refused(503, "ServiceUnavailable"))] * 4)
    with pytest.raises(LockApiError) as caught:
        world.run(force(APP, NAME))
    assert caught.value.status == 503


def test_force_without_the_verb_says_so() -> None:
    with pytest.raises(LockForbiddenError) as caught:
        World().expect(got(lease()), delete(refused(403, "Forbidden"))).run(force(APP, NAME))
    assert caught.value.verb == "delete"
    with pytest.raises(LockForbiddenError) as caught:
        World().expect(got(refused(403, "Forbidden"))).run(force(APP, NAME))
    assert caught.value.verb == "get"


def test_flush_ends_each_by_its_uid_and_returns_the_names_as_the_callers_wrote_them() -> None:
    world = World().expect(listed(of("Job A"), of("b"), of("gone")), delete(), delete(), delete(missing()))
    assert world.run(flush(APP)) == {"Job A", "b"}
    assert [world.sent("DELETE", n).body["preconditions"]["uid"] for n in range(3)] == [
        "uid-Job A",
        "uid-b",
        "uid-gone",
    ]


def test_flush_asks_for_our_label_and_app_and_never_for_deletecollection() -> None:
    world = World().expect(listed())
    assert world.run(flush(APP)) == set()
    assert ("labelSelector", "app.kubernetes.io/managed-by=tasklock,tasklock.dev/app=app") in world.sent("LIST").query


def test_a_lease_whose_name_does_not_follow_from_its_annotation_is_not_listed_nor_flushed() -> None:
    forged = [lease(lease="kube-scheduler"), lease(name="x", lease=LEASE), lease(name=None), lease(name="")]
    world = World().expect(listed(*forged, {}, "?", None))  # type: ignore[arg-type]
    assert world.run(flush(APP)) == set()


def test_flush_of_a_forbidden_one_raises() -> None:
    world = World().expect(listed(of("a"), of("b")), delete(refused(403, "Forbidden")))
    with pytest.raises(LockForbiddenError):
        world.run(flush(APP))


# pages


def page(*objects: dict[str, Any], more: object = "", status: int = 200) -> Expected:
    body = {"metadata": {"resourceVersion": "9", "continue": more}, "items": list(objects)}
    return Expected("LIST", Reply(status=status, body=body))


def names(world: World) -> list[str | None]:
    leases, _ = world.run(listing(APP))
    return [lease.name for lease in leases]


def test_a_listing_goes_on_from_page_to_page() -> None:
    world = World().expect(page(of("a"), more="t1"), page(of("b"), more="t2"), page(of("c")))
    assert names(world) == ["a", "b", "c"]
    assert [dict(world.sent("LIST", n).query).get("continue") for n in range(3)] == [None, "t1", "t2"]
    assert {dict(world.sent("LIST", n).query)["limit"] for n in range(3)} == {"500"}


def test_410_in_the_middle_starts_again_and_lists_nothing_twice() -> None:
    world = World().expect(page(of("a"), more="t1"), listing_fails(refused(410, "Expired")), page(of("a"), more="t2"))
    world.expect(page(of("b")))
    assert names(world) == ["a", "b"]


def test_410_at_the_start_is_an_error() -> None:
    with pytest.raises(LockApiError):
        names(World().expect(listing_fails(refused(410, "Expired"))))


@pytest.mark.parametrize(
    "answer",
    [refused(403, "Forbidden"), refused(500, "x"), Reply(status=200, body={"items": {}}), Reply(status=200, body=None)],
)
def test_a_page_that_fails_is_an_error_and_no_half_list(answer: Reply) -> None:
    with pytest.raises(LockApiError):
        names(World().expect(page(of("a"), more="t1"), listing_fails(answer)))


def test_a_listing_of_everything_everywhere() -> None:
    world = World().expect(listed(of("a", app="x"), of("a", app="y")))
    leases, _ = world.run(listing(None, everywhere=True))
    assert [lease.app for lease in leases] == ["x", "y"]
    assert world.sent("LIST").everywhere
    assert dict(world.sent("LIST").query)["labelSelector"] == "app.kubernetes.io/managed-by=tasklock"


# flush --stale


def test_flush_stale_sends_nothing_more_where_nothing_looks_stale() -> None:
    assert World().expect(listed(of("a", touched=wall(START)), date=wall(START + 30))).run(flush_stale(APP)) == set()


def test_flush_stale_watches_what_looks_stale_for_one_point_one_ttl_and_ends_that_very_version() -> None:
    old = {"touched": wall(START - 1000)}
    dead, slow, live = of("dead", version="1", **old), of("slow", version="2", **old), of("live", touched=wall(START))
    world = World().expect(listed(dead, slow, live, date=wall(START), takes=0))
    world.expect(listed(dead, of("slow", version="3", **old), live, takes=0), delete(takes=0))
    assert world.run(flush_stale(APP)) == {"dead"}
    assert world.rests == [pytest.approx(33.0)]
    assert world.sent("DELETE").body["preconditions"] == {"uid": "uid-dead", "resourceVersion": "1"}


def test_flush_stale_waits_for_each_as_long_as_its_own_ttl_says() -> None:
    old = {"touched": wall(START - 100_000)}
    short, long = of("a", version="1", ttl=5, **old), of("b", version="2", ttl=600, **old)
    world = World().expect(listed(short, long, date=wall(START), takes=0), listed(short, long, takes=0))
    world.expect(delete(takes=0), listed(long, takes=0), delete(takes=0))
    assert world.run(flush_stale(APP)) == {"a", "b"}
    assert world.rests == [pytest.approx(5.5), pytest.approx(654.5)]


def test_flush_stale_of_recent_ones_watches_what_was_renewed_just_now_too() -> None:
    dead, live = of("dead", version="1", touched=wall(START)), of("live", version="2", touched=wall(START))
    world = World().expect(listed(dead, live, date=wall(START), takes=0))
    world.expect(listed(dead, of("live", version="3"), takes=0), delete(takes=0))
    assert world.run(flush_stale(APP, recent=True)) == {"dead"}


def test_flush_stale_leaves_one_that_is_renewed_in_the_last_moment() -> None:
    dead = of("dead", touched=wall(START - 1000))
    world = World().expect(listed(dead, date=wall(START)), listed(dead), delete(conflict()))
    assert world.run(flush_stale(APP)) == set()


def test_flush_stale_ends_at_once_what_dead_processes_of_this_machine_hold() -> None:
    dead, live = of("dead", version="1", process=PROCESS), of("live", process=PROCESS)
    world = World().expect(listed(dead, live, date=wall(START)), IS_DEAD, delete(), IS_ALIVE)
    assert world.run(flush_stale(APP)) == {"dead"}
    assert world.rests == []
    assert world.sent("DELETE").body["preconditions"] == {"uid": "uid-dead", "resourceVersion": "1"}


def test_flush_stale_watches_what_a_live_process_of_this_machine_does_not_renew() -> None:
    """It may hang: only observation ends its lock."""
    hung = of("hung", touched=wall(START - 1000), process=PROCESS)
    world = World().expect(listed(hung, date=wall(START)), IS_ALIVE, listed(hung), delete())
    assert world.run(flush_stale(APP)) == {"hung"}
    assert world.rests == [pytest.approx(33.0)]
