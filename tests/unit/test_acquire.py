"""Taking a lock that is free, or turns out to be ours, or cannot be had: design, section 5, "Acquire"."""

from __future__ import annotations

from typing import Any

import pytest

from tasklock.errors import (
    InvalidLockError,
    LockApiError,
    LockForbiddenError,
    LockTimeoutError,
    TaskLockedException,
)
from tasklock.protocol.acquire import Acquisition
from tasklock.protocol.effects import Reply, Send
from tasklock.protocol.sightings import Sightings
from unit.script import (
    LEASE,
    ME,
    NAME,
    OTHER,
    START,
    World,
    claim,
    created,
    exists,
    lease,
    listed,
    listing_fails,
    lost_reply,
    my_lease,
    no_connection,
    other_uid,
    patch,
    patched,
    post,
    refused,
    wall,
)


def _from(steps: Any, outcome: Any) -> Any:
    """Go on with steps that have begun."""
    try:
        while True:
            outcome = yield steps.send(outcome)
    except StopIteration as end:
        return end.value


def attempt(timeout: float | None = 0, *, ttl: int = 30, **options: Any) -> Acquisition:
    parts = {"takeover": True, "sightings": Sightings(), "abandoned": (), "random": lambda: 1.0, **options}
    return Acquisition(claim(ttl=ttl), timeout=timeout, **parts)


def test_an_uncontended_acquire_is_one_post() -> None:
    world = World().expect(post(created(uid="u", version="77")))
    grant = world.run(attempt().steps())
    assert (grant.uid, grant.token) == ("u", 77)


def test_validity_counts_from_before_the_post_and_lasts_two_thirds_of_the_ttl() -> None:
    grant = World().expect(post(takes=3)).run(attempt(ttl=30).steps())
    assert grant.valid_until == START + 20


def test_the_post_carries_the_record_of_the_wire_format() -> None:
    world = World().expect(post())
    world.run(attempt().steps())
    body = world.sent("POST").body
    assert body["metadata"] == {
        "name": LEASE,
        "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "app"},
        "annotations": {"tasklock.dev/name": NAME},
    }
    assert body["spec"] == {
        "holderIdentity": ME,
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }
    assert "uid" not in body["metadata"]
    assert "resourceVersion" not in body["metadata"]


def test_409_then_a_list_by_name_never_a_get() -> None:
    world = World().expect(post(exists()), listed(lease()))
    with pytest.raises(TaskLockedException):
        world.run(attempt().steps())
    assert world.sent("LIST").query == (("fieldSelector", f"metadata.name={LEASE}"),)


def test_409_then_an_empty_list_posts_again() -> None:
    world = World().expect(post(exists()), listed(), post())
    assert world.run(attempt().steps()).uid == "uid-me"


def test_try_once_says_who_holds_it_since_when_in_which_pod_for_how_long() -> None:
    held = lease(OTHER, ttl=45, since=wall(START - 5), pod="worker-7")
    world = World().expect(post(exists()), listed(held, date=wall(START)))
    with pytest.raises(TaskLockedException) as caught:
        world.run(attempt().steps())
    error = caught.value
    assert (error.name, error.holder, error.since, error.pod, error.ttl, error.stale) == (
        NAME,
        OTHER,
        wall(START - 5),
        "worker-7",
        45,
        False,
    )
    assert not isinstance(error, LockTimeoutError)
    assert str(error) == "lock 'report' is held by 'other_99999999' since 2025-12-31 23:59:55 UTC"


@pytest.mark.parametrize(("age", "stale"), [(59, False), (60, False), (61, True)])
def test_the_stale_hint_is_untouched_for_twice_the_ttl_by_the_servers_date(age: float, stale: bool) -> None:  # noqa: FBT001
    world = World().expect(post(exists()), listed(lease(touched=wall(START)), date=wall(START + age)))
    with pytest.raises(TaskLockedException) as caught:
        world.run(attempt().steps())
    assert caught.value.stale is stale


