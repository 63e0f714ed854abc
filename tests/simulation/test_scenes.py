"""Races of which a drawn schedule meets few: each is played again and again, a little earlier or later every time."""

from __future__ import annotations

from simulation.fates import Fate
from simulation.scene import LEASE, Scene
from tasklock.errors import LockLostError
from tasklock.protocol.effects import Send


def test_a_write_between_the_last_look_and_the_takeover_saves_the_lock() -> None:
    """The takeover is of that very version, or it does not happen."""
    saved = 0
    for tick in range(60):
        scene = Scene(ttl=10)
        scene.take(holder := scene.client("holder"), timeout=0)
        scene.until(1.0)
        holder.kill()
        scene.take(scene.client("waiter"))
        note = Send(method="PATCH", lease=LEASE, body={"metadata": {"annotations": {"by": "x"}}}, timeout=1.0)
        scene.world.at(12.0 + tick * 0.0005, scene.server.perform, None, note)
        scene.until(12.5)
        assert scene.referee.violations == [], tick
        saved += scene.referee.counts["ended: expired"] == 0
    assert 0 < saved < 60  # it was tried before, between and after


def test_a_renewal_that_overlaps_the_release_makes_no_loss_of_it() -> None:
    """Its 404 is of our own doing, in whichever order the two arrive and are answered."""
    overlapped = 0
    for tick in range(40):
        scene = Scene(ttl=3)
        scene.take(client := scene.client("holder"), timeout=0)
        scene.script(client, "PATCH", 1, Fate(out=0.020, back=0.001))
        scene.script(client, "DELETE", 1, Fate(out=0.005, back=0.030))
        scene.until(0.9 + tick * 0.005)  # the renewal is due at about 1.0
        scene.release(client)
        scene.until(5.0)
        assert scene.referee.violations == [], tick
        assert not any(name.startswith("lost") for name in scene.referee.counts), tick
        overlapped += scene.told("PATCH: 404")
    assert overlapped


def test_a_lock_freed_between_the_list_and_the_watch_is_taken_at_once() -> None:
    """The watch begins where the list ended."""
    between = 0
    for tick in range(40):
        scene = Scene(ttl=30)
        scene.take(holder := scene.client("holder"), timeout=0)
        scene.until(1.0)
        waiter = scene.client("waiter")
        scene.script(waiter, "WATCH", 1, Fate(out=0.010, back=0.001))
        task = scene.take(waiter)
        scene.until(1.0 + tick * 0.0005)
        scene.release(holder)
        scene.until(60.0, grants=2)
        assert scene.referee.violations == [], tick
        assert [name for name, _ in scene.grants] == ["holder", "waiter"]
        assert scene.world.now < 1.5, tick
        assert task.over
        between += scene.told("WATCH from")
    assert 0 < between < 40


def test_a_first_create_that_arrives_before_the_second_counts_from_the_first() -> None:
    """It took the lock before the second one was sent: validity from the second would be too long."""
    adopted = 0
    for tick in range(60):
        scene = Scene(ttl=10)
        client = scene.client("client")
        scene.script(client, "POST", 1, Fate(out=5.0 + tick * 0.002, answered=False))
        scene.script(client, "GET", 1, Fate(out=0.001, back=0.020))
        scene.take(client)
        scene.until(30.0, grants=1)
        assert scene.referee.violations == [], tick
        adopted += scene.told("client POST: 409")
    assert adopted


def test_a_renewal_before_the_lock_is_handed_out_is_no_repetition_though_the_wall_clock_went_back() -> None:
    """One that repeats the renewTime of an unanswered one would change nothing, and count all the same."""
    scene = Scene(ttl=3)
    client = scene.client("client")
    scene.script(client, "POST", 1, Fate(back=4.0))
    scene.script(client, "PATCH", 1, Fate(answered=False))
    scene.take(client)
    scene.until(1.0)
    client.node.jump(-3600.0)
    scene.until(20.0, grants=1)
    assert scene.referee.violations == []
    assert scene.referee.counts["renewed"] == 2
    assert scene.grants


def test_a_lost_lock_is_told_as_lost() -> None:
    """The scenes above would see a loss, were there one."""
    scene = Scene(ttl=3)
    scene.take(client := scene.client("holder"), timeout=0)
    scene.until(0.5)
    scene.server.perform(None, Send(method="DELETE", lease=LEASE, timeout=1.0))
    scene.until(1.5)
    assert scene.referee.counts["lost: deleted"] == 1
    (_, grant), *_ = scene.grants
    assert grant.loss is not None
    error = LockLostError("lost", name="report", reason=grant.loss.reason)
    assert error.reason == "deleted"
    assert client.alive
