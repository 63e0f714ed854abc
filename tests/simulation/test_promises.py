"""The promises at their very edges, in scenes written by hand."""

from __future__ import annotations

import pytest

from simulation.judge import BOUND
from simulation.plan import draw
from simulation.register import Register
from simulation.scene import Scene


def _race(*, holder: float, contender: float, ttl: int, operator: bool) -> Scene:
    """Cut a holder off right after a renewal was carried out, while somebody else watches it go stale."""
    scene = Scene(ttl=ttl, operators=int(operator), operator_rate=contender)
    scene.take(slow := scene.client("holder", rate=holder))
    scene.until(1.0)
    scene.take(scene.client("waiter", rate=0.5 if operator else contender))
    scene.until(2.0)
    while scene.referee.counts["renewed"] < 2:
        assert scene.world.now < 100.0
        scene.until(scene.world.now + 0.0005)
    slow.cut_until = slow.trouble(1e9)
    scene.until(scene.world.now + 6 * ttl, grants=2)
    assert [name for name, _ in scene.grants] == ["holder", "waiter"]
    return scene


@pytest.mark.parametrize("operator", [False, True], ids=["a waiter", "the operator"])
@pytest.mark.parametrize(("holder", "contender"), [(1.0, 1.0), (1.0, 1.6), (0.625, 1.0), (1.25, 2.0), (2.0, 0.5)])
def test_the_holder_knows_first_while_clock_rates_are_within_the_bound(
    holder: float, contender: float, *, operator: bool
) -> None:
    scene = _race(holder=holder, contender=contender, ttl=10, operator=operator)
    assert scene.referee.violations == []
    assert scene.referee.beyond == []


@pytest.mark.parametrize("operator", [False, True], ids=["a waiter", "the operator"])
@pytest.mark.parametrize(("holder", "contender"), [(1.0, 1.75), (0.5, 1.0)])
def test_beyond_the_bound_the_simulator_sees_that_the_holder_does_not_know_first(
    holder: float, contender: float, *, operator: bool
) -> None:
    scene = _race(holder=holder, contender=contender, ttl=10, operator=operator)
    assert scene.referee.violations == []  # it is not promised
    assert scene.referee.beyond == [pytest.approx(contender / holder)]
    assert contender / holder > BOUND


def test_the_operators_extra_second_makes_short_locks_safer_still() -> None:
    """It waits for at least a second more than the ttl: with a ttl of 1 s, three times what the holder does."""
    assert _race(holder=1.0, contender=1.9, ttl=1, operator=True).referee.beyond == []


def test_a_paused_holder_writes_to_an_unfenced_store_and_not_to_a_fenced_one() -> None:
    for fenced in (False, True):
        register = Register(fenced=fenced)
        value = register.read(1)
        assert value == 0
        newer = register.read(2)  # while the first holder is paused
        assert newer == 0
        assert register.write(2, newer + 1)
        assert register.write(1, value + 1) is not fenced
        assert register.lost == (0 if fenced else 1)


def test_a_fenced_store_has_to_see_the_token_before_the_read() -> None:
    """Otherwise a paused holder's write can slip in between the read and the write of its successor."""
    register = Register(fenced=True)
    first, second = register.read(1), register.read(2)
    assert first is not None
    assert second is not None
    assert not register.write(1, first + 1)
    assert register.write(2, second + 1)
    assert register.lost == 0


def test_schedules_differ_in_all_that_matters() -> None:
    plans = [draw(seed) for seed in range(200)]
    for attribute in (
        "clients",
        "workers",
        "nodes",
        "rates",
        "ttls",
        "operators",
        "takeover",
        "watch_holds",
        "announce",
    ):
        assert len({getattr(plan, attribute) for plan in plans}) > 1, attribute
    assert max(max(plan.rates) for plan in plans) > 1.9
    assert min(min(plan.rates) for plan in plans) < 0.6
