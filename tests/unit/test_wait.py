"""Waiting for a lock: by watch, never by polling; who loses a race holds back. Design, section 5, "Wait"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tasklock.errors import InvalidLockError, LockApiError, LockForbiddenError, LockTimeoutError, TaskLockedException
from tasklock.protocol.acquire import Acquisition
from tasklock.protocol.sightings import Sightings
from unit.script import (
    LEASE,
    OTHER,
    START,
    World,
    claim,
    exists,
    lease,
    listed,
    listing_fails,
    lost_reply,
    my_lease,
    post,
    refused,
    watch,
)

if TYPE_CHECKING:
    from tasklock.protocol.effects import Reply, Watch

HELD = lease(version="50")


def attempt(timeout: float | None = None, **options: Any) -> Acquisition:
    parts = {"takeover": True, "sightings": Sightings(), "abandoned": (), "random": lambda: 1.0, **options}
    return Acquisition(claim(), timeout=timeout, **parts)


def waiting(*, version: str = "70", held: Any = HELD) -> World:
    """Return a world in which the lock is held and the watch is open, at the start of the clock."""
    return World().expect(post(exists(), takes=0), listed(held, version=version, takes=0), watch(takes=0))


def test_a_waiter_lists_watches_from_the_lists_version_and_posts_on_deleted() -> None:
    world = waiting(version="4711").expect(post()).event("DELETED", HELD, at=7)
    world.run(attempt().steps())
    opened: Watch = world.sent("WATCH")
    assert (opened.lease, opened.version) == (LEASE, "4711")
    assert world.requests == ["POST", "LIST", "WATCH", "POST"]
    assert world.clock < START + 7.1


def test_nothing_is_sent_while_the_holder_renews() -> None:
    world = waiting()
    for number in range(1, 31):
        world.event("MODIFIED", lease(version=str(50 + number)), at=10.0 * number)
    world.event("DELETED", HELD, at=305).expect(post())
    world.run(attempt().steps())
    assert len(world.requests) == 4


def test_a_grant_after_a_long_wait_counts_from_its_own_create() -> None:
    """The refused create at the start is settled; the hand-over must not pay a renewal for it."""
    world = waiting()
    for number in range(1, 31):
        world.event("MODIFIED", lease(version=str(50 + number)), at=10.0 * number)
    world.event("DELETED", HELD, at=305).expect(post())
    grant = world.run(attempt().steps())
    assert grant.since == START + 305


def test_an_unanswered_create_makes_even_a_long_wait_count_from_the_first() -> None:
    world = World().expect(post(lost_reply(), takes=0), listed(HELD, takes=0), watch(takes=0))
    world.event("DELETED", HELD, at=3).expect(post())
    grant = world.run(attempt().steps())
    assert grant.since == START


def test_the_first_attempt_after_deleted_is_immediate() -> None:
    world = waiting().expect(post(takes=0)).event("DELETED", HELD, at=1)
    world.run(attempt().steps())
    assert world.clock == START + 1


def lost_races(number: int) -> tuple[World, list[float]]:
    """Lose that many races, the winner showing itself after the create; return the world and when it was posted."""
    world, posts, clock = waiting(), [], 1.0
    for race in range(number):
        clock = 2.0 * (race + 1)
        winner = lease(f"w_{race}", uid=f"w{race}", version=str(100 + race))
        world.event("DELETED", HELD, at=clock)
        world.event("ADDED", winner, at=clock + 1.0)
        world.expect(post(lambda _: posts.append(world.clock - START) or exists(), takes=0))
    world.event("DELETED", HELD, at=2.0 * (number + 1))
    world.expect(post(takes=0))
    world.run(attempt().steps())
    return world, [*posts, world.clock - START]


def test_every_lost_race_doubles_the_delay_and_after_six_it_posts_at_once_again() -> None:
    _, posts = lost_races(15)
    delays = [round(posted - 2.0 * (number + 1), 6) for number, posted in enumerate(posts)]
    assert delays == [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0, *6 * [0.32], 0, 0.32]


def test_the_delay_is_random() -> None:
    world = waiting().event("DELETED", HELD, at=1).event("ADDED", HELD, at=1.5).event("DELETED", HELD, at=2)
    world.expect(post(exists(), takes=0), post(takes=0))
    world.run(attempt(random=lambda: 0.25).steps())
    assert world.clock == pytest.approx(START + 2.0025)


def test_who_sees_somebody_elses_added_during_the_delay_does_not_post() -> None:
    other = lease("w_2", uid="w2", version="120")
    world = waiting().event("DELETED", HELD, at=1).event("ADDED", lease(uid="w1", version="110"), at=1.5)
    world.event("DELETED", HELD, at=2).event("ADDED", other, at=2.005)
    world.event("DELETED", other, at=9)
    world.expect(post(exists(), takes=0), post(takes=0))
    world.run(attempt().steps())
    assert world.requests == ["POST", "LIST", "WATCH", "POST", "POST"]
    assert world.clock == pytest.approx(START + 9.01), "a race that was not run is not lost: the delay stays"


def test_a_lock_that_comes_and_goes_during_the_delay_is_posted_for_after_it() -> None:
    world = waiting().event("DELETED", HELD, at=1).event("ADDED", HELD, at=1.5).event("DELETED", HELD, at=2)
    world.event("DELETED", HELD, at=2.003)
    world.expect(post(exists(), takes=0), post(takes=0))
    world.run(attempt().steps())
    assert world.clock == pytest.approx(START + 2.01)


def test_my_own_lease_shown_by_the_watch_is_mine() -> None:
    world = World().expect(post(lost_reply(), takes=0), listed(HELD, takes=0), watch(takes=0))
    world.event("DELETED", HELD, at=1).event("ADDED", my_lease(uid="u"), at=1.01)
    world.expect(post(exists()))
    assert world.run(attempt().steps()).uid == "u"


def test_after_one_lost_reply_every_lost_race_still_counts() -> None:
    """Nor does it list and watch anew at each."""
    world = World().expect(post(lost_reply(), takes=0), listed(HELD, takes=0), watch(takes=0))
    for race in range(3):
        world.event("DELETED", HELD, at=2.0 * race + 1).event("ADDED", lease(version=str(60 + race)), at=2.0 * race + 2)
        world.expect(post(exists(), takes=0))
    world.event("DELETED", HELD, at=9).expect(post(takes=0))
    world.run(attempt().steps())
    assert world.requests.count("LIST") == 1
    assert world.clock == pytest.approx(START + 9.04)


def test_a_post_of_the_race_that_goes_unanswered_is_looked_for() -> None:
    world = waiting().event("DELETED", HELD, at=1).expect(post(lost_reply(), takes=1), listed(my_lease()))
    grant = world.run(attempt().steps())
    assert grant.since == START  # found, not given: the first create may have made it


def test_nothing_for_half_a_duration_lists_again_for_the_connection_may_be_dead() -> None:
    world = waiting().expect(listed(takes=0), post())
    world.run(attempt().steps())
    assert world.clock == pytest.approx(START + 15, abs=0.1)


@pytest.mark.parametrize("answer", [refused(410, "Expired"), refused(500, "x"), lost_reply()])
def test_a_watch_that_cannot_be_opened_is_looked_for_again(answer: Reply) -> None:
    world = World().expect(post(exists()), listed(HELD), watch(answer), listed(HELD, version="99"), watch(), post())
    world.event("DELETED", HELD, at=5)
    world.run(attempt().steps())
    assert world.sent("WATCH", 1).version == "99"
    assert world.rests, "never without a rest"


def test_a_watch_that_ended_is_opened_anew_from_a_fresh_list() -> None:
    world = waiting().event("ENDED", at=3).event("DELETED", HELD, at=6)
    world.expect(listed(HELD, version="99"), watch(), post())
    world.run(attempt().steps())
    assert world.sent("WATCH", 1).version == "99"
    assert len(world.rests) == 1


def test_watches_that_end_at_once_are_opened_ever_more_rarely() -> None:
    world = World().expect(post(exists()))
    for _ in range(8):
        world.expect(listed(HELD), watch()).event("ENDED", at=0)
    world.expect(listed(), post())
    world.run(attempt().steps())
    assert world.rests == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])


def test_a_lock_freed_while_the_watch_was_down_is_found_by_the_list() -> None:
    world = waiting().event("ENDED", at=3).expect(listed(), post())
    world.run(attempt().steps())


def test_the_deadline_is_kept_and_says_who_held_it() -> None:
    world = waiting(held=lease(OTHER, pod="p", ttl=300))
    with pytest.raises(LockTimeoutError) as caught:
        world.run(attempt(20).steps())
    assert world.clock == START + 20
    assert (caught.value.holder, caught.value.pod, caught.value.ttl) == (OTHER, "p", 300)
    assert "after waiting 20 s" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


def test_a_deadline_within_the_delay_after_a_lost_race_is_kept() -> None:
    world = waiting().event("DELETED", HELD, at=1).event("ADDED", HELD, at=1.5).event("DELETED", HELD, at=2)
    world.expect(post(exists(), takes=0))
    with pytest.raises(LockTimeoutError):
        world.run(attempt(2.005).steps())
    assert world.clock == pytest.approx(START + 2.005)


def test_a_deadline_during_the_apis_trouble_is_the_apis_trouble() -> None:
    world = waiting().event("ENDED", at=1)
    world.expect(*[listing_fails(refused(503, "ServiceUnavailable"), takes=0)] * 6)
    with pytest.raises(LockApiError) as caught:
        world.run(attempt(3).steps())
    assert caught.value.status == 503
    assert not isinstance(caught.value, TaskLockedException)
    assert world.clock <= START + 3


def test_a_deadline_that_cuts_off_the_very_first_look_is_about_a_held_lock() -> None:
    world = World().expect(post(exists(), takes=0.5), listing_fails(lost_reply(), takes=0.5))
    with pytest.raises(LockTimeoutError):
        world.run(attempt(1).steps())


def test_a_create_that_fails_until_after_the_deadline_is_trouble_though_the_lists_went_well() -> None:
    world = World().expect(post(refused(503, "x"), takes=0.1), listed(), post(refused(503, "x"), takes=0.9))
    with pytest.raises(LockApiError) as caught:
        world.run(attempt(1).steps(), spare=True)
    assert not isinstance(caught.value, TaskLockedException), "nobody was ever seen to hold it"


def test_a_trouble_that_is_over_is_not_what_a_deadline_is_about() -> None:
    world = World().expect(post(exists(), takes=0), listing_fails(refused(503, "x"), takes=0))
    world.expect(listed(HELD, takes=0), watch(takes=0))
    with pytest.raises(LockTimeoutError):
        world.run(attempt(3).steps())


def test_a_create_that_takes_longer_than_the_time_to_wait_is_cut_off_and_looked_after() -> None:
    attempted = attempt(2)
    world = World().expect(post(takes=60))
    with pytest.raises(LockApiError):
        world.run(attempted.steps())
    assert world.clock <= START + 2.001
    assert attempted.unsettled


def test_no_watch_verb_is_an_error_that_says_so() -> None:
    world = World().expect(post(exists()), listed(HELD), watch(refused(403, "Forbidden")))
    with pytest.raises(LockForbiddenError) as caught:
        world.run(attempt().steps())
    assert caught.value.verb == "watch"


def test_a_foreign_lease_that_takes_the_name_meanwhile_is_an_error() -> None:
    world = waiting().event("DELETED", HELD, at=1).event("ADDED", lease(app=None, uid="f", version="99"), at=1.1)
    world.expect(post(exists(), takes=0))
    with pytest.raises(InvalidLockError):
        world.run(attempt().steps())


def test_a_watch_lasts_ten_minutes_at_most_and_not_all_end_at_once() -> None:
    for random, seconds in ((0.0, 300), (1.0, 600)):
        world = waiting().event("DELETED", HELD, at=1).expect(post())
        world.run(attempt(random=lambda random=random: random).steps())
        assert world.sent("WATCH").seconds == seconds


def test_a_server_that_says_taken_and_free_by_turns_is_left_at_the_deadline() -> None:
    world = World()
    for _ in range(1000):
        world.expect(post(exists(), takes=0.05), listed(takes=0.05))
    with pytest.raises((LockTimeoutError, LockApiError)):
        world.run(attempt(3).steps(), spare=True)
    assert world.clock <= START + 3.1
