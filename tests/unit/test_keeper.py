"""The keeper: one thread keeps time for all holds, and no hold's trouble is another's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tasklock import LockClient, LockLostError
from tasklock.keeper import Keeper
from tasklock.naming import lease_name
from tasklock.protocol.effects import Effect, IsDead, Now, Reply, Send, Sleep
from tasklock.testing import ApiServer, Fault
from tasklock.transport.clock import clock
from unit.conftest import eventually, threads_of

Steps = Generator[Effect, Any, Any]


class FakeApi:
    """An API that answers everything with 200 after ``delay`` seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.sent = 0

    def send(self, request: Send) -> Reply:
        self.sent += 1
        time.sleep(self.delay)
        return Reply(status=200, body={}, sent=request.timeout)


def keeper(delay: float = 0.0) -> Keeper:
    return Keeper(FakeApi(delay))  # type: ignore[arg-type]


def test_it_runs_clocks_sleeps_and_requests_and_gives_the_result() -> None:
    def steps() -> Steps:
        now = yield Now()
        later = yield Sleep(now.clock + 0.05)
        reply = yield Send(method="GET", timeout=1)
        return later.clock - now.clock, reply.status

    results: list[Any] = []
    keeper().keep(steps(), then=results.append)
    assert eventually(lambda: results)
    slept, status = results[0]
    assert 0.05 <= slept < 0.5
    assert status == 200


def test_there_is_no_thread_while_there_is_nothing_to_keep() -> None:
    def steps() -> Steps:
        now = yield Now()
        yield Sleep(now.clock + 0.05)
        yield Send(method="GET", timeout=1)

    kept, done = keeper(), threading.Event()
    kept.keep(steps(), then=lambda _: done.set())
    assert done.wait(5)
    assert eventually(lambda: not threads_of(kept))


def test_an_earlier_sleep_wakes_the_one_who_keeps_time() -> None:
    woken: list[str] = []

    def sleeping(name: str, seconds: float) -> Steps:
        yield Sleep(clock() + seconds)
        woken.append(name)

    kept = keeper()
    kept.keep(sleeping("late", 1.0))
    time.sleep(0.05)
    kept.keep(sleeping("early", 0.1))
    assert eventually(lambda: woken, within=0.9)
    assert woken == ["early"]


def test_a_thousand_sleepers_need_one_thread() -> None:
    woken: list[int] = []
    kept, until = keeper(), clock() + 0.5

    def sleeping() -> Steps:
        yield Sleep(until)
        woken.append(1)

    for _ in range(1000):
        kept.keep(sleeping())
    assert len(threads_of(kept)) <= 1
    assert eventually(lambda: len(woken) == 1000)


def test_requests_are_made_at_the_same_time_by_a_bounded_number_of_threads() -> None:
    kept, done = keeper(0.2), []

    def sending() -> Steps:
        yield Send(method="PATCH", lease="x", timeout=1)
        done.append(1)

    begun = time.monotonic()
    for _ in range(100):
        kept.keep(sending())
    assert len(threads_of(kept)) <= 64
    assert eventually(lambda: len(done) == 100)
    assert time.monotonic() - begun < 2


def broken(kind: str) -> Steps:
    now = yield Now()
    yield Sleep(now.clock + 0.01)
    if kind == "raises":
        raise ZeroDivisionError
    if kind == "sends":
        yield Send(method="GET", timeout=1)
        raise ZeroDivisionError
    if kind == "asks":
        yield IsDead("x")


@pytest.mark.parametrize("kind", ["raises", "sends", "asks", "then"])
def test_one_holds_trouble_ends_nobody_elses_keeping(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_result: object) -> None:
        raise ZeroDivisionError

    kept, beats = keeper(), []

    def living() -> Steps:
        while True:
            beats.append(1)
            yield Send(method="GET", timeout=1)
            yield Sleep(clock() + 0.02)

    over = threading.Event()
    kept.keep(living(), over=over.is_set)
    for _ in range(70):  # more than there are workers
        kept.keep(broken(kind), then=fails if kind == "then" else lambda _: None)
    assert eventually(lambda: "in the background" in caplog.text)
    so_far = len(beats)
    assert eventually(lambda: len(beats) > so_far + 5)
    assert kept._renewals.workers + kept._others.workers <= 1


