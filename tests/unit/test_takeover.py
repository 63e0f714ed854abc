"""Ending somebody else's lock: only what was observed to be stale, or is surely dead. Design, section 5."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasklock.errors import InvalidLockError, LockApiError, LockTimeoutError, TaskLockedException
from tasklock.protocol.acquire import Acquisition
from tasklock.protocol.sightings import Sightings, would_refuse
from unit.script import (
    IS_ALIVE,
    IS_DEAD,
    IS_NO_NEIGHBOUR,
    LEASE,
    NAME,
    OTHER,
    START,
    Expected,
    World,
    claim,
    conflict,
    delete,
    exists,
    got,
    lease,
    listed,
    listing_fails,
    lost_reply,
    missing,
    my_lease,
    post,
    refused,
    watch,
)

PROCESS = "boot/4026531836/17/88213"


def attempt(timeout: float | None = 0, **options: Any) -> Acquisition:
    parts = {"takeover": True, "sightings": Sightings(), "abandoned": (), "random": lambda: 1.0, **options}
    return Acquisition(claim(), timeout=timeout, **parts)


def refused_at(clock: float, sightings: Sightings, held: dict[str, Any], **options: Any) -> None:
    """Try once at ``clock`` seconds after the start, in vain."""
    world = World(clock=START + clock).expect(post(exists(), takes=0), listed(held, takes=0))
    with pytest.raises(TaskLockedException):
        world.run(attempt(sightings=sightings, **options).steps())


def test_a_try_once_remembers_what_it_saw_and_a_later_one_takes_over() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(version="50", ttl=30))
    refused_at(33.0, sightings, lease(version="50", ttl=30))
    world = World(clock=START + 33.1).expect(
        post(exists(), takes=0), listed(lease(version="50", ttl=30), takes=0), delete(), post()
    )
    world.run(attempt(sightings=sightings).steps())


def test_the_deletion_carries_both_preconditions() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(uid="u", version="50"))
    world = World(clock=START + 40).expect(post(exists()), listed(lease(uid="u", version="50")), delete(), post())
    world.run(attempt(sightings=sightings).steps())
    assert world.sent("DELETE").lease == LEASE
    assert world.sent("DELETE").body["preconditions"] == {"uid": "u", "resourceVersion": "50"}


def test_a_renewal_in_between_restarts_the_observation() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(version="50"))
    refused_at(40, sightings, lease(version="51"))
    refused_at(72, sightings, lease(version="51"))
    world = World(clock=START + 74).expect(post(exists()), listed(lease(version="51")), delete(), post())
    world.run(attempt(sightings=sightings).steps())


def test_another_incarnation_of_the_same_version_restarts_it_too() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(uid="a", version="50"))
    refused_at(40, sightings, lease(uid="b", version="50"))


def test_the_holders_timestamps_count_for_nothing() -> None:
    refused_at(0, Sightings(), lease(since=datetime(1999, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("ttl", [None, 0, -1, "30", 1.5, True, 2**31, {"a": 1}])
def test_a_missing_or_malformed_duration_counts_as_thirty_seconds(ttl: object) -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(ttl=ttl))
    refused_at(32.9, sightings, lease(ttl=ttl))
    world = World(clock=START + 33.1).expect(post(exists()), listed(lease(ttl=ttl)), delete(), post())
    world.run(attempt(sightings=sightings).steps())


def test_takeover_false_never_ends_a_stale_lock() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(), takeover=False)
    refused_at(1000, sightings, lease(), takeover=False)


def test_a_waiter_takes_over_after_one_point_one_ttl_without_a_change_on_its_own_clock() -> None:
    held = lease(version="50", ttl=30)
    world = World().expect(post(exists(), takes=0), listed(held, takes=0), watch(takes=0))
    world.expect(listed(held, takes=0), watch(takes=0))  # nothing for half the ttl: is it alive at all?
    world.expect(listed(held, takes=0), watch(takes=0))
    world.expect(listed(held, takes=0), delete(takes=0), post())
    world.run(attempt(None).steps())
    assert START + 33 < world.clock < START + 33.1
    assert world.sent("DELETE").body["preconditions"] == {"uid": "uid-other", "resourceVersion": "50"}


def test_a_renewal_seen_by_the_watch_restarts_the_observation() -> None:
    held, renewed = lease(version="50"), lease(version="60")
    world = World().expect(post(exists(), takes=0), listed(held, takes=0), watch(takes=0))
    world.event("MODIFIED", renewed, at=14)
    world.expect(listed(renewed, takes=0), watch(takes=0), listed(renewed, takes=0), watch(takes=0))
    world.expect(listed(renewed, takes=0), delete(takes=0), post())
    world.run(attempt(None).steps())
    assert START + 14 + 33 < world.clock < START + 14 + 33.1


def test_a_holder_that_renews_in_the_last_moment_keeps_its_lock() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(version="50"))
    world = World(clock=START + 40).expect(post(exists()), listed(lease(version="50")), delete(conflict()))
    world.expect(listed(lease(version="51")))
    with pytest.raises(TaskLockedException):
        world.run(attempt(sightings=sightings).steps())


def test_a_stale_lock_that_is_gone_by_itself_is_posted_for() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(missing()), post())
    world.run(attempt(sightings=sightings).steps())


def test_after_a_takeover_everybody_races_again() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(), post(exists()))
    world.expect(listed(lease("third_1", uid="new", version="90")))
    with pytest.raises(TaskLockedException) as caught:
        world.run(attempt(sightings=sightings).steps())
    assert caught.value.holder == "third_1"


def test_a_deletion_without_an_answer_is_looked_after() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(lost_reply()), listed(), post())
    world.run(attempt(sightings=sightings).steps())


def test_403_on_takeover_falls_back_to_waiting() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(refused(403, "Forbidden")))
    world.expect(listed(lease()), watch(), post())
    world.event("DELETED", lease(), at=45)
    world.run(attempt(None, sightings=sightings).steps())


def test_403_on_takeover_of_a_try_once_is_a_held_lock() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(refused(403, "Forbidden")))
    world.expect(listed(lease()))
    with pytest.raises(TaskLockedException):
        world.run(attempt(sightings=sightings).steps())
    asked = would_refuse("app", NAME, sightings=sightings, abandoned=(), takeover=True)
    assert World(clock=START + 80).expect(got(lease())).run(asked), "and so it is for is_locked"
    world = World(clock=START + 140).expect(post(exists()), listed(lease()), delete(), post())
    world.run(attempt(sightings=sightings).steps())  # the Role may have been mended meanwhile


def test_a_foreign_lease_is_never_touched_however_stale() -> None:
    sightings = Sightings()
    foreign = lease(app=None)
    for clock in (0, 1000):
        world = World(clock=START + clock).expect(post(exists()), listed(foreign))
        with pytest.raises(InvalidLockError):
            world.run(attempt(sightings=sightings).steps())


def test_a_dead_neighbours_lock_is_taken_over_at_once() -> None:
    held = lease(version="50", process=PROCESS)
    world = World().expect(post(exists()), listed(held), IS_DEAD, delete(), post())
    world.run(attempt().steps())
    assert world.sent("DEAD?").process == PROCESS
    assert world.sent("DELETE").body["preconditions"] == {"uid": "uid-other", "resourceVersion": "50"}
    assert world.clock < START + 1


@pytest.mark.parametrize("answer", [IS_ALIVE, IS_NO_NEIGHBOUR], ids=["alive", "unknown"])
def test_a_live_or_unknown_process_is_never_taken_over(answer: Expected) -> None:
    world = World().expect(post(exists()), listed(lease(process=PROCESS)), answer)
    with pytest.raises(TaskLockedException):
        world.run(attempt().steps())


def test_a_lease_that_names_no_process_asks_about_none() -> None:
    world = World().expect(post(exists()), listed(lease()))
    with pytest.raises(TaskLockedException):
        world.run(attempt().steps())


def test_takeover_false_asks_about_no_process() -> None:
    world = World().expect(post(exists()), listed(lease(process=PROCESS)))
    with pytest.raises(TaskLockedException):
        world.run(attempt(takeover=False).steps())


def test_a_waiter_looks_at_a_neighbours_process_four_times_a_second_and_sends_nothing_for_it() -> None:
    held = lease(process=PROCESS)
    world = World().expect(post(exists(), takes=0), listed(held, takes=0), IS_ALIVE, watch(takes=0))
    world.expect(IS_ALIVE, IS_ALIVE, IS_DEAD)
    world.expect(listed(held, takes=0), IS_DEAD, delete(takes=0), post(takes=0))
    world.run(attempt(None).steps())
    assert world.clock == pytest.approx(START + 0.75)


def test_a_living_neighbour_that_renews_no_more_is_stale_all_the_same() -> None:
    held = lease(process=PROCESS, ttl=1)
    sightings = Sightings()
    world = World().expect(post(exists(), takes=0), listed(held, takes=0), IS_ALIVE)
    with pytest.raises(TaskLockedException):
        world.run(attempt(sightings=sightings).steps())
    world = World(clock=START + 1.2).expect(post(exists()), listed(held), delete(), post())
    world.run(attempt(sightings=sightings).steps())


def test_an_abandoned_attempt_of_my_own_is_ended_at_once_even_without_takeover() -> None:
    world = World().expect(post(exists()), listed(lease("me_0ld", version="50")), delete(), post())
    world.run(attempt(abandoned={"me_0ld"}, takeover=False).steps())
    assert world.sent("DELETE").body["preconditions"] == {"uid": "uid-other", "resourceVersion": "50"}


def test_a_waiter_ends_an_abandoned_attempt_of_its_own_client_as_soon_as_it_appears() -> None:
    late = lease("me_0ld", uid="late", version="51")
    world = World().expect(post(exists()), listed(lease()), watch())
    world.event("DELETED", lease(), at=5).event("ADDED", late, at=5.1)
    world.expect(post(exists()), listed(late), delete(), post())
    world.run(attempt(None, abandoned={"me_0ld"}).steps())
    assert world.clock < START + 6


def test_an_attempt_to_end_it_that_fails_is_the_apis_trouble() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(refused(400, "BadRequest")))
    with pytest.raises(LockApiError):
        world.run(attempt(sightings=sightings).steps())


# is_locked: exactly when a try-once would raise


def asked(answer: Any, *rest: Any, clock: float = 0, **options: Any) -> bool:
    parts = {"sightings": Sightings(), "abandoned": (), "takeover": True, **options}
    return World(clock=START + clock).expect(got(answer, takes=0), *rest).run(would_refuse("app", NAME, **parts))


def test_is_locked_is_one_get() -> None:
    assert asked(lease()) is True
    assert asked(missing()) is False


def test_is_locked_is_false_where_a_try_once_would_take_over() -> None:
    sightings = Sightings()
    assert asked(lease(), sightings=sightings) is True
    assert asked(lease(), sightings=sightings, clock=33) is True
    assert asked(lease(), sightings=sightings, clock=33.1) is False
    assert asked(lease(), sightings=sightings, clock=33.1, takeover=False) is True
    assert asked(lease(process=PROCESS), IS_DEAD) is False
    assert asked(lease(process=PROCESS), IS_ALIVE) is True
    assert asked(lease("me_0ld"), abandoned={"me_0ld"}) is False


def test_is_locked_and_acquire_share_what_they_saw() -> None:
    sightings = Sightings()
    asked(lease(), sightings=sightings)
    world = World(clock=START + 40).expect(post(exists()), listed(lease()), delete(), post())
    world.run(attempt(sightings=sightings).steps())


def test_is_locked_of_a_foreign_lease_raises_as_acquire_does() -> None:
    with pytest.raises(InvalidLockError):
        asked(lease(app=None))


@pytest.mark.parametrize("code", [401, 403, 500, 503])
def test_is_locked_never_guesses(code: int) -> None:
    with pytest.raises(LockApiError) as caught:
        asked(refused(code, "x"))
    assert caught.value.status == code


# Sightings


def test_what_was_seen_is_bounded() -> None:
    sightings = Sightings()
    for number in range(Sightings.LIMIT + 100):
        sightings.unchanged_since(_lease(f"l{number}", "1"), float(number))
    assert len(sightings._seen) == Sightings.LIMIT
    assert sightings.unchanged_since(_lease("l0", "1"), 1e6) == 1e6, "the oldest are forgotten first"
    assert sightings.unchanged_since(_lease("l5000", "1"), 1e6) == 5000


def test_what_is_gone_or_ours_is_forgotten() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease(version="50"))
    World(clock=START + 1).expect(post()).run(attempt(sightings=sightings).steps())
    assert not sightings._seen
    refused_at(2, sightings, lease(version="50"))
    World(clock=START + 3).expect(post(exists()), listed(), post()).run(attempt(sightings=sightings).steps())
    assert not sightings._seen


def test_my_own_lease_is_never_a_sighting_of_somebody() -> None:
    sightings = Sightings()
    World().expect(post(lost_reply()), listed(my_lease())).run(attempt(sightings=sightings).steps())
    assert not sightings._seen


def test_a_wait_that_ends_without_the_lock_leaves_the_observation_for_the_next() -> None:
    sightings = Sightings()
    world = World().expect(post(exists(), takes=0), listed(lease(), takes=0), watch(takes=0))
    with pytest.raises(LockTimeoutError):
        world.run(attempt(10, sightings=sightings).steps())
    world = World(clock=START + 34).expect(post(exists()), listed(lease()), delete(), post())
    world.run(attempt(sightings=sightings).steps())


def test_a_listing_that_fails_forgets_nothing() -> None:
    sightings = Sightings()
    refused_at(0, sightings, lease())
    world = World(clock=START + 40).expect(
        post(exists()), listing_fails(refused(503, "x")), listed(lease()), delete(), post()
    )
    world.run(attempt(sightings=sightings).steps())


def _lease(name: str, version: str) -> Any:
    from tasklock.lease import Lease  # noqa: PLC0415

    return Lease.parse(lease(OTHER, lease=name, version=version))
