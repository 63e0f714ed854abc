"""Below the API server: etcd killed, paused, without space; and a namespace that goes with all in it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import Place, real_place, wait_until
from contract.programs import Programs
from faults.fragile import FragilePlane
from tasklock import LockApiError, LockLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.build import Binaries

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plane(binaries: Binaries) -> Iterator[FragilePlane]:
    with FragilePlane(binaries) as running:
        yield running


@pytest.fixture
def programs(place: Place) -> Iterator[Programs]:
    with Programs(place) as programs:
        yield programs


@pytest.fixture
def place(plane: FragilePlane) -> Iterator[Place]:
    with real_place(plane, plane.create_namespace()) as place:
        yield place


def test_a_lock_survives_a_killed_etcd_that_comes_back_within_its_validity(
    plane: FragilePlane,
    place: Place,
    record_property: Callable[[str, object], None],
) -> None:
    client, other = place.client(), place.client()
    hold = client.lock_task("report", ttl=18).acquire()  # valid for 12 s
    acquired = place.lease("report")["spec"]["renewTime"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.lock_task("report").acquire, 60)
        start = time.monotonic()
        plane.kill_etcd()
        wait_until(lambda: hold._grant.trouble is not None or time.monotonic() > start + 1)
        plane.start_etcd()
        record_property("without_etcd_s", round(time.monotonic() - start, 1))
        wait_until(lambda: place.lease("report")["spec"]["renewTime"] > acquired)
        assert not waiting.done()
        hold.release()
        with waiting.result(60) as later:
            assert later.token > hold.token
    assert place.lease("report") is None


def test_a_lock_survives_an_etcd_that_is_paused_for_less_than_its_validity(plane: FragilePlane, place: Place) -> None:
    """Valid for 20 s, renewed when 10 s are left: that renewal waits until etcd goes on."""
    hold = place.client().lock_task("report", ttl=30).acquire()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place.client().lock_task("report").acquire, 60)
        with plane.etcd_paused():
            wait_until(lambda: hold.valid_for < 9.5)
        wait_until(lambda: hold.valid_for > 10)
        assert place.lease("report")["metadata"]["uid"] == hold.uid
        assert not waiting.done()
        hold.release()
        with waiting.result(60) as later:
            assert later.token > hold.token
    assert place.lease("report") is None


def test_a_lock_is_lost_on_time_while_etcd_is_paused_and_whoever_waits_goes_on_afterwards(
    plane: FragilePlane,
    place: Place,
    programs: Programs,
    record_property: Callable[[str, object], None],
) -> None:
    holder = programs.holder("report", ttl=18)
    holder.hear("started")
    held = holder.hear("held")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place.client(announce_process=False).lock_task("report").acquire, None)
        with plane.etcd_paused():
            start = time.monotonic()
            lost = holder.hear("lost")
            assert lost["reason"] == "expired"
            assert lost["at"] - start < 1.1 * 18  # nobody else could have been granted it
            assert not waiting.done()
        record_property("lost_after_s", round(lost["at"] - start, 2))
        holder.tell("release")  # of a lock that may still be its own
        assert holder.hear("ended")["reason"] == "expired"
        with waiting.result(60) as hold:
            assert hold.token > held["token"]
    assert place.lease("report") is None


def test_an_etcd_without_space_renews_nothing_lets_go_and_is_waited_for(
    plane: FragilePlane,
    place: Place,
    record_property: Callable[[str, object], None],
) -> None:
    """Reads and deletions still work: nobody is stuck behind a lock that cannot be released."""
    client = place.client()
    holds = {ttl: client.lock_task(f"ttl-{ttl}", ttl=ttl).acquire() for ttl in (9, 60)}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place.client().lock_task("ttl-60").acquire, None)
        plane.fill()
        with pytest.raises(LockApiError, match="database space exceeded") as refused:
            client.lock_task("another").acquire()
        assert refused.value.status == 500
        wait_until(lambda: holds[9].lost)
        assert client.is_locked("ttl-60")
        with pytest.raises(LockLostError) as lost:
            holds[9].release()
        assert lost.value.reason == "expired"
        assert "database space exceeded" in str(lost.value.__cause__)
        assert place.lease("ttl-9") is None
        holds[60].release()
        wait_until(lambda: place.lease("ttl-60") is None)
        time.sleep(0.5)
        assert not waiting.done()
        start = time.monotonic()
        plane.empty()
        with waiting.result(60) as hold:
            record_property("waiter_went_on_after_s", round(time.monotonic() - start, 1))
            assert hold.token > holds[60].token


def test_a_namespace_that_is_deleted_takes_the_lock_with_it_and_its_holder_is_told(
    plane: FragilePlane,
    place: Place,
    record_property: Callable[[str, object], None],
) -> None:
    plane.start_controller_manager()  # only now: after etcd's faults it may retry a minute later
    hold = place.client(watch_holds=True).lock_task("report", ttl=60).acquire()
    start = time.monotonic()
    assert plane.rest.request("DELETE", f"/api/v1/namespaces/{place.namespace}").status == 200
    wait_until(lambda: hold.lost, within=60)
    record_property("told_after_s", round(time.monotonic() - start, 1))
    assert hold.lost is not None
    assert hold.lost.reason == "deleted"
    with pytest.raises(LockLostError):
        hold.release()
    with pytest.raises(LockApiError):
        place.client().lock_task("report").acquire()
