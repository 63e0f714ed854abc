"""Keeping a lock: the holder knows first. Design, section 5, "Renew"."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tasklock.lease import Lease, parse_time
from tasklock.protocol.effects import Effect, Now, Reply, Send, Sleep, Time
from tasklock.protocol.grant import Grant, Loss, expiring, renewing, watching
from unit.script import (
    EPOCH,
    LEASE,
    START,
    World,
    claim,
    conflict,
    lease,
    listed,
    listing_fails,
    lost_reply,
    missing,
    my_lease,
    no_connection,
    other_uid,
    parsed,
    patch,
    patched,
    refused,
    wall,
    watch,
)

TTL = 30
MINE = my_lease(ttl=TTL)


def granted(*, ttl: int = TTL, since: float = START, **options: Any) -> Grant:
    return Grant(claim(ttl=ttl), parsed(my_lease(ttl=ttl, **options)), since=since)


def half() -> float:
    return 0.5


def renewals(grant: Grant, *answers: Any, takes: float = 0.0) -> World:
    """Renew with these answers; the grant counts as released after the last, unless it is lost by then."""
    world = World()

    def last(answer: Any) -> Any:
        def reply(effect: Send) -> Reply:
            grant.over = True
            return answer(effect) if callable(answer) else answer

        return reply

    *most, end = answers
    world.expect(*[patch(answer, takes=takes) for answer in most], patch(last(end), takes=takes))
    world.run(renewing(grant, half))
    return world


def lose_by(answer: Any) -> Loss | None:
    grant = granted()
    World().expect(patch(answer)).run(renewing(grant, half), spare=True)
    return grant.loss


def test_a_renewal_is_one_merge_patch_every_third_of_the_ttl_and_nothing_else() -> None:
    grant = granted()
    world = renewals(grant, *[patched(MINE, version=str(100 + n)) for n in range(5)])
    assert world.requests == ["PATCH"] * 5
    assert world.rests == pytest.approx([10.0] * 5)


@pytest.mark.parametrize(("random", "due"), [(0.0, 9.0), (1.0, 11.0)])
def test_renewals_are_jittered_by_a_tenth(random: float, due: float) -> None:
    steps = renewing(granted(), lambda: random)
    assert isinstance(steps.send(None), Now)
    sleep = steps.send(Time(START, EPOCH))
    assert isinstance(sleep, Sleep)
    assert sleep.until == pytest.approx(START + due)


def test_the_patch_says_which_incarnation_and_a_later_time_and_nothing_of_the_rest() -> None:
    world = renewals(granted(), patched(MINE, version="78"))
    sent: Send = world.sent("PATCH")
    assert (sent.method, sent.lease, sent.query) == ("PATCH", LEASE, ())
    assert sent.body == {
        "metadata": {"uid": "uid-me", "annotations": {"tasklock.dev/token": "77"}},
        "spec": {"renewTime": "2026-01-01T00:00:10.000000Z"},
    }


def test_only_the_first_answered_renewal_carries_the_token() -> None:
    world = renewals(granted(), lost_reply(), patched(MINE, version="78"), patched(MINE, version="79"))
    told = ["annotations" in world.sent("PATCH", n).body["metadata"] for n in range(3)]
    assert told == [True, True, False]


def test_renew_time_grows_even_if_the_wall_clock_goes_back() -> None:
    grant = granted()
    first = grant.renewal(Time(START + 10, EPOCH + timedelta(hours=1)))
    second = grant.renewal(Time(START + 20, EPOCH))
    times = [parse_time(send.body["spec"]["renewTime"]) for send in (first, second) if send.body]
    assert times == [EPOCH + timedelta(hours=1), EPOCH + timedelta(hours=1, microseconds=1)]


def test_renew_time_is_later_than_that_of_the_create_even_within_the_same_microsecond() -> None:
    send = granted().renewal(Time(START, EPOCH))
    assert send.body
    assert send.body["spec"]["renewTime"] == "2026-01-01T00:00:00.000001Z"


def test_an_answered_renewal_counts_from_before_its_request() -> None:
    grant = granted()
    grant.renewal(Time(START + 10, wall(START + 10)))
    reply = patched(MINE, version="78")(grant.renewal(Time(START + 10, wall(START + 10))))
    assert grant.renewed(Reply(status=200, body=reply.body, sent=START + 10, received=START + 14))
    assert grant.since == START + 10
    assert grant.valid_until == START + 30


def test_200_with_the_same_version_is_not_answered() -> None:
    grant = granted()
    world = World().expect(*[patch(patched(MINE, version="77"))] * 200)
    world.run(renewing(grant, half), spare=True)
    assert grant.loss == Loss("expired", START + 20)


def test_200_with_the_same_version_is_tried_again_soon() -> None:
    world = renewals(granted(), patched(MINE, version="77"), patched(MINE, version="78"))
    assert world.rests[1] < 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (missing(), "deleted"),
        (other_uid(), "replaced"),
        (patched(MINE, version="99", holderIdentity="thief"), "overwritten"),
        (patched(MINE, version="99", leaseDurationSeconds=99), "overwritten"),
        (patched(MINE, version="99", acquireTime="2020-01-01T00:00:00.000000Z"), "overwritten"),
        (patched(MINE, version="99", renewTime="2020-01-01T00:00:00.000000Z"), "overwritten"),
        (patched(MINE, version="99", holderIdentity=None), "overwritten"),
    ],
)
def test_lost_now_by_a_renewals_answer(answer: Any, reason: str) -> None:
    loss = lose_by(answer)
    assert loss is not None
    assert loss.reason == reason


@pytest.mark.parametrize(
    "answer",
    [
        lost_reply(),
        no_connection(),
        conflict(),
        refused(400, "BadRequest"),
        refused(401, "Unauthorized"),
        refused(403, "Forbidden"),
        refused(408, "Timeout"),
        refused(422, "Invalid"),
        refused(422, "Invalid", causes=[{"field": "spec.renewTime"}]),
        refused(429, "TooManyRequests"),
        refused(500, "InternalError"),
        refused(503, "ServiceUnavailable"),
        Reply(status=404, body=None, error="<html>a proxy"),
        Reply(status=404, body={"kind": "Status"}),
        Reply(status=422, body=None),
        Reply(status=422, body={"details": {"causes": "metadata.uid"}}),
        Reply(status=200, body=None, error="<html>"),
        Reply(status=200, body={}),
        Reply(status=200, body={"metadata": {"uid": "another"}}),
        Reply(status=302, body=None),
    ],
    ids=lambda reply: f"{reply.status}-{reply.reason}",
)
def test_everything_else_is_tried_again_while_time_remains(answer: Reply) -> None:
    grant = granted()
    world = renewals(grant, answer, answer, answer, patched(MINE, version="78"))
    assert grant.loss is None
    assert grant.version == "77", "the last was answered after the release"
    assert all(0 < rest <= 2.5 for rest in world.rests[1:])
    assert world.rests[1] < world.rests[2] < world.rests[3]


@pytest.mark.parametrize("answer", [lost_reply(), refused(403, "Forbidden"), refused(500, "InternalError")])
def test_at_two_thirds_since_the_start_of_the_last_answered_renewal_it_is_expired(answer: Reply) -> None:
    grant = granted()
    world = World().expect(patch(patched(MINE, version="78"), takes=1), *[patch(answer, takes=0)] * 100)
    world.run(renewing(grant, half), spare=True)
    assert grant.loss == Loss("expired", START + 10 + 20)
    assert world.clock == START + 30


def test_retry_after_is_honoured() -> None:
    world = renewals(granted(), refused(429, "TooManyRequests", retry_after=7.0), patched(MINE, version="78"))
    assert world.rests[1] == pytest.approx(7.0)


def test_a_retry_after_beyond_the_validity_leaves_time_for_another_try_and_is_no_loss() -> None:
    world = renewals(granted(), refused(429, "TooManyRequests", retry_after=60.0), patched(MINE, version="78"))
    assert world.rests[1] == pytest.approx(5.0)


def test_a_late_200_revives_nothing() -> None:
    grant = granted(ttl=6)
    send = grant.renewal(Time(START + 2, wall(START + 2)))
    answer = patched(my_lease(ttl=6), version="78")(send)
    assert grant.check(START + 4) == Loss("expired", START + 4)
    assert not grant.renewed(Reply(status=200, body=answer.body, sent=START + 2, received=START + 4.1))
    assert grant.loss == Loss("expired", START + 4)
    assert grant.valid_until == START + 4


def test_a_200_that_arrives_after_the_validity_is_over_is_late_even_if_nobody_looked() -> None:
    grant = granted(ttl=6)
    send = grant.renewal(Time(START + 2, wall(START + 2)))
    answer = patched(my_lease(ttl=6), version="78")(send)
    assert not grant.renewed(Reply(status=200, body=answer.body, sent=START + 2, received=START + 4))
    assert grant.loss
    assert grant.loss.reason == "expired"


def test_the_first_reason_stays() -> None:
    grant = granted()
    grant.renewed(Reply(status=404, body=missing().body, received=START + 1))
    grant.check(START + 1000)
    grant.saw(parsed(lease(uid="new")), START + 1001)
    assert grant.loss == Loss("deleted", START + 1)


def test_a_404_to_a_renewal_that_overlaps_the_release_is_our_own_doing() -> None:
    grant = granted()
    grant.over = True
    grant.renewed(Reply(status=404, body=missing().body, received=START + 1))
    assert grant.loss is None


@pytest.mark.parametrize(("ttl", "most"), [(1, 0.5), (3, 0.5), (6, 1.0), (30, 5.0), (86_400, 5.0)])
def test_no_renewal_may_take_longer_than_what_is_left_or_five_seconds(ttl: int, most: float) -> None:
    grant = granted(ttl=ttl)
    for used in (0.0, 0.2, 0.5, 0.6, 0.66):
        now = START + ttl * used
        timeout = grant.renewal(Time(now, wall(now))).timeout
        assert 0 < timeout <= min(most, grant.valid_until - now)


def test_a_request_that_hangs_leaves_time_for_another() -> None:
    grant = granted(ttl=30)
    world = World().expect(patch(patched(MINE, version="78"), takes=99), patch(patched(MINE, version="78")))
    world.expect(patch(missing()))
    world.run(renewing(grant, half))
    assert world.sent("PATCH", 0).timeout == 5
    assert grant.version == "78"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "app", "team": "x"}},
        {"annotations": {"tasklock.dev/name": "report", "note": "kubectl annotate"}},
        {"labels": {}, "annotations": {}},
    ],
)
def test_a_change_of_labels_or_annotations_does_not_lose_it(change: dict[str, Any]) -> None:
    changed = {**MINE, "metadata": {**MINE["metadata"], **change}}
    assert renewed_once(changed).loss is None
    grant = granted()
    grant.saw(parsed(changed), START + 1)
    assert grant.loss is None


def test_spec_fields_that_are_not_ours_do_not_lose_it() -> None:
    changed = {**MINE, "spec": {**MINE["spec"], "leaseTransitions": 3, "strategy": "OldestEmulationVersion"}}
    assert renewed_once(changed).loss is None


def renewed_once(obj: dict[str, Any]) -> Grant:
    grant = granted()
    world = World().expect(patch(patched(obj, version="78")), patch(no_connection()))
    steps = renewing(grant, half)
    outcome: Any = None
    while world.table:
        outcome = world.perform(steps.send(outcome))
    steps.close()
    assert grant.version == "78"
    return grant


def test_nothing_is_renewed_once_released() -> None:
    grant = granted()
    grant.over = True
    assert World().run(renewing(grant, half)) is None


def test_released_while_it_sleeps_is_not_renewed() -> None:
    grant = granted()
    steps = renewing(grant, half)
    steps.send(None)
    steps.send(Time(START, EPOCH))
    grant.over = True
    with pytest.raises(StopIteration) as end:
        steps.send(Time(START + 10, EPOCH))
    assert end.value.value is None


def test_a_process_that_slept_past_its_validity_sends_nothing() -> None:
    """SIGSTOP, a suspended machine: on waking up it finds itself lost before it can renew anything."""
    grant = granted()
    world = World(clock=START + 21)
    assert world.run(renewing(grant, half)) == Loss("expired", START + 21)


def test_a_process_paused_during_its_sleep_finds_itself_lost_on_waking() -> None:
    grant = granted()
    steps = renewing(grant, half)
    steps.send(None)
    steps.send(Time(START, EPOCH))
    with pytest.raises(StopIteration) as end:
        steps.send(Time(START + 500, EPOCH))
    assert end.value.value == Loss("expired", START + 500)


# expiring: told on time though the renewal hangs


def test_expiry_is_told_at_the_very_moment() -> None:
    grant = granted()
    assert World().run(expiring(grant)) == Loss("expired", START + 20)


def test_expiry_moves_with_every_renewal() -> None:
    grant = granted()
    steps = expiring(grant)
    steps.send(None)
    sleep: Effect = steps.send(Time(START, EPOCH))
    assert sleep == Sleep(START + 20)
    grant.since = START + 10
    assert steps.send(Time(START + 20, EPOCH)) == Sleep(START + 30)
    grant.over = True
    with pytest.raises(StopIteration) as end:
        steps.send(Time(START + 30, EPOCH))
    assert end.value.value is None


# watching: a help to know of a deletion within milliseconds


def seen(world: World, grant: Grant) -> Loss | None:
    return world.run(watching(grant))


def test_a_watch_tells_of_a_deletion_at_once() -> None:
    world = World().expect(listed(MINE, version="90"), watch()).event("DELETED", MINE, at=4)
    assert seen(world, granted()) == Loss("deleted", START + 4)
    assert world.sent("WATCH").version == "90"


def test_a_watch_tells_of_a_replacement_and_of_an_overwritten_spec() -> None:
    world = World().expect(listed(MINE), watch()).event("ADDED", lease(uid="new"), at=4)
    assert seen(world, granted()) == Loss("replaced", START + 4)
    stolen = {**MINE, "spec": {**MINE["spec"], "holderIdentity": "thief"}}
    world = World().expect(listed(MINE), watch()).event("MODIFIED", stolen, at=4)
    assert seen(world, granted()) == Loss("overwritten", START + 4)


def test_a_watch_that_finds_nothing_there_tells_of_the_deletion() -> None:
    loss = seen(World().expect(listed()), granted())
    assert loss
    assert loss.reason == "deleted"


def test_a_watch_that_finds_another_there_tells_of_the_replacement() -> None:
    grant = granted()
    World().expect(listed(lease(uid="new"))).run(watching(grant))
    assert grant.loss
    assert grant.loss.reason == "replaced"


def test_a_deletion_right_after_the_watch_was_opened_is_told_at_once_too() -> None:
    world = World().expect(listed(MINE), watch()).event("DELETED", MINE, at=0.1)
    seen(world, granted())
    assert world.clock == pytest.approx(START + 0.1)


def test_a_watch_that_ends_at_once_is_opened_at_most_once_a_second() -> None:
    world = World()
    for _ in range(10):
        world.expect(listed(MINE), watch()).event("ENDED", at=0)
    world.expect(listed())
    seen(world, granted())
    assert world.clock > START + 10


def test_our_own_renewals_and_labels_of_others_are_no_loss() -> None:
    world = World().expect(listed(MINE), watch())
    for number in range(5):
        renewed = {**MINE, "metadata": {**MINE["metadata"], "resourceVersion": str(80 + number), "labels": {}}}
        world.event("MODIFIED", renewed, at=10.0 * number)
    world.event("DELETED", MINE, at=60)
    assert seen(world, granted()) == Loss("deleted", START + 60)


def test_the_watchs_trouble_is_never_a_loss_and_never_without_a_rest() -> None:
    world = World().expect(listing_fails(refused(403, "Forbidden")), listing_fails(no_connection()))
    world.expect(listed(MINE), watch(refused(410, "Expired")), listed(MINE), watch()).event("ENDED", at=5)
    world.expect(listed(MINE), watch()).event("DELETED", MINE, at=9)
    assert seen(world, granted()) == Loss("deleted", START + 9)
    assert world.rests[:3] == pytest.approx([1, 1, 1])


def test_a_watch_that_is_quiet_for_a_whole_ttl_is_dead() -> None:
    world = World().expect(listed(MINE), watch(), listed())
    loss = seen(world, granted())
    assert loss
    assert loss.at > START + TTL


def test_our_own_deletion_is_no_loss() -> None:
    grant = granted()
    grant.over = True
    grant.saw(None, START + 1)
    grant.saw(parsed(lease(uid="next")), START + 2)
    assert grant.loss is None
    assert World().run(watching(grant)) is None


def test_a_lease_that_reads_as_nothing_is_not_ours() -> None:
    grant = granted()
    grant.saw(Lease.parse("?"), START)
    assert grant.loss
