"""What users hold: TaskLock and Hold, on the embedded server. Design, sections 5 and 6."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

import tasklock
from tasklock import (
    Hold,
    InvalidLockError,
    LockApiError,
    LockClient,
    LockForbiddenError,
    LockLostError,
    LockTimeoutError,
    TaskLock,
    TaskLockedException,
    TaskLockError,
)
from tasklock.naming import lease_name
from tasklock.protocol.grant import Grant
from tasklock.testing import ApiServer, Fault
from tasklock.transport.driver import Driver, _Stream
from tasklock.transport.http import Api
from tasklock.transport.identity import process_mark
from unit.conftest import eventually, our_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

OUTAGE = '{"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable", "message": "no", "code": 503}'
FORBIDDEN = '{"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403}'
UNAUTHORIZED = '{"kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "no", "code": 401}'
JSON = {"Content-Type": "application/json"}


def failing(*methods: str, status: int = 503, body: str = OUTAGE) -> Callable[[str, str], Fault | None]:
    return lambda method, _path: Fault(status=status, body=body, headers=JSON) if method in methods else None


def test_acquire_and_release_are_two_requests(made: Callable[[], list[str]], client: LockClient, name: str) -> None:
    with client.lock_task(name):
        pass
    assert made() == ["POST", "DELETE"]


def test_a_hold_knows_its_name_lease_uid_and_token(client: LockClient, name: str) -> None:
    with client.lock_task(name) as first:
        assert (first.name, first.lease) == (name, lease_name("tasklock", name))
        assert 19 < first.valid_for <= 20
        assert first.lost is None
        first.ensure_held()
        assert f"held token={first.token}" in repr(first)
    with client.lock_task(name) as second:
        assert second.token > first.token
        assert second.uid != first.uid


def test_a_released_hold_is_neither_held_nor_lost(client: LockClient, name: str) -> None:
    with client.lock_task(name) as hold:
        pass
    assert hold.lost is None
    assert hold.valid_for == 0
    assert "released" in repr(hold)
    with pytest.raises(TaskLockError, match="was released already") as caught:
        hold.ensure_held()
    assert not isinstance(caught.value, LockLostError)


def test_releasing_twice_is_harmless(client: LockClient, name: str) -> None:
    lock = client.lock_task(name)
    hold = lock.acquire()
    hold.release()
    hold.release()
    with pytest.raises(TaskLockError, match="not held by this thread"):
        lock.release()


def test_it_is_not_re_entrant(client: LockClient, name: str) -> None:
    with client.lock_task(name), pytest.raises(TaskLockedException), client.lock_task(name):
        pass


def test_a_wait_ends_as_soon_as_the_lock_is_free(client: LockClient, other: LockClient, name: str) -> None:
    hold = other.lock_task(name).acquire()
    begun = time.monotonic()
    threading.Timer(0.2, hold.release).start()
    with client.lock_task(name, timeout=10):
        assert 0.15 < time.monotonic() - begun < 5


def test_a_wait_ends_at_its_deadline(client: LockClient, other: LockClient, name: str) -> None:
    with other.lock_task(name):
        begun = time.monotonic()
        with pytest.raises(LockTimeoutError):
            client.lock_task(name).acquire(timeout=0.3)
        assert 0.29 < time.monotonic() - begun < 5


def test_is_locked_clear_and_flush(client: LockClient, other: LockClient, name: str) -> None:
    lock = client.lock_task(name)
    assert lock.is_locked() is False
    assert lock.clear() is False
    hold = other.lock_task(name).acquire()
    assert lock.is_locked() is client.is_locked(name) is True
    assert lock.clear() is True
    with pytest.raises(LockLostError):
        hold.release()
    held = [other.lock_task(f"{name} {n}").acquire() for n in range(3)]
    assert client.flush_locks(f"{name} 0", "nobody's") == {f"{name} 0"}
    assert client.flush_locks() == {f"{name} 1", f"{name} 2"}
    for one in held:
        with pytest.raises(LockLostError):
            one.release()


def test_a_locks_own_takeover_decides_what_is_locked(client: LockClient, name: str) -> None:
    """``is_locked`` is true exactly when trying once would raise."""
    dead = f"{str(process_mark(os.getpid())).rpartition('/')[0]}/1"
    with client.lock_task(name) as hold:
        body = {"metadata": {"annotations": {"tasklock.dev/process": dead}}}
        _patch(client, hold.lease, body)
        careful, bold = client.lock_task(name, takeover=False), client.lock_task(name)
        assert careful.is_locked() is True
        assert bold.is_locked() is False
        with pytest.raises(TaskLockedException):
            careful.acquire()
        bold.acquire().release()
        with pytest.raises(LockLostError):
            hold.release()


def _patch(client: LockClient, lease: str, body: dict[str, object]) -> None:
    from tasklock.protocol.effects import Send  # noqa: PLC0415

    assert client.session.api.send(Send(method="PATCH", lease=lease, body=body, timeout=5)).status == 200


def test_locks_lists_what_is_held_longest_first(client: LockClient, other: LockClient, name: str) -> None:
    with client.lock_task(f"{name} a", note="first"), other.lock_task(f"{name} b"):
        infos = [info for info in client.locks() if info.name.startswith(name)]
        assert [info.name for info in infos] == [f"{name} a", f"{name} b"]
        assert infos[0].note == "first"
        assert infos[0].stale is False
        assert 28 < (infos[0].expires_in or 0) <= 31


# loss


def test_a_lost_lock_is_told_once_in_every_way(client: LockClient, other: LockClient, name: str) -> None:
    told: list[Hold] = []
    lock = client.lock_task(name, ttl=3, on_lost=told.append)
    with pytest.raises(LockLostError) as caught, lock as hold:  # noqa: PT012 - the block is what is tested
        other.clear(name)
        assert eventually(lambda: hold.lost)
        assert hold.lost
        assert hold.lost.reason == "deleted"
        assert hold.valid_for == 0
        with pytest.raises(LockLostError):
            hold.ensure_held()
        assert eventually(lambda: told)
    assert (caught.value.name, caught.value.reason) == (name, "deleted")
    time.sleep(1.5)
    assert told == [hold], "neither the expiry nor the release tells it again"


def test_with_watch_holds_a_deletion_is_told_long_before_the_next_renewal(
    api: ApiServer, other: LockClient, name: str
) -> None:
    told = threading.Event()
    with LockClient(kubeconfig=api.kubeconfig, watch_holds=True) as client:
        hold = client.lock_task(name, on_lost=lambda _: told.set()).acquire()
        assert eventually(lambda: any("watch=1" in request.path for request in api.requests))
        time.sleep(0.05)
        other.clear(name)
        assert told.wait(5), "the next renewal is due after ten seconds"
        with pytest.raises(LockLostError):
            hold.release()


def test_a_watched_hold_that_is_released_is_no_loss_and_leaves_no_thread(api: ApiServer, name: str) -> None:
    told: list[Hold] = []
    with LockClient(kubeconfig=api.kubeconfig, watch_holds=True) as client:
        for _ in range(10):
            with client.lock_task(name, on_lost=told.append) as hold:
                pass
            assert hold.lost is None
        assert eventually(lambda: not [one for one in our_threads() if "watch" in one.name])
    assert not told


def test_a_body_that_fails_is_never_masked_by_the_loss(
    client: LockClient, other: LockClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError, match="mine"), client.lock_task(name):  # noqa: PT012 - the block is what is tested
        other.clear(name)
        raise KeyError("mine")  # noqa: EM101
    assert "was lost" in caplog.text


@pytest.mark.parametrize("status", [403, 500])
def test_a_body_that_fails_is_never_masked_by_the_apis_trouble(
    api: ApiServer, client: LockClient, name: str, status: int
) -> None:
    with pytest.raises(KeyError), client.lock_task(name, ttl=1):  # noqa: PT012 - the block is what is tested
        api.fault = failing("DELETE", status=status, body=FORBIDDEN if status == 403 else OUTAGE)
        raise KeyError
    api.fault = None
    client.clear(name)


def test_no_answer_is_a_loss_at_two_thirds_of_the_ttl_with_its_cause(
    api: ApiServer, client: LockClient, name: str, stalled: Callable[[], float]
) -> None:
    begun = time.monotonic()
    hold = client.lock_task(name, ttl=3).acquire()
    api.fault = failing("PATCH")
    assert eventually(lambda: hold._grant.loss, within=20), "told without anybody asking"
    assert 1.9 < time.monotonic() - begun < 4 + stalled()
    api.fault = None
    with pytest.raises(LockLostError) as caught:
        hold.release()
    assert caught.value.reason == "expired"
    assert "503" in str(caught.value.__cause__)
    assert client.is_locked(name) is False, "deleted by uid once the body has ended"


@pytest.mark.parametrize(("status", "body"), [(401, UNAUTHORIZED), (403, FORBIDDEN)])
def test_that_it_was_lost_matters_more_than_that_it_cannot_be_deleted(
    api: ApiServer, client: LockClient, name: str, status: int, body: str
) -> None:
    """Expired credentials: neither renewed nor deleted; the body must be told that it ran unprotected."""
    hold = client.lock_task(name, ttl=1).acquire()
    api.fault = failing("PATCH", "DELETE", status=status, body=body)
    assert eventually(lambda: hold.lost, within=2)
    with pytest.raises(LockLostError):
        hold.release()
    api.fault = None
    client.clear(name)


def test_a_release_without_the_verb_says_so(api: ApiServer, client: LockClient, name: str) -> None:
    hold = client.lock_task(name).acquire()
    api.fault = failing("DELETE", status=403, body=FORBIDDEN)
    with pytest.raises(LockForbiddenError) as caught:
        hold.release()
    assert caught.value.verb == "delete"
    api.fault = None
    client.clear(name)


def test_a_release_that_is_not_answered_is_logged_and_left_to_expire(
    api: ApiServer, client: LockClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    hold = client.lock_task(name, ttl=1).acquire()
    api.fault = failing("DELETE")
    hold.release()
    assert "frees itself 1 s after its last renewal" in caplog.text
    api.fault = None
    client.clear(name)


def test_an_outage_shorter_than_the_validity_is_survived(api: ApiServer, client: LockClient, name: str) -> None:
    with client.lock_task(name, ttl=9) as hold:
        api.stop()
        time.sleep(3.5)
        api.start()
        assert eventually(lambda: hold.valid_for > 4)


def test_a_callback_that_fails_is_logged(
    client: LockClient, other: LockClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_hold: Hold) -> None:
        raise RuntimeError

    hold = client.lock_task(name, on_lost=fail).acquire()
    other.clear(name)
    with pytest.raises(LockLostError):
        hold.release()
    assert eventually(lambda: "its on_lost callback failed" in caplog.text)


def test_a_renewal_under_way_during_the_release_makes_no_false_loss(
    api: ApiServer, made: Callable[[], list[str]], client: LockClient, name: str
) -> None:
    """The deletion overtakes it, and it meets a 404 of our own doing."""
    hold = client.lock_task(name, ttl=3).acquire()
    api.fault = lambda method, _path: Fault(delay_before=0.2) if method == "PATCH" else None
    assert eventually(lambda: "PATCH" in made())
    hold.release()
    time.sleep(0.3)
    assert hold.lost is None


def test_a_client_goes_on_after_it_was_closed(client: LockClient, name: str) -> None:
    hold = client.lock_task(name, ttl=3).acquire()
    acquired = hold._grant.since
    client.close()
    assert eventually(lambda: hold._grant.since > acquired), "it is renewed"
    hold.release()


# who releases


def test_entered_in_one_thread_and_left_in_another(client: LockClient, name: str) -> None:
    lock = client.lock_task(name)
    hold = lock.__enter__()
    thread = threading.Thread(target=lock.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert "released" in repr(hold)
    assert client.is_locked(name) is False


def test_a_thread_that_does_not_hold_it_cannot_release_it(client: LockClient, name: str) -> None:
    lock, caught = client.lock_task(name), []

    def try_to() -> None:
        with pytest.raises(TaskLockError, match="not held by this thread or task") as error:
            lock.release()
        caught.append(error)

    with lock:
        thread = threading.Thread(target=try_to)
        thread.start()
        thread.join()
        assert caught
        assert client.is_locked(name)


def test_leaving_a_block_whose_lock_was_released_inside_never_releases_another_threads(
    client: LockClient, name: str
) -> None:
    lock, holds, leave = client.lock_task(name, timeout=5), [], threading.Event()

    def hold_it() -> None:
        with lock as hold:
            holds.append(hold)
            leave.wait(5)

    thread = threading.Thread(target=hold_it)
    with lock:
        lock.release()
        thread.start()
        assert eventually(lambda: holds)
    holds[0].ensure_held()
    assert client.is_locked(name)
    leave.set()
    thread.join()
    assert client.is_locked(name) is False


def test_nested_locks_are_released_inside_out(client: LockClient, name: str) -> None:
    with client.lock_task(f"{name} batch"):
        for item in range(3):
            with client.lock_task(f"{name} item {item}"):
                pass
        assert client.is_locked(f"{name} batch")
    assert not [info for info in client.locks() if info.name.startswith(name)]


def test_fifty_threads_share_one_task_lock(client: LockClient, name: str) -> None:
    lock, inside, most, done = client.lock_task(name, timeout=60), 0, 0, []

    def work() -> None:
        nonlocal inside, most
        with lock as hold:
            inside += 1
            most = max(most, inside)
            done.append(hold.token)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert done == sorted(done)
    assert len(set(done)) == 50
    assert not lock._holds
    assert not lock._entered


def test_fifty_threads_that_try_once_get_it_one_at_a_time(client: LockClient, name: str) -> None:
    lock, got, refused = client.lock_task(name), [], []
    start, done = threading.Barrier(50), threading.Event()

    def work() -> None:
        start.wait()
        try:
            hold = lock.acquire()
        except TaskLockedException as error:
            refused.append(error)
        else:
            got.append(hold)
            done.wait(10)
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(got) + len(refused) == 50, within=20)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 49)


# what is given up


def test_an_acquire_that_times_out_while_its_create_hangs_leaves_nothing(
    api: ApiServer, client: LockClient, name: str
) -> None:
    api.fault = lambda method, _path: Fault(delay_before=0.6) if method == "POST" else None
    with pytest.raises(LockApiError):
        client.lock_task(name).acquire(timeout=0.3)
    api.fault = None
    assert eventually(lambda: len(client.session.abandoned) == 1)
    time.sleep(0.5)
    assert eventually(lambda: not client.is_locked(name))
    assert eventually(lambda: lease_name("tasklock", name) not in [info.lease for info in client.locks()], within=5)


def test_a_409_that_shows_an_abandoned_attempt_of_mine_is_no_reason_to_be_refused(
    api: ApiServer, client: LockClient, name: str
) -> None:
    api.fault = lambda method, _path: Fault(delay_after=1.0) if method == "POST" else None
    with pytest.raises(LockApiError):
        client.lock_task(name).acquire(timeout=0.2)
    api.fault = None
    client.lock_task(name).acquire().release()


def test_an_acquire_that_is_called_off_ends_at_once(client: LockClient, other: LockClient, name: str) -> None:
    with other.lock_task(name):
        acquire, call_off = client.lock_task(name).attempt(None)
        ended: list[BaseException] = []

        def wait() -> None:
            try:
                acquire()
            except BaseException as error:  # noqa: BLE001 - that is what is looked at
                ended.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        call_off()
        thread.join(2)
        assert not thread.is_alive()
        assert len(ended) == 1
        assert isinstance(ended[0], BaseException)
    assert not client.session.abandoned


def test_ctrl_c_during_a_wait_leaves_nothing(
    client: LockClient, other: LockClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: Driver, _until: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Driver, "_next", interrupted)
    with other.lock_task(name), pytest.raises(KeyboardInterrupt):
        client.lock_task(name).acquire(timeout=None)
    monkeypatch.undo()
    assert eventually(lambda: not [one for one in our_threads() if one.name == "tasklock-watch"])
    assert client.is_locked(name) is False


def test_ctrl_c_right_after_the_create_leaves_nothing(
    client: LockClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasklock.hold.Hold, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.lock_task(name).acquire()
    monkeypatch.undo()
    assert eventually(lambda: not [info for info in client.locks() if info.name == name])


def test_a_watch_that_ended_by_itself_can_still_be_closed() -> None:
    """``shutdown`` of a connection that has just gone raises; that must not hide the lock that we got."""
    stream = object.__new__(_Stream)
    stream._lock = threading.Lock()
    stream._asked = SimpleQueue()

    class Gone:
        def shutdown(self) -> None:
            raise RuntimeError

    stream._response = Gone()  # type: ignore[assignment]
    stream.close()


def test_nothing_of_the_library_is_logged_above_debug_in_the_ordinary_case(
    client: LockClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tasklock")
    with client.lock_task(name):
        client.is_locked(name)
    assert not [line for line in caplog.messages if "was lost" not in line]  # a lock that an earlier test left behind


def test_the_default_client_is_made_at_first_use(api: ApiServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(tasklock, "_default", None)
    with tasklock.lock_task(name):
        assert tasklock.is_locked(name) is True
    hold = tasklock.lock_task(name).acquire()
    assert tasklock.flush_locks(name) == {name}
    with pytest.raises(LockLostError):
        hold.release()


def test_a_foreign_lease_of_that_name_is_never_touched(client: LockClient, name: str) -> None:
    from tasklock.protocol.effects import Send  # noqa: PLC0415

    lease = lease_name("tasklock", name)
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": lease}, "spec": {}}
    api = client.session.api
    assert api.send(Send(method="POST", body=body, timeout=5)).status == 201
    lock = client.lock_task(name)
    for use in (lock.acquire, lock.is_locked, lock.clear):
        with pytest.raises(InvalidLockError, match=f"kubectl delete lease {lease}"):
            use()
    assert client.flush_locks() == set()
    assert api.send(Send(method="GET", lease=lease, timeout=5)).status == 200
    assert isinstance(api, Api)


class AlarmError(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize(
    ("owner", "attribute"),
    [(TaskLock, "_entered_by"), (Hold, "__exit__"), (Hold, "release"), (Hold, "_end"), (Grant, "check")],
)
def test_what_a_signal_handler_raises_as_a_lock_is_left_keeps_nothing_held(
    client: LockClient, name: str, monkeypatch: pytest.MonkeyPatch, owner: type, attribute: str
) -> None:
    """At the first line of whatever runs then."""

    def alarm(*_: object) -> None:
        monkeypatch.undo()
        raise AlarmError

    with pytest.raises(AlarmError), client.lock_task(name):
        monkeypatch.setattr(owner, attribute, alarm)
    assert eventually(lambda: not client.is_locked(name))


def test_what_a_signal_handler_raises_as_a_lock_was_just_acquired_keeps_nothing_held(
    client: LockClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, acquire = client.lock_task(name), TaskLock.acquire

    def and_alarm(self: TaskLock, timeout: float | None = 0) -> Hold:
        acquire(self, timeout)
        raise AlarmError

    with monkeypatch.context() as patched:
        patched.setattr(TaskLock, "acquire", and_alarm)
        with pytest.raises(AlarmError):
            lock.__enter__()
    assert eventually(lambda: not client.is_locked(name))
    assert not lock.holds


def test_where_no_thread_can_be_started_the_lock_is_given_back_at_once(
    made: Callable[[], list[str]], client: LockClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_self: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    lock = client.lock_task(name)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(TaskLockError, match="no thread could be started to renew it"):
            lock.acquire()
    assert made() == ["POST", "DELETE"]
    assert not lock.holds


def test_a_refused_renewal_and_a_refused_watch_are_told_once_and_at_once(
    api: ApiServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    lease = lease_name("tasklock", name)

    def refuse(method: str, path: str) -> Fault | None:
        if method == "PATCH" or (method == "GET" and "fieldSelector" in path and lease in path):
            return Fault(status=403, body=FORBIDDEN, headers=JSON)
        return None

    with LockClient(kubeconfig=api.kubeconfig, watch_holds=True) as client:
        api.fault = refuse
        hold = client.lock_task(name, ttl=6).acquire()
        assert eventually(lambda: "cannot be renewed" in caplog.text)
        assert hold.lost is None
        time.sleep(1.2)
        hold.release()
    for told in ("cannot be renewed (tried until it is lost)", "cannot be watched (it is renewed all the same)"):
        assert caplog.text.count(told) == 1
    assert "may not patch leases here" in caplog.text
    assert "may not list leases here" in caplog.text


def test_a_lock_that_this_very_process_holds_is_said_to_be(client: LockClient, other: LockClient, name: str) -> None:
    with client.lock_task(name), pytest.raises(TaskLockedException, match="by this very process: a lock is not re-"):
        client.lock_task(name).acquire()
    with other.lock_task(name), pytest.raises(TaskLockedException) as caught:
        client.lock_task(name).acquire()
    assert "this very process" not in str(caught.value)


def elsewhere(work: Callable[[], object]) -> BaseException | None:
    """Run something in a thread of its own; return what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the caller looks at it
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors[0] if errors else None