def test_a_request_that_fails_in_an_unforeseen_way_is_a_reply_without_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(FakeApi):
        def send(self, request: Send) -> Reply:
            super().send(request)
            raise ZeroDivisionError

    def sending() -> Steps:
        return (yield Send(method="PATCH", lease="x", timeout=1))

    kept, replies = Keeper(Failing()), []  # type: ignore[arg-type]
    for _ in range(70):  # more than there are workers
        kept.keep(sending(), then=replies.append)
    assert eventually(lambda: len(replies) == 70)
    assert all(reply.ambiguous and reply.transient for reply in replies)
    assert "ZeroDivisionError" in caplog.text


def test_where_no_thread_can_be_started_the_next_one_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_self: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    kept, woken = keeper(), []

    def sleeping() -> Steps:
        yield Sleep(clock() + 0.01)
        woken.append(1)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            kept.keep(sleeping())
    kept.keep(sleeping())
    assert eventually(lambda: len(woken) == 2)


# with real holds


def test_a_hung_renewal_of_one_hold_delays_no_others_and_is_told_on_time(
    api: ApiServer, client: LockClient, name: str, stalled: Callable[[], float]
) -> None:
    hung, lost = lease_name("tasklock", f"{name} hung"), []
    holds = [client.lock_task(f"{name} {n}", ttl=3).acquire() for n in range(5)]
    begun = time.monotonic()
    victim = client.lock_task(f"{name} hung", ttl=3, on_lost=lambda _: lost.append(time.monotonic())).acquire()
    api.fault = lambda method, path: Fault(delay_before=3600) if method == "PATCH" and hung in path else None
    assert eventually(lambda: lost, within=20)
    assert 1.9 < lost[0] - begun < 3.3 + stalled()
    time.sleep(0.5)
    for hold in holds:
        hold.ensure_held()
        hold.release()
    api.fault = None
    with pytest.raises(LockLostError):
        victim.release()


def test_many_holds_stay_renewed_though_every_answer_is_late(api: ApiServer, name: str) -> None:
    """A small sister of the thousand holds with 200 ms in the benchmarks."""
    with LockClient(kubeconfig=api.kubeconfig, ttl=6) as client:
        holds = [client.lock_task(f"{name} {n}").acquire() for n in range(40)]
        api.latency = 0.2
        time.sleep(4.5)  # without a renewal they would be lost after 4 s
        assert all(hold.lost is None for hold in holds)
        api.latency = 0.0
        for hold in holds:
            hold.release()


def test_a_held_lock_costs_one_patch_per_third_of_its_ttl(
    made: Callable[[], list[str]], client: LockClient, name: str
) -> None:
    client.is_locked("another")  # connects
    begun = time.monotonic()
    with client.lock_task(name, ttl=6):
        assert eventually(lambda: len(made()) >= 3, within=5.8), "due after 3.6 to 4.4 s"
        assert made()[:3] == ["POST", "PATCH", "PATCH"]
        assert time.monotonic() - begun > 3.5


def test_many_short_holds_leak_no_thread_and_are_not_remembered(client: LockClient, name: str) -> None:
    lock = client.lock_task(name, ttl=86_400)
    for _ in range(1000):
        with lock:
            pass
    assert len(threads_of(client.session.keeper)) <= 1
    assert len(client.session.keeper._sleeping) < 200
    assert not client.session.abandoned


def test_the_last_thread_ends_soon_after_the_last_release(client: LockClient, name: str) -> None:
    kept = client.session.keeper
    with client.lock_task(name, ttl=86_400):
        assert threads_of(kept) == [kept._timer]
    assert eventually(lambda: kept._timer is None, within=2.5), "it does not wait until the renewal would be due"
    assert not kept._sleeping
    with client.lock_task(name, ttl=3) as hold:
        acquired = hold._grant.since
        assert eventually(lambda: hold._grant.since > acquired), "it is renewed by another thread"


def test_what_is_over_is_dropped_and_what_is_held_is_kept(client: LockClient, name: str) -> None:
    with client.lock_task(name, ttl=3) as held:
        for number in range(20):
            client.lock_task(f"{name} {number}", ttl=86_400).acquire().release()
        assert eventually(lambda: len(client.session.keeper._sleeping) == 2, within=2.5)
        time.sleep(1)
        assert held.valid_for > 0.5
