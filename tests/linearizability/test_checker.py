"""The checker's model, told by short histories; each that it refuses differs from one that it accepts in one thing."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from linearizability.histories import check

if TYPE_CHECKING:
    from pathlib import Path

Step = tuple[Any, ...]  # op, token, value (0), result (ok)


def one_after_the_other(*steps: Step) -> list[dict[str, Any]]:
    """Return a history of calls of which each returned before the next was made."""
    time = count()
    told = []
    for step in steps:
        op, token = step[:2]
        value = step[2] if len(step) > 2 else 0
        result = step[3] if len(step) > 3 else "ok"
        told.append({"lock": "report", "op": op, "token": token, "value": value, "result": result, "client": token})
        told[-1] |= {"call": next(time), "return": next(time)}
    return told


FINE = {
    "a lock goes from hand to hand": [("acquire", 5), ("held", 5), ("release", 5), ("acquire", 7), ("release", 7)],
    "a lock that ran out is granted again": [("acquire", 5), ("held", 5), ("end", 5), ("acquire", 7), ("held", 7)],
    "a paused holder is refused by the register": [
        ("acquire", 5),
        ("begin", 5, 0),
        ("end", 5),
        ("acquire", 7),
        ("begin", 7, 0),
        ("write", 5, 1, "refused"),
        ("write", 7, 1),
        ("release", 7),
    ],
    "a paused holder writes where nobody has begun yet": [
        ("acquire", 5),
        ("begin", 5, 0),
        ("end", 5),
        ("acquire", 7),
        ("write", 5, 1),
        ("begin", 7, 1),
        ("write", 7, 2),
    ],
}
WRONG = {
    "two hold it at once": [("acquire", 5), ("acquire", 7), ("release", 7), ("release", 5)],
    "one is told that it holds what another was granted": [("acquire", 5), ("end", 5), ("acquire", 7), ("held", 5)],
    "one releases what it had lost": [("acquire", 5), ("end", 5), ("acquire", 7), ("release", 5)],
    "a token is smaller than the one before": [("acquire", 7), ("release", 7), ("acquire", 5)],
    "a token is granted twice": [("acquire", 7), ("release", 7), ("acquire", 7)],
    "the register takes a write with an old token": [("begin", 5, 0), ("begin", 7, 0), ("write", 5, 1)],
    "the register refuses its newest token": [("begin", 5, 0), ("write", 5, 1, "refused")],
    "the register forgets a write": [("begin", 5, 0), ("write", 5, 1), ("begin", 7, 0)],
}


@pytest.mark.parametrize("steps", FINE.values(), ids=FINE.keys())
def test_the_checker_accepts_that(porcupine: Path, steps: list[Step]) -> None:
    assert check(porcupine, one_after_the_other(*steps))["result"] == "Ok"


@pytest.mark.parametrize("steps", WRONG.values(), ids=WRONG.keys())
def test_the_checker_refuses_that(porcupine: Path, steps: list[Step]) -> None:
    assert check(porcupine, one_after_the_other(*steps))["result"] == "Illegal"


def test_calls_at_the_same_time_may_have_been_done_in_any_order(porcupine: Path) -> None:
    history = one_after_the_other(("acquire", 7), ("acquire", 5), ("release", 5), ("release", 7))
    assert check(porcupine, history)["result"] == "Illegal"
    history[0]["return"] = history[2]["return"]  # the larger token's answer came late
    assert check(porcupine, history)["result"] == "Ok"


def test_what_was_never_answered_may_have_happened_or_not(porcupine: Path) -> None:
    pending = {"return": None, "result": "unknown"}
    for seen in (0, 1):
        history = one_after_the_other(("begin", 5, 0), ("write", 5, 1), ("begin", 7, seen))
        history[1] |= pending
        assert check(porcupine, history)["result"] == "Ok"
    history = one_after_the_other(("begin", 5, 0), ("write", 5, 1), ("begin", 7, 2))
    history[1] |= pending
    assert check(porcupine, history)["result"] == "Illegal"


def test_locks_are_looked_at_one_by_one(porcupine: Path) -> None:
    history = one_after_the_other(("acquire", 5), ("acquire", 7))
    history[1]["lock"] = "another"
    assert check(porcupine, history)["result"] == "Ok"