def test_without_a_date_there_is_no_hint() -> None:
    world = World().expect(post(exists()), listed(lease(touched=wall(START - 10_000))))
    with pytest.raises(TaskLockedException) as caught:
        world.run(attempt().steps())
    assert caught.value.stale is False


@pytest.mark.parametrize("answer", [lost_reply(), refused(500, "InternalError"), refused(504, "Timeout")])
def test_an_ambiguous_post_is_looked_for_and_adopted_with_validity_from_the_first_post(answer: Reply) -> None:
    world = World().expect(post(answer, takes=2), listed(my_lease(uid="u", version="12")))
    grant = world.run(attempt().steps())
    assert (grant.uid, grant.token, grant.since) == ("u", 12, START)
    assert grant.valid_until == START + 20


def test_a_409_that_shows_my_own_nonce_is_mine_after_all() -> None:
    world = World().expect(post(exists(), takes=1), listed(my_lease()))
    grant = world.run(attempt().steps())
    assert grant.since == START


def test_an_ambiguous_post_that_left_no_lease_is_posted_again_with_the_same_nonce() -> None:
    world = World().expect(post(lost_reply(), takes=2), listed(), post())
    attempted = attempt()
    grant = world.run(attempted.steps())
    assert [world.sent("POST", n).body["spec"]["holderIdentity"] for n in (0, 1)] == [ME, ME]
    assert grant.since == START
    assert grant.unsettled_until > world.clock, "the first create may still arrive after the release"


def test_an_ambiguous_post_that_lost_to_somebody_else_stays_unsettled() -> None:
    world = World().expect(post(lost_reply(), takes=2), listed(lease()))
    attempted = attempt()
    with pytest.raises(TaskLockedException):
        world.run(attempted.steps())
    assert attempted.unsettled
    assert attempted.unsettled_until >= START + 60


def test_a_definite_refusal_is_settled() -> None:
    attempted = attempt()
    with pytest.raises(TaskLockedException):
        World().expect(post(exists()), listed(lease())).run(attempted.steps())
    assert not attempted.unsettled


def test_an_attempt_cut_short_during_its_post_is_unsettled() -> None:
    attempted = attempt()
    steps = attempted.steps()
    effect = steps.send(None)
    while not isinstance(effect, Send):
        effect = steps.send(World().perform(effect))
    steps.close()
    assert attempted.unsettled


def test_an_answer_after_two_thirds_of_the_ttl_is_renewed_before_the_lock_is_handed_out() -> None:
    world = World().expect(post(takes=4), patch(patched(my_lease(ttl=5), version="78")))
    grant = world.run(attempt(ttl=5).steps())
    assert grant.since == START + 4
    assert grant.version == "78"
    assert grant.token == 77, "the token is the create's version, not the renewal's"


def test_each_renewal_of_a_late_grant_changes_the_lease_though_the_wall_clock_went_back() -> None:
    """The unanswered one may have been made: a second one like it would change nothing, and yet be answered."""
    world = World(wall_jump=-3600).expect(post(Reply(status=201, body=my_lease(ttl=5)), takes=4), patch(lost_reply()))
    world.expect(patch(patched(my_lease(ttl=5), version="78")))
    world.run(attempt(10, ttl=5).steps())
    first, second = (world.sent("PATCH", number).body["spec"]["renewTime"] for number in (0, 1))
    assert first < second


def test_a_late_grant_that_is_gone_by_then_is_looked_for_again() -> None:
    world = World().expect(post(takes=4), patch(refused(404, "NotFound")), listed(), post())
    grant = world.run(attempt(ttl=5).steps())
    assert grant.since >= START + 4, "validity cannot count from a create that was seen answered and lost"


def test_a_late_grant_that_was_replaced_is_somebody_elses() -> None:
    world = World().expect(post(takes=4), patch(other_uid()), listed(lease()))
    with pytest.raises(TaskLockedException):
        world.run(attempt(ttl=5).steps())


