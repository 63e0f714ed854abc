"""The published test of the field: processes increment a register under a lock, and are paused for longer than its ttl.

Each takes the lock, reads, works a little, makes sure that it still holds the lock, and writes. A pause in that last
gap is what no lock service can see. The same critical section increments a register that checks the token. What all of
them saw goes to the checker of histories, as it is and corrupted.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import pytest

from linearizability.histories import check, read
from linearizability.storm import Storm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract.place import Place

PROCESSES = 5
PAUSES = 2
WRITES = 5  # of the others, before the paused one goes on


@pytest.mark.slow
def test_paused_processes_lose_increments_of_a_register_without_a_fence_and_none_of_one_with(
    place: Place,
    porcupine: Path,
    tmp_path: Path,
    figure: Callable[[str], None],
) -> None:
    with Storm(place, tmp_path, workers=PROCESSES) as storm:
        for number in range(PAUSES):
            storm.progress(8)
            storm.pause(number, writes=WRITES)
        storm.progress(8)
        storm.end()
        count = storm.register.count()
    percent = 100 * count.plain_lost / count.plain
    figure(
        f"{PROCESSES} processes, {PAUSES} pauses: without a fence {count.plain_lost} of {count.plain} increments lost "
        f"({percent:.0f} %), with one {count.fenced_lost} of {count.fenced}"
    )
    assert count.plain_lost >= PAUSES, "the late write undoes those of others, or is undone by one who had read before"
    assert count.fenced_lost == 0
    assert count.fenced > 0
    history = read(tmp_path, storm.killed)
    answer = check(porcupine, history)
    assert answer["result"] == "Ok", answer
    assert sum(call["op"] == "end" for call in history) >= PAUSES
    for corrupt in (overlapping, older_token, late_write, forgotten_write):
        changed = corrupt(copy.deepcopy(history))
        assert check(porcupine, changed)["result"] == "Illegal", corrupt


def of(history: list[dict[str, Any]], op: str) -> list[dict[str, Any]]:
    """Return the calls that were answered well, in the order of the answers."""
    found = [call for call in history if (call["op"], call["result"]) == (op, "ok")]
    return sorted(found, key=lambda call: call["return"] or 0)


def overlapping(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have one be told that it holds the lock just after the next one was."""
    earlier, later = of(history, "held")[:2]
    earlier["call"], earlier["return"] = later["return"], later["return"] + 1
    return history


def older_token(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exchange the tokens of two grants, in all that was done under them."""
    first, second = (call["token"] for call in of(history, "acquire")[:2])
    for call in history:
        call["token"] = {first: second, second: first}.get(call["token"], call["token"])
    return history


def late_write(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have the register accept a first write a second time, when others have been there."""
    again = of(history, "write")[0] | {"client": os.getpid()}
    last = of(history, "write")[-1]["return"]
    return [*history, again | {"call": last + 1, "return": last + 2}]


def forgotten_write(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop a write from the history that somebody has read."""
    history.remove(of(history, "write")[0])
    return history