@pytest.mark.parametrize("first", ["the one that lost it", "the one that holds it"])
def test_blocks_that_are_left_in_other_threads_leave_what_they_entered(
    client: LockClient, other: LockClient, name: str, first: str
) -> None:
    """As a web framework runs what gives its requests a lock, in whatever thread of its pool."""
    lock = client.lock_task(name, ttl=6)

    def request() -> Generator[None, None, None]:
        with lock:
            yield

    lost, holding = request(), request()
    assert elsewhere(lambda: next(lost)) is None
    other.clear(name)
    assert elsewhere(lambda: next(holding)) is None
    left = {"the one that lost it": lost, "the one that holds it": holding}
    error = elsewhere(left.pop(first).close)
    assert client.is_locked(name) is (first == "the one that lost it")
    errors = [error, elsewhere(left.popitem()[1].close)]
    assert [type(one) for one in errors if one is not None] == []  # a generator's close is no end of its body
    assert not client.is_locked(name)
    assert not lock._entered


def test_left_by_hand_in_another_thread_the_oldest_goes_first_and_none_stays(
    client: LockClient, other: LockClient, name: str
) -> None:
    lock = client.lock_task(name, ttl=6)
    elsewhere(lock.__enter__)
    other.clear(name)
    elsewhere(lock.__enter__)
    error = elsewhere(lambda: lock.__exit__(None, None, None))
    assert isinstance(error, LockLostError)
    assert client.is_locked(name)
    assert elsewhere(lambda: lock.__exit__(None, None, None)) is None
    assert not client.is_locked(name)


def test_what_interrupts_even_the_giving_up_leaves_it_to_expire(
    client: LockClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = client.lock_task(name, ttl=1).acquire()

    def alarm(*_: object, **__: object) -> None:
        raise AlarmError

    with monkeypatch.context() as patched:
        patched.setattr(type(client.session.keeper), "let_go", alarm)
        with pytest.raises(AlarmError):
            hold.give_up()
    hold.give_up()
    assert hold._grant.over, "it is renewed no more"


def test_a_block_in_an_abandoned_generator_is_left_when_that_is_collected(client: LockClient, name: str) -> None:
    lock = client.lock_task(name)

    def body() -> Generator[None, None, None]:
        with lock:
            yield

    steps = body()
    next(steps)
    assert client.is_locked(name)
    del steps
    gc.collect()
    assert not client.is_locked(name)