def test_a_late_grant_that_cannot_be_renewed_is_not_left_behind() -> None:
    attempted = attempt(ttl=5)
    world = World().expect(post(takes=4), patch(refused(403, "Forbidden")))
    with pytest.raises(LockForbiddenError) as caught:
        world.run(attempted.steps())
    assert caught.value.verb == "patch"
    assert attempted.unsettled, "its Lease is there, and nobody else knows it"


def test_a_late_grants_renewal_does_not_outlast_the_time_to_wait() -> None:
    world = World().expect(post(takes=4), patch(patched(my_lease(ttl=5), version="78"), takes=2))
    with pytest.raises(LockApiError):
        world.run(attempt(4.5, ttl=5).steps())
    assert world.clock <= START + 4.5


@pytest.mark.parametrize(("timeout", "kind"), [(4.5, LockTimeoutError), (0, TaskLockedException)])
def test_a_grant_that_came_too_late_to_be_confirmed_is_not_called_held_by_others(
    timeout: float, kind: type[TaskLockedException]
) -> None:
    """The process was paused before it could renew."""
    world = World().expect(post(takes=4))
    world.expect(patch(refused(503, "ServiceUnavailable"), takes=0))
    attempted = attempt(timeout, ttl=5)
    steps = attempted.steps()
    effect = steps.send(None)
    while not isinstance(effect, Send) or effect.method != "PATCH":
        effect = steps.send(world.perform(effect))
    world.clock += 60
    with pytest.raises(kind, match="too slow") as caught:
        world.run(_from(steps, world.perform(effect)), spare=True)
    assert type(caught.value) is kind


def test_a_late_grant_whose_deadline_comes_first_is_not_left_behind() -> None:
    attempted = attempt(4.05, ttl=5)
    world = World().expect(post(takes=4), patch(refused(500, "InternalError")))
    with pytest.raises(LockApiError):
        world.run(attempted.steps())
    assert attempted.unsettled


def test_a_refused_connection_on_try_once_raises_at_once() -> None:
    world = World().expect(post(no_connection()))
    with pytest.raises(LockApiError) as caught:
        world.run(attempt().steps())
    assert (caught.value.status, caught.value.reason) == (0, "Unreachable")
    assert world.clock < START + 0.1


def test_a_waiter_survives_a_refused_connection() -> None:
    world = World().expect(post(no_connection()), post(no_connection()), post())
    world.run(attempt(10).steps())
    assert len(world.rests) == 2


def test_a_refused_connection_until_the_deadline_is_the_apis_trouble_not_a_held_lock() -> None:
    world = World().expect(*[post(no_connection())] * 4)
    with pytest.raises(LockApiError) as caught:
        world.run(attempt(0.5).steps())
    assert not isinstance(caught.value, TaskLockedException)
    assert world.clock <= START + 0.5


def test_429_waits_as_long_as_retry_after_says() -> None:
    world = World().expect(post(refused(429, "TooManyRequests", retry_after=3.0)), post())
    world.run(attempt().steps())
    assert world.rests == [pytest.approx(3.0)]


def test_a_retry_after_beyond_the_deadline_gives_up_at_once() -> None:
    world = World().expect(post(refused(429, "TooManyRequests", retry_after=30.0)))
    with pytest.raises(LockApiError) as caught:
        world.run(attempt(5).steps())
    assert caught.value.status == 429
    assert world.clock < START + 1


