"""From a schedule that breaks a rule to the few decisions that it takes, and to a timeline that people can read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation.schedule import Outcome, run

if TYPE_CHECKING:
    from simulation.chance import Decision
    from simulation.plan import Plan

TRIES = 1_500  # schedules that a shrinking may cost
SMALLER: tuple[dict[str, Any], ...] = (  # what is tried first: a plan with less in it
    {"operators": 0},
    {"clients": 2},
    {"clients": 1},
    {"workers": 1},
    {"watch_holds": False},
    {"announce": False},
    {"names": ("report",)},
    {"nodes": 1, "rates": (1.0,)},
)


def rule(outcome: Outcome) -> str:
    """Return the name of the rule that was broken first."""
    return outcome.violations[0].partition(":")[0] if outcome.violations else ""


def shrink(plan: Plan, *, tries: int = TRIES) -> tuple[Plan, list[Decision], Outcome]:
    """Find a small plan and few decisions that still break the same rule (delta debugging); return them, traced."""
    found = run(plan)
    broken, kept, left = rule(found), found.made, tries

    def still(plan: Plan, kept: list[Decision]) -> list[Decision] | None:
        nonlocal left
        left -= 1
        outcome = run(plan, kept=set(kept))
        return outcome.made if rule(outcome) == broken else None

    for less in SMALLER:
        smaller = replace(plan, **less)
        if smaller != plan and left > 0 and (made := still(smaller, kept)) is not None:
            plan, kept = smaller, made
    size = max(1, len(kept) // 2)
    while left > 0:
        start, shrunk = 0, False
        while start < len(kept) and left > 0:
            made = still(plan, kept[:start] + kept[start + size :])
            if made is None:
                start += size
            else:
                kept, shrunk = made, True
        if size == 1 and not shrunk:
            break
        size = max(1, size // 2)
    return plan, kept, run(plan, kept=set(kept), traced=True)


def timeline(outcome: Outcome, *, last: int = 80) -> str:
    """Show what happened, one line an event, the last ones only."""
    lines = [f"{when:10.3f}  {who:<10} {what}" for when, who, what in outcome.trace]
    cut = [f"... {len(lines) - last} lines before"] if len(lines) > last else []
    return "\n".join([*cut, *lines[-last:]])


def report(plan: Plan) -> str:
    """Shrink a failing schedule and describe it, with the way to replay it."""
    small, kept, outcome = shrink(plan)
    return "\n".join(
        [
            f"seed {plan.seed} broke: {outcome.violations[:1]}",
            f"replay: uv run python tests/simulation --seed {plan.seed} --rounds {plan.rounds}",
            f"{len(kept)} decisions left: {kept}",
            f"plan: {small}",
            timeline(outcome),
        ]
    )
