"""Losing a lock that is held: each way of it, and how the holder is told."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from contract.place import APP, kubeconfig_at, wait_until
from tasklock import LockLostError
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from contract.place import Place
    from contract.proxy import Proxy
    from tasklock import Hold, LockClient


class Told:
    """Records what ``on_lost`` was called with."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []

    def __call__(self, hold: Hold) -> None:
        self.holds.append(hold)


@contextmanager
def expected(kind: type[Exception]) -> Iterator[list[Exception]]:
    """Expect a body, however long, to end with an error of that kind; it is in the list then."""
    errors: list[Exception] = []
    try:
        yield errors
    except kind as error:
        errors.append(error)
    assert [type(error) for error in errors] == [kind]


def replace(place: Place) -> None:
    place.delete("report")
    place.plant("report", ttl=600)


def overwrite(place: Place) -> None:
    reply = place.leases.patch(lease_name(APP, "report"), {"spec": {"holderIdentity": "somebody_0badcafe"}})
    assert reply.status == 200


WAYS = {"deleted": lambda place: place.delete("report"), "replaced": replace, "overwritten": overwrite}


@pytest.mark.parametrize("reason", WAYS)
def test_a_loss_is_noticed_by_the_next_renewal_and_told_once_everywhere(
    place: Place,
    client: LockClient,
    reason: str,
) -> None:
    told = Told()
    with expected(LockLostError) as errors, client.lock_task("report", ttl=3, on_lost=told) as hold:
        WAYS[reason](place)
        left = place.lease("report")
        wait_until(lambda: hold.lost)
        assert hold.lost is not None
        assert hold.lost.reason == reason
        assert hold.valid_for == 0
        with pytest.raises(LockLostError) as ensured:
            hold.ensure_held()
        assert ensured.value.reason == reason
        time.sleep(1.2)  # a renewal more would have come
    (error,) = errors
    assert isinstance(error, LockLostError)
    assert (error.reason, error.name) == (reason, "report")
    wait_until(lambda: told.holds)
    time.sleep(0.2)
    assert told.holds == [hold]
    now = place.lease("report")
    if reason == "overwritten":  # the renewal that found it out was written all the same, and was the last
        for lease in (left, now):
            del lease["spec"]["renewTime"], lease["metadata"]["annotations"]
            del lease["metadata"]["resourceVersion"], lease["metadata"]["managedFields"]
    assert now == left  # neither brought back nor touched


@pytest.mark.parametrize("reason", WAYS)
def test_a_holder_that_watches_is_told_long_before_its_next_renewal(place: Place, reason: str) -> None:
    told = Told()
    client = place.client(watch_holds=True)
    hold = client.lock_task("report", ttl=600, on_lost=told).acquire()
    if place.server is not None:
        wait_until(lambda: "WATCH" in place.requests())
    else:
        time.sleep(0.5)
    WAYS[reason](place)
    wait_until(lambda: told.holds)
    with pytest.raises(LockLostError):
        hold.release()
    assert hold.lost is not None
    assert hold.lost.reason in {reason, "deleted"}  # the end of the old one is seen before the new one
    assert told.holds == [hold]


@pytest.mark.parametrize("reason", ["deleted", "replaced"])
def test_a_loss_that_only_the_release_finds_is_raised_at_exit(place: Place, client: LockClient, reason: str) -> None:
    told = Told()
    with expected(LockLostError) as errors, client.lock_task("report", ttl=600, on_lost=told):
        WAYS[reason](place)
        left = place.lease("report")
    assert [getattr(error, "reason", None) for error in errors] == [reason]
    wait_until(lambda: told.holds)
    assert place.lease("report") == left


