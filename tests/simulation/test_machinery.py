"""The simulator itself: a seed is a schedule, decisions can be taken back, and a bug is found and shrunk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulation.chance import Chance
from simulation.plan import Faults, Plan, draw
from simulation.schedule import run
from simulation.shrink import report, rule, shrink
from tasklock.protocol.grant import Grant

if TYPE_CHECKING:
    import pytest

    from tasklock.protocol.effects import Reply

BUSY = next(seed for seed in range(100) if draw(seed).faults.request and draw(seed).faults.pause)


def test_a_seed_replays_exactly() -> None:
    one, other = (run(draw(BUSY), traced=True) for _ in range(2))
    assert one.trace == other.trace
    assert one.made == other.made


def test_the_decisions_that_were_made_are_the_schedule() -> None:
    one = run(draw(BUSY), traced=True)
    assert run(draw(BUSY), kept=set(one.made), traced=True).trace == one.trace


def test_with_every_decision_taken_back_nothing_happens() -> None:
    nothing = run(draw(BUSY), kept=set())
    assert nothing.made == []
    assert nothing.counts["attempts"] == len(draw(BUSY).names)  # the newcomer's, at the end


def test_a_question_costs_one_number_whatever_the_answer() -> None:
    stream, other = Chance(1).stream("a"), Chance(1, kept=set()).stream("a")
    assert [stream.happens(0.5) is not None for _ in range(20)].count(True) in range(3, 18)
    assert all(other.happens(0.5) is None for _ in range(20))
    assert stream.jitter() == other.jitter()


def test_the_quick_store_answers_as_the_exact_one() -> None:
    """The short cut through the store changes nothing but the time it takes."""
    for seed in range(8):
        assert run(draw(seed), traced=True).trace == run(draw(seed), traced=True, exact=True).trace


def test_where_nothing_goes_wrong_nobody_loses_a_lock() -> None:
    for seed in range(5):
        plan = replace(draw(seed), faults=Faults(), takeover=True, cancels=0.0, habits=(1, 0, 0, 0, 0))
        outcome = run(plan)
        assert outcome.violations == []
        assert not [name for name in outcome.counts if name.startswith("lost") or name == "ended: expired"]


def test_a_bug_is_found_and_shrunk_to_a_timeline_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: validity counted from after the reply."""
    renewed = Grant.renewed

    def late(self: Grant, reply: Reply) -> bool:
        answered = renewed(self, reply)
        self.since = reply.received if answered else self.since
        return answered

    monkeypatch.setattr(Grant, "renewed", late)
    plan = next(plan for plan in map(draw, range(50)) if rule(run(plan)) == "counted from before")
    before = run(plan)
    small, kept, after = shrink(plan, tries=150)
    assert rule(after) == "counted from before"
    assert len(kept) <= min(12, len(before.made))
    assert small.clients <= plan.clients
    told = report(plan)
    assert f"--seed {plan.seed}" in told
    assert "REFEREE" in told.splitlines()[-2] or "REFEREE" in told


def test_a_plan_can_be_written_by_hand() -> None:
    outcome = run(Plan(clients=1, rounds=3, operators=0))
    assert outcome.violations == []
    assert outcome.counts["grants"] >= 1
