"""Giving a lock back, and cleaning up after attempts that were given up. Design, section 5, "Release"."""

from __future__ import annotations

import pytest

from tasklock.errors import LockApiError, LockForbiddenError
from tasklock.protocol.effects import Reply, Send
from tasklock.protocol.grant import Grant, Loss
from tasklock.protocol.release import release, sweep
from unit.script import (
    LEASE,
    ME,
    START,
    World,
    claim,
    conflict,
    delete,
    got,
    lease,
    lost_reply,
    missing,
    my_lease,
    no_connection,
    parsed,
    refused,
)


def granted(ttl: int = 30) -> Grant:
    return Grant(claim(ttl=ttl), parsed(my_lease(ttl=ttl)), since=START)


def one() -> float:
    return 1.0


def test_release_is_one_delete_of_our_own_incarnation_whatever_its_version() -> None:
    world = World().expect(delete())
    assert world.run(release(granted(), one)) == "released"
    sent: Send = world.sent("DELETE")
    assert (sent.lease, sent.body) == (
        LEASE,
        {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "uid-me"}},
    )


def test_202_is_released_too() -> None:
    assert World().expect(delete(Reply(status=202, body={"kind": "Lease"}))).run(release(granted(), one)) == "released"


def test_nothing_is_renewed_from_its_first_step_on() -> None:
    grant = granted()
    release(grant, one).send(None)
    assert grant.over


@pytest.mark.parametrize(("answer", "reason"), [(missing(), "deleted"), (conflict(), "replaced")])
def test_404_and_409_mean_that_it_was_taken_before(answer: Reply, reason: str) -> None:
    grant = granted()
    assert World().expect(delete(answer)).run(release(grant, one)) == "gone"
    assert grant.loss
    assert grant.loss.reason == reason


@pytest.mark.parametrize("answer", [missing(), conflict()])
@pytest.mark.parametrize("first", [lost_reply(), refused(500, "InternalError"), refused(504, "Timeout")])
def test_after_an_ambiguous_delete_of_our_own_they_mean_released(first: Reply, answer: Reply) -> None:
    grant = granted()
    assert World().expect(delete(first), delete(answer)).run(release(grant, one)) == "released"
    assert grant.loss is None


@pytest.mark.parametrize("first", [no_connection(), refused(429, "TooManyRequests")])
def test_after_a_delete_that_cannot_have_happened_they_do_not(first: Reply) -> None:
    grant = granted()
    assert World().expect(delete(first), delete(missing())).run(release(grant, one)) == "gone"
    assert grant.loss


def test_retry_after_is_honoured() -> None:
    world = World().expect(delete(refused(429, "TooManyRequests", retry_after=4.0)), delete())
    world.run(release(granted(), one))
    assert world.rests == [pytest.approx(4.0)]


def test_unanswered_it_is_retried_until_the_deadline_and_left_to_expire() -> None:
    world = World().expect(*[delete(lost_reply(), takes=5)] * 10)
    assert world.run(release(granted(), one), spare=True) == "unanswered"
    assert START + 15 < world.clock <= START + 21
    assert all(rest <= 2 for rest in world.rests)


def test_an_expired_grant_is_deleted_by_uid_once_the_body_has_ended() -> None:
    world = World(clock=START + 300).expect(delete())
    assert world.run(release(granted(), one)) == "released"
    assert world.sent("DELETE").timeout == 1


def test_an_expired_grant_is_tried_only_once() -> None:
    world = World(clock=START + 300).expect(delete(lost_reply()))
    assert world.run(release(granted(), one)) == "unanswered"


def test_an_expired_grant_stays_expired_though_somebody_else_has_it_by_now() -> None:
    grant = granted()
    grant.check(START + 20)
    world = World(clock=START + 300).expect(delete(conflict()))
    assert world.run(release(grant, one)) == "gone"
    assert grant.loss == Loss("expired", START + 20)


def test_403_names_the_verb_delete() -> None:
    with pytest.raises(LockForbiddenError) as caught:
        World().expect(delete(refused(403, "Forbidden"))).run(release(granted(), one))
    assert caught.value.verb == "delete"


@pytest.mark.parametrize(
    "answer",
    [
        refused(401, "Unauthorized"),
        refused(400, "BadRequest"),
        Reply(status=404, body=None, error="<html>"),
        Reply(status=200, body=None, error="<html>"),
        Reply(status=200, body={"logged": "in"}),
    ],
)
def test_an_answer_that_will_not_change_raises(answer: Reply) -> None:
    with pytest.raises(LockApiError) as caught:
        World().expect(delete(answer)).run(release(granted(), one))
    assert caught.value.status == answer.status


# sweep: what an abandoned attempt may still bring


def test_a_late_create_of_an_abandoned_attempt_is_deleted_by_uid() -> None:
    world = World().expect(got(missing()), got(missing()), got(my_lease(uid="late")), delete(), *[got(missing())] * 50)
    world.run(sweep(claim(), START + 60), spare=True)
    assert world.sent("DELETE").body["preconditions"] == {"uid": "late"}
    assert world.clock >= START + 60


def test_somebody_elses_lease_is_left_alone() -> None:
    world = World().expect(*[got(lease())] * 50)
    world.run(sweep(claim(), START + 60), spare=True)
    assert "DELETE" not in world.requests


def test_it_looks_ever_more_rarely_and_once_more_at_the_very_end() -> None:
    world = World().expect(*[got(missing(), takes=0)] * 50)
    world.run(sweep(claim(), START + 60), spare=True)
    assert world.rests == pytest.approx([0, 0.25, 0.75, 2.25, 6.75, 20.25, 29.85])
    assert START + 60 <= world.clock < START + 61


def test_the_apis_trouble_does_not_end_it() -> None:
    world = World().expect(got(refused(403, "Forbidden")), got(no_connection()), got(refused(500, "x")))
    world.expect(got(my_lease()), delete(lost_reply()), got(my_lease()), delete(), *[got(missing())] * 10)
    world.run(sweep(claim(), START + 60), spare=True)
    assert world.requests.count("DELETE") == 2


def test_with_its_time_over_it_looks_once() -> None:
    world = World().expect(got(my_lease(uid="late")), delete())
    world.run(sweep(claim(holder=ME), 0.0))