def test_an_exception_of_the_body_is_never_masked_by_the_loss(
    place: Place,
    client: LockClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with expected(ZeroDivisionError), client.lock_task("report", ttl=600):
        place.delete("report")
        1 / 0  # noqa: B018
    assert "its Lease was deleted" in caplog.text


@pytest.mark.parametrize("answers_again", [True, False], ids=["that ends", "that lasts"])
def test_without_an_answer_the_lock_is_lost_at_two_thirds_of_its_ttl(
    place: Place,
    proxy: Proxy,
    tmp_path: Path,
    stalled: Callable[[], float],
    *,
    answers_again: bool,
) -> None:
    told = Told()
    client = place.client(kubeconfig=kubeconfig_at(place.kubeconfig, proxy.port, tmp_path / "kubeconfig"))
    client.is_locked("report")  # connects
    before = time.monotonic()
    hold = client.lock_task("report", ttl=3, on_lost=told).acquire()
    after = time.monotonic()
    with proxy.frozen():
        wait_until(lambda: told.holds)
        lost_at = time.monotonic()
        assert hold.lost is not None
        assert hold.lost.reason == "expired"
        if not answers_again:
            with pytest.raises(LockLostError):
                hold.release()
    assert before + 2 <= lost_at < after + 2 + 2 + stalled()  # never too early; late only as a busy machine is
    if answers_again:
        assert place.lease("report")["metadata"]["uid"] == hold.uid  # stays while its body runs
        time.sleep(0.5)
        assert hold.lost.reason == "expired"  # what is answered too late revives nothing
        with pytest.raises(LockLostError) as error:
            hold.release()
        assert error.value.reason == "expired"
        assert place.lease("report") is None
    assert told.holds == [hold]


def test_answers_that_are_late_but_in_time_lose_nothing(place: Place, proxy: Proxy, tmp_path: Path) -> None:
    client = place.client(kubeconfig=kubeconfig_at(place.kubeconfig, proxy.port, tmp_path / "kubeconfig"))
    client.is_locked("report")  # connects
    with client.lock_task("report", ttl=5) as hold:
        time.sleep(1.3)
        with proxy.frozen():  # the first renewal, after 1.5 to 1.8 s, hangs; it has until 3.3 s
            time.sleep(0.8)
        wait_until(lambda: place.lease("report")["spec"]["renewTime"] > place.lease("report")["spec"]["acquireTime"])
        proxy.cut()
        time.sleep(2)
        hold.ensure_held()


def test_a_change_of_metadata_loses_nothing(place: Place, client: LockClient) -> None:
    with client.lock_task("report", ttl=3) as hold:
        for metadata in (
            {"annotations": {"team": "billing"}},
            {"labels": {"team": "billing"}},
            {"annotations": {"tasklock.dev/note": "somebody else's"}},
            {"annotations": {"team": None}, "labels": {"team": None}},
        ):
            assert place.leases.patch(hold.lease, {"metadata": metadata}).status == 200
            time.sleep(1.05)
            hold.ensure_held()
    assert place.lease("report") is None


def test_a_renew_time_that_somebody_else_wrote_is_overwritten_by_the_next_renewal(
    place: Place,
    client: LockClient,
) -> None:
    with client.lock_task("report", ttl=3) as hold:
        reply = place.leases.patch(hold.lease, {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}})
        assert reply.status == 200
        wait_until(lambda: place.lease("report")["spec"]["renewTime"] > "2021")
        hold.ensure_held()


def test_a_callback_that_fails_is_logged_and_harms_nothing(
    place: Place,
    client: LockClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with expected(LockLostError), client.lock_task("report", ttl=1, on_lost=lambda _: 1 / 0) as hold:
        place.delete("report")
        wait_until(lambda: hold.lost)
    wait_until(lambda: "its on_lost callback failed" in caplog.text)


def test_a_release_calls_nobody_back(client: LockClient, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with caplog.at_level(logging.WARNING, logger="tasklock"):
        for _ in range(10):
            with client.lock_task("report", ttl=1, on_lost=told):
                time.sleep(0.05)
        time.sleep(0.8)
    assert told.holds == []
    assert not [line for line in caplog.messages if "was lost" not in line]  # a lock that an earlier test left behind
