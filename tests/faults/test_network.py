"""A bad network between clients and the real API server: a proxy that lames, cuts, resets and swallows."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from contract.place import kubeconfig_at, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.control_plane import ControlPlane
    from contract.place import Place
    from contract.programs import Programs
    from faults.toxics import Proxy, Toxiproxy
    from tasklock import LockClient

SLOW: dict[str, dict[str, int]] = {
    "latency": {"latency": 100, "jitter": 50},  # each way
    "bandwidth": {"rate": 8},
    "slicer": {"average_size": 20, "size_variation": 10, "delay": 3000},  # in microseconds
}
CUT: dict[str, dict[str, int]] = {
    "reset_peer": {"timeout": 0},
    "timeout": {"timeout": 0},
    "limit_data": {"bytes": 60},
}


@pytest.fixture
def way(
    toxics: Toxiproxy, control_plane: ControlPlane, place: Place, tmp_path: Path
) -> Callable[[], tuple[Proxy, str]]:
    """Give a function that makes a proxy, and a kubeconfig that goes through it."""
    numbers = count()

    def make() -> tuple[Proxy, str]:
        proxy = toxics.proxy(control_plane.url)
        return proxy, str(kubeconfig_at(place.kubeconfig, proxy.port, tmp_path / f"way-{next(numbers)}"))

    return make


def renewed_since(place: Place, name: str, then: str) -> bool:
    return bool(place.lease(name)["spec"]["renewTime"] > then)


def test_a_slow_network_loses_no_lock(
    place: Place,
    programs: Programs,
    client: LockClient,
    way: Callable[[], tuple[Proxy, str]],
) -> None:
    """Late, narrow, and in pieces: what is held stays renewed, and who waits goes on when it is released."""
    with ExitStack() as poured, ThreadPoolExecutor(3) as pool:
        holders = {}
        for kind, attributes in SLOW.items():
            proxy, kubeconfig = way()
            poured.enter_context(proxy.toxic(kind, "upstream", "downstream", **attributes))
            holders[kind] = programs.holder(kind, ttl=9, kubeconfig=kubeconfig)
        tokens = {}
        for kind, holder in holders.items():
            holder.hear("started")
            tokens[kind] = holder.hear("held")["token"]
        waiting = {kind: pool.submit(client.lock_task(kind).acquire, 60) for kind in holders}
        for kind in (*holders, *holders):  # each is renewed twice: nothing lives that long without
            then = place.lease(kind)["spec"]["renewTime"]
            wait_until(partial(renewed_since, place, kind, then))
        for kind, holder in holders.items():
            assert not waiting[kind].done()
            holder.tell("release")
            assert holder.hear("ended")["error"] is None
            with waiting[kind].result(60) as hold:
                assert hold.token > tokens[kind]


def test_a_holder_behind_a_half_open_connection_knows_of_its_loss_before_another_is_granted_its_lock(
    place: Place,
    programs: Programs,
    way: Callable[[], tuple[Proxy, str]],
    record_property: Callable[[str, object], None],
) -> None:
    proxy, kubeconfig = way()
    holder = programs.holder("report", ttl=9, kubeconfig=kubeconfig)
    holder.hear("started")
    held = holder.hear("held")
    other = place.client(announce_process=False)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: (other.lock_task("report", ttl=60).acquire(60), time.monotonic()))
        time.sleep(0.5)
        start = time.monotonic()
        with proxy.toxic("timeout", "upstream", "downstream", timeout=0):
            lost = holder.hear("lost")
            hold, granted = waiting.result(60)
        record_property("lost_after_s", round(lost["at"] - start, 2))
        record_property("granted_after_s", round(granted - start, 2))
    assert lost["reason"] == "expired"
    assert lost["at"] < granted
    assert hold.token > held["token"]
    taken = place.lease("report")
    holder.tell("release")
    assert holder.hear("ended")["reason"] == "expired"
    assert place.lease("report") == taken  # its late release touched nothing
    hold.release()


def test_a_waiter_behind_a_half_open_connection_goes_on_when_the_network_is_back(
    programs: Programs,
    client: LockClient,
    way: Callable[[], tuple[Proxy, str]],
    record_property: Callable[[str, object], None],
) -> None:
    proxy, kubeconfig = way()
    hold = client.lock_task("report", ttl=60).acquire()
    waiter = programs.holder("report", timeout=None, ttl=60, kubeconfig=kubeconfig)
    waiter.hear("started")
    time.sleep(0.7)  # its watch is open
    with proxy.toxic("timeout", "upstream", "downstream", timeout=0):
        hold.release()
        assert waiter.is_silent(seconds=0.5)
        start = time.monotonic()
    assert waiter.hear("held")["token"] > hold.token
    record_property("went_on_after_s", round(time.monotonic() - start, 2))


@pytest.mark.parametrize("kind", CUT)
def test_each_request_may_be_carried_out_and_its_reply_lost(
    place: Place,
    way: Callable[[], tuple[Proxy, str]],
    kind: str,
) -> None:
    """Reset, swallowed, or cut in the middle: the acquisition, a renewal and the release come to the right end."""
    proxy, kubeconfig = way()
    client = place.client(kubeconfig=kubeconfig)
    client.is_locked("a-lock-of-nobody")  # connected: a fault hits the reply, not the handshake
    losses: list[object] = []
    with ThreadPoolExecutor(1) as pool:
        with proxy.toxic(kind, **CUT[kind]):
            acquiring = pool.submit(client.lock_task("report", ttl=6, on_lost=losses.append).acquire, 30)
            wait_until(lambda: place.lease("report"))
            created: Any = place.lease("report")
            assert not acquiring.done()
        hold = acquiring.result(30)
        assert hold.uid == created["metadata"]["uid"]  # found to be its own; no second one was made
        with proxy.toxic(kind, **CUT[kind]):
            wait_until(lambda: place.lease("report")["spec"]["renewTime"] > created["spec"]["renewTime"])
            answered = hold.valid_for
            time.sleep(0.2)
            assert hold.valid_for < answered  # unanswered, it does not count
        wait_until(lambda: hold.valid_for > answered)
        hold.ensure_held()
        with proxy.toxic(kind, **CUT[kind]):
            releasing = pool.submit(hold.release)
            wait_until(lambda: place.lease("report") is None)
        releasing.result(30)  # and no LockLostError: it was its own doing
    assert losses == []
