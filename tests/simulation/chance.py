"""Chance, recorded: whatever goes wrong in a schedule is one decision, and any of them can be taken back.

A schedule is replayed by its seed. It is shrunk by replaying it with only some of its decisions: all that is not kept
does not happen. Each owner (a process, the server, ...) draws from a stream of its own, and every question costs one
number of it whatever the answer, so that taking one decision back disturbs the others as little as possible.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

Decision = tuple[str, int]  # whose, and the how-manieth question


class Chance:
    """All decisions of one schedule; ``made`` lists those that came out as "it happens", in the order of asking."""

    def __init__(self, seed: int, *, kept: Container[Decision] | None = None) -> None:
        """Decide by ``seed``; with ``kept``, only those decisions may come true."""
        self.seed = seed
        self.kept = kept
        self.made: list[Decision] = []

    def stream(self, owner: str) -> Stream:
        return Stream(self, owner)


class Stream:
    """What one owner asks of chance."""

    def __init__(self, chance: Chance, owner: str) -> None:
        self._chance = chance
        self._owner = owner
        self._random = Random(f"{chance.seed}/{owner}").random
        self._asked = 0
        self.jitter: Callable[[], float] = Random(f"{chance.seed}/{owner}/jitter").random  # of no consequence

    def happens(self, probability: float) -> Random | None:
        """Ask whether something happens; where it does, return the dice for its particulars."""
        if probability <= 0:
            return None
        drawn = self._random()
        self._asked += 1
        if drawn >= probability:
            return None
        decision = (self._owner, self._asked)
        if self._chance.kept is not None and decision not in self._chance.kept:
            return None
        self._chance.made.append(decision)
        return Random(drawn)