def test_try_once_has_ten_seconds_of_patience_with_an_api_in_trouble() -> None:
    world = World().expect(post(refused(503, "ServiceUnavailable")))
    world.expect(*[listing_fails(refused(503, "ServiceUnavailable"))] * 7)
    attempted = attempt()
    with pytest.raises(LockApiError) as caught:
        world.run(attempted.steps())
    assert caught.value.status == 503
    assert START + 6 < world.clock <= START + 10
    assert attempted.unsettled, "the create may have been carried out"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (refused(403, "Forbidden", "no"), LockForbiddenError, "may not create leases"),
        (
            refused(403, "Forbidden", "ValidatingAdmissionPolicy 'p' denied request: no"),
            LockForbiddenError,
            "a policy of the cluster refuses to create its Lease",
        ),
        (refused(401, "Unauthorized"), LockApiError, "log in again"),
        (refused(404, "NotFound", 'namespaces "x" not found'), LockApiError, "create the namespace"),
        (refused(422, "Invalid", "too long"), LockApiError, "refused to create its Lease"),
        (Reply(status=200, body=None, error="<html>"), LockApiError, "no Kubernetes object"),
        (Reply(status=404, body=None, error="<html>"), LockApiError, "no Kubernetes object"),
        (Reply(status=409, body={}), LockApiError, "refused to create"),
    ],
)
def test_an_answer_that_will_not_change_raises_at_once(answer: Reply, kind: type[LockApiError], words: str) -> None:
    for timeout in (0, 10, None):
        world = World().expect(post(answer))
        with pytest.raises(kind) as caught:
            world.run(attempt(timeout).steps())
        assert words in str(caught.value)
        assert caught.value.status == answer.status
        assert type(caught.value) is kind


def test_forbidden_names_the_verb_that_is_missing() -> None:
    world = World().expect(post(exists()), listing_fails(refused(403, "Forbidden")))
    with pytest.raises(LockForbiddenError) as caught:
        world.run(attempt().steps())
    assert caught.value.verb == "list"


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (lease(app=None, name=None), "no lock of tasklock's"),
        (lease(name="another"), "the lock 'another'"),
        (lease(app="other-app"), "the lock 'report'"),
        (lease(name=None), "no lock of tasklock's"),
    ],
)
def test_a_foreign_lease_is_an_error_that_names_the_kubectl_command(there: dict[str, Any], words: str) -> None:
    for timeout in (0, 10, None):
        world = World().expect(post(exists()), listed(there))
        with pytest.raises(InvalidLockError) as caught:
            world.run(attempt(timeout).steps())
        assert words in str(caught.value)
        assert f"kubectl delete lease {LEASE}" in str(caught.value)


@pytest.mark.parametrize("body", [{}, {"kind": "Lease"}, {"metadata": {"uid": "u", "resourceVersion": "1"}}])
def test_a_201_that_shows_no_lease_of_ours_is_no_kubernetes(body: dict[str, Any]) -> None:
    attempted = attempt()
    with pytest.raises(LockApiError, match="Kubernetes API server"):
        World().expect(post(Reply(status=201, body=body))).run(attempted.steps())
    assert attempted.unsettled, "a create may have happened all the same"


@pytest.mark.parametrize("version", ["", "abc", "1.5", "-1", "9" * 5000])
def test_a_version_that_is_no_number_is_an_error_of_ours(version: str) -> None:
    attempted = attempt()
    with pytest.raises(LockApiError, match="Kubernetes API server"):
        World().expect(post(created(version=version))).run(attempted.steps())
    assert attempted.unsettled


def test_half_a_reply_to_the_create_leaves_nothing_behind() -> None:
    attempted = attempt()
    with pytest.raises(LockApiError):
        World().expect(post(Reply(status=201, body=None, error='{"kind": "Le'))).run(attempted.steps())
    assert attempted.unsettled


def test_no_request_may_take_longer_than_the_time_that_is_left() -> None:
    world = World().expect(post(refused(429, "TooManyRequests", retry_after=1.0)), post())
    world.run(attempt(2).steps())
    first, second = world.sent("POST", 0), world.sent("POST", 1)
    assert first.timeout == 2
    assert second.timeout == pytest.approx(2 - 1 - 0.01)


def test_a_request_may_take_five_seconds_at_most() -> None:
    world = World().expect(post())
    world.run(attempt(None).steps())
    assert world.sent("POST").timeout == 5
