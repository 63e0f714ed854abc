"""The check of what the workers reported: no two grants of one lock overlapped, and its tokens only grew. Pure.

A grant counts from after ``acquire`` returned to before ``release`` was called, or to before its holder was killed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(kw_only=True)
class Grant:
    """One grant of one lock, as its holder reported it. Times are seconds of the machine's clock.

    Attributes:
        asked, granted: when the holder asked for it and got it.
        ended: when it began to release it, or None while it holds it.
        killed: its holder was killed, at ``ended``.

    """

    lock: str
    worker: str
    token: int
    asked: float
    granted: float
    ended: float | None = None
    killed: bool = False


def violations(grants: Iterable[Grant]) -> list[str]:
    """Return a sentence for each promise that was broken; none is the only good answer."""
    found = []
    for lock, these in by_lock(grants).items():
        for before, after in pairwise(sorted(these, key=lambda grant: grant.granted)):
            if before.ended is None or after.granted < before.ended:
                held = (
                    "still holds it"
                    if before.ended is None
                    else f"held it for {before.ended - after.granted:.6f} s more"
                )
                found.append(f"{lock}: {after.worker} was granted token {after.token} while {before.worker} {held}")
            if after.token <= before.token:
                found.append(f"{lock}: token {after.token} was granted after token {before.token}")
    return found


def hand_overs(grants: Iterable[Grant], *, after_kill: bool = False) -> list[float]:
    """Return the seconds from the end of each grant to the next one, where somebody was waiting already."""
    return [
        after.granted - before.ended
        for these in by_lock(grants).values()
        for before, after in pairwise(sorted(these, key=lambda grant: grant.token))
        if before.ended is not None and after.asked < before.ended and before.killed == after_kill
    ]


def by_lock(grants: Iterable[Grant]) -> dict[str, list[Grant]]:
    """Sort grants by lock."""
    found: defaultdict[str, list[Grant]] = defaultdict(list)
    for grant in grants:
        found[grant.lock].append(grant)
    return dict(sorted(found.items()))


def percentile(values: list[float], share: float) -> float | None:
    """Return the value that ``share`` of the values do not exceed; None of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None
