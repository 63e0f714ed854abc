"""Taking a lock, being refused, giving it back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contract.place import APP, strictly_increase
from tasklock import InvalidLockError, TaskLock, TaskLockedException, TaskLockError
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from contract.place import Place
    from tasklock import LockClient

NAMES = {
    "a plain DNS name": "nightly-report",
    "underscores": "user_42_processing",
    "capitals and spaces": "Nightly Report",
    "unicode": "отчёт 🔒",
    "a path": "../../etc/passwd",
    "a query": "a?b=c&d#e%2f",
    "10 kB": "x" * 10_240,
    "looks like a ticket": "report.q.0badcafe",
    "looks hashed": "report-0123456789abcdef",
    "a newline and an escape": "a\n\x1b[31mb",
}


def test_a_free_lock_is_taken_and_given_back(place: Place, client: LockClient) -> None:
    with client.lock_task("report") as hold:
        assert place.lease("report")["metadata"]["uid"] == hold.uid
        assert hold.lost is None
        hold.ensure_held()
    assert place.lease("report") is None


def test_a_held_lock_refuses_at_once_and_tells_the_facts_of_its_holder(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    with client.lock_task("report", ttl=45):
        with pytest.raises(TaskLockedException) as refusal, other.lock_task("report"):
            pytest.fail("two holders")
        error = refusal.value
        assert not isinstance(error, TimeoutError)
        assert error.holder == place.lease("report")["spec"]["holderIdentity"]
        assert error.since is not None
        assert abs(datetime.now(UTC) - error.since) < timedelta(seconds=30)
        assert (error.name, error.ttl, error.pod, error.stale) == ("report", 45, None, False)
        assert error.holder in str(error)
        assert "'report' is held by" in str(error)


def test_a_lock_is_not_reentrant(client: LockClient) -> None:
    lock = client.lock_task("report")
    with lock:
        with pytest.raises(TaskLockedException), lock:
            pytest.fail("entered twice")
        with pytest.raises(TaskLockedException), client.lock_task("report"):
            pytest.fail("entered twice")
    with lock:
        pass


def test_an_exception_of_the_body_gives_the_lock_back_and_goes_on(place: Place, client: LockClient) -> None:
    with pytest.raises(ZeroDivisionError), client.lock_task("report"):
        1 / 0  # noqa: B018
    assert place.lease("report") is None


def test_acquire_and_release_do_what_the_context_manager_does(place: Place, client: LockClient) -> None:
    lock = TaskLock(client, "report")
    hold = lock.acquire()
    with pytest.raises(TaskLockedException):
        lock.acquire()
    lock.release()
    assert place.lease("report") is None
    with pytest.raises(TaskLockError, match="not held by this thread"):
        lock.release()
    with pytest.raises(TaskLockError, match="released already"):
        hold.ensure_held()
    assert hold.lost is None


def test_a_second_release_of_a_hold_takes_nothing_from_the_next_holder(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    hold = client.lock_task("report").acquire()
    hold.release()
    with other.lock_task("report") as next_hold:
        hold.release()
        assert place.lease("report")["metadata"]["uid"] == next_hold.uid


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_any_text_names_a_lock(place: Place, client: LockClient, other: LockClient, name: str) -> None:
    with client.lock_task(name):
        assert place.lease(name)["metadata"]["annotations"]["tasklock.dev/name"] == name
        assert other.is_locked(name)
        with pytest.raises(TaskLockedException) as refusal, other.lock_task(name):
            pytest.fail("two holders")
        assert refusal.value.name == name
        assert str(refusal.value).isprintable()
        assert [info.name for info in other.locks()] == [name]
    assert not other.is_locked(name)


@pytest.mark.parametrize("name", ["", None, 7, b"report", "\udcff"])
def test_what_is_no_name_is_refused_before_anything_is_sent(client: LockClient, name: str) -> None:
    for use in (client.lock_task, client.is_locked, client.flush_locks):
        with pytest.raises(InvalidLockError):
            use(name)


@pytest.mark.parametrize("ttl", [0, -1, 0.5, 2**31, True, "30", 86_401])
def test_what_is_no_ttl_is_refused_before_anything_is_sent(client: LockClient, ttl: int) -> None:
    with pytest.raises(InvalidLockError, match="whole seconds from 1 to 86400"):
        client.lock_task("report", ttl=ttl)


@pytest.mark.parametrize("timeout", [-1, -0.001, True, "1", float("nan")])
def test_what_is_no_timeout_is_refused_before_anything_is_sent(client: LockClient, timeout: float) -> None:
    with pytest.raises(InvalidLockError, match="timeout must be"):
        client.lock_task("report", timeout=timeout)
    with pytest.raises(InvalidLockError, match="timeout must be"):
        client.lock_task("report").acquire(timeout)


def test_locks_of_two_apps_never_meet(place: Place) -> None:
    with (
        place.client("billing").lock_task("report"),
        place.client("reports").lock_task("report"),
        place.client("a-b").lock_task("c"),
        place.client("a").lock_task("b-c"),
        place.client("a").lock_task("b.c"),
    ):
        assert len(place.leases.list()["items"]) == 5


@pytest.mark.parametrize(
    "labels",
    [{}, {"app.kubernetes.io/managed-by": "somebody-else", "tasklock.dev/app": APP}],
    ids=["without labels", "of somebody else"],
)
def test_a_lease_that_is_not_ours_is_an_error_that_says_how_to_remove_it_and_is_not_touched(
    place: Place,
    client: LockClient,
    labels: dict[str, str],
) -> None:
    lease = lease_name(APP, "report")
    metadata = {"labels": labels, "annotations": {"tasklock.dev/name": "report"}}
    foreign = place.leases.create(lease, metadata=metadata, leaseDurationSeconds=1)
    lock = client.lock_task("report")
    for use in (
        lock.acquire,
        lambda: lock.acquire(2),
        lock.is_locked,
        lock.clear,
        lambda: client.flush_locks("report"),
    ):
        with pytest.raises(InvalidLockError, match=f"kubectl delete lease {lease}"):
            use()
    assert client.flush_locks() == set()
    assert client.locks() == []
    assert place.leases.get(lease).body == foreign


def test_a_lease_of_ours_with_another_name_in_it_is_not_touched(place: Place, client: LockClient) -> None:
    metadata = {
        "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": APP},
        "annotations": {"tasklock.dev/name": "another"},
    }
    foreign = place.leases.create(lease_name(APP, "report"), metadata=metadata)
    with pytest.raises(InvalidLockError, match="'another'"):
        client.lock_task("report").acquire()
    assert client.flush_locks() == set()
    assert place.leases.get(foreign["metadata"]["name"]).body == foreign


def test_tokens_strictly_increase_from_grant_to_grant_whoever_gets_them(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    tokens = []
    for turn in range(6):
        with (client, other)[turn % 2].lock_task("report") as hold:
            tokens.append(hold.token)
            assert str(hold.token) == place.lease("report")["metadata"]["resourceVersion"]
        if turn == 2:
            place.plant("report", ttl=1)
            place.delete("report")
    assert strictly_increase(tokens)


def test_closing_a_client_loses_nothing_that_it_holds(place: Place, client: LockClient) -> None:
    with client.lock_task("report", ttl=3) as hold:
        for _ in range(4):
            client.close()
            time.sleep(0.55)  # 2.2 s in all: longer than it lasts without a renewal
        hold.ensure_held()
        assert client.is_locked("report")
    assert place.lease("report") is None


def test_a_lock_is_held_beyond_its_ttl_by_renewals(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    ttl = 3
    with client.lock_task("report", ttl=ttl) as hold:
        until = time.monotonic() + 1.3 * ttl
        while time.monotonic() < until:
            with pytest.raises(TaskLockedException):
                other.lock_task("report").acquire()
            assert hold.valid_for > 0
            time.sleep(0.1)
        lease = place.lease("report")
        assert lease["metadata"]["uid"] == hold.uid
        assert lease["spec"]["renewTime"] > lease["spec"]["acquireTime"]
        assert lease["spec"]["leaseDurationSeconds"] == ttl
    assert place.lease("report") is None
