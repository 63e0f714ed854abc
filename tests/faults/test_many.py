"""Many holds in one process, and a slow or hung API; on the embedded server, which can be made to be so."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contract.place import Place, wait_until
from contract.programs import Program
from tasklock import LockClient, LockLostError
from tasklock.testing import ApiServer, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasklock import Hold

HOLDS = 1000


@pytest.fixture
def slow_server() -> Iterator[str]:
    """Give the kubeconfig of a server in another process whose every answer takes 200 ms."""
    server = Program(Path(__file__).with_name("server.py"), {"latency": 0.2})
    try:
        yield server.hear("up")["kubeconfig"]
    finally:
        server.close()


@pytest.mark.slow
def test_a_thousand_holds_in_one_process_stay_renewed_with_200_ms_latency(
    slow_server: str,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    ttl = 18
    with LockClient("contract", kubeconfig=slow_server) as client, ThreadPoolExecutor(50) as pool:
        losses: list[Hold] = []
        start = time.monotonic()
        acquire = [
            client.lock_task(f"lock-{number}", ttl=ttl, on_lost=losses.append).acquire for number in range(HOLDS)
        ]
        holds = list(pool.map(lambda one: one(), acquire))
        record_property("acquired_in_s", round(time.monotonic() - start, 1))
        worst = min(hold.valid_for for hold in holds)
        until = time.monotonic() + 0.75 * ttl  # nothing lives that long without a renewal
        while time.monotonic() < until:
            time.sleep(0.25)
            worst = min(worst, *(hold.valid_for for hold in holds))
        record_property("least_validity_left_s", round(worst, 2))
        record_property("threads", threading.active_count())
        assert losses == []
        for hold in holds:
            hold.ensure_held()
        assert {info.token for info in client.locks()} == {hold.token for hold in holds}
        assert worst > 0
        start = time.monotonic()
        list(pool.map(lambda hold: hold.release(), holds))
        record_property("released_in_s", round(time.monotonic() - start, 1))
        assert client.locks() == []
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [line for line in told if "'lock-" in line]  # an earlier test's lock may be told lost meanwhile


def test_hung_renewals_of_some_holds_delay_no_other(
    record_property: Callable[[str, object], None], stalled: Callable[[], float]
) -> None:
    """Forty renewals hang for good; the other ten holds are renewed on time, and only the forty are lost, on time."""
    hung = {f"lock-{number}" for number in range(40)}
    renewed: dict[str, list[float]] = defaultdict(list)

    def hang(method: str, path: str) -> Fault | None:
        name = path.partition("?")[0].rpartition("/")[2].removeprefix("contract.")
        if method != "PATCH":
            return None
        if name in hung:
            return Fault(delay_before=3600)
        renewed[name].append(time.monotonic())
        return None

    lost: dict[str, float] = {}
    with (
        ApiServer(fault=hang) as server,
        Place(
            kubeconfig=server.kubeconfig, admin_kubeconfig=server.kubeconfig, namespace="default", server=server
        ) as place,
    ):
        client = place.client()
        since: dict[str, float] = {}
        holds: list[Hold] = []
        for number in range(50):
            name = f"lock-{number}"
            since[name] = time.monotonic()
            lock = client.lock_task(name, ttl=3, on_lost=lambda hold: lost.setdefault(hold.name, time.monotonic()))
            holds.append(lock.acquire())
        wait_until(lambda: len(lost) >= len(hung))
        time.sleep(3)
        assert set(lost) == hung
        late = max(lost[name] - since[name] - 2 for name in hung)
        record_property("latest_told_after_due_ms", round(1e3 * late, 1))
        assert min(lost[name] - since[name] for name in hung) >= 2 - 0.05
        assert late < 2 + stalled()
        for hold in holds:
            if hold.name in hung:
                with pytest.raises(LockLostError):
                    hold.release()
            else:
                assert len(renewed[hold.name]) >= 3
                hold.release()
    gaps = [after - before for times in renewed.values() for before, after in pairwise(times)]
    record_property("longest_pause_between_renewals_s", round(max(gaps), 2))


def test_a_hung_renewal_does_not_delay_the_release_of_its_own_hold(stalled: Callable[[], float]) -> None:
    with (
        ApiServer(fault=lambda method, _: Fault(delay_before=3600) if method == "PATCH" else None) as server,
        LockClient("contract", kubeconfig=server.kubeconfig) as client,
    ):
        hold = client.lock_task("report", ttl=30).acquire()
        hold.release()
        hold = client.lock_task("report", ttl=12).acquire()  # the renewal after 4 s hangs for 2 s
        wait_until(lambda: any(request.method == "PATCH" for request in server.requests))
        start = time.monotonic()
        hold.release()
        assert time.monotonic() - start < 1.5 + stalled()
        assert not client.is_locked("report")
