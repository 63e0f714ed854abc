"""Two hundred real processes contend for a few locks on the real API server."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.place import Place
    from contract.programs import Programs

PROCESSES = 200
LOCKS = [f"lock-{number}" for number in range(8)]
TURNS = 2


@pytest.mark.slow
def test_two_hundred_processes_never_hold_a_lock_at_the_same_time(
    place: Place,
    programs: Programs,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    order = {
        "client": {"kubeconfig": place.kubeconfig, "namespace": place.namespace, "ttl": 120},
        "processes": PROCESSES,
        "locks": LOCKS,
        "turns": TURNS,
        "folder": str(tmp_path),
    }
    start = time.monotonic()
    done = programs.start(Path(__file__).with_name("crowd.py"), order).hear("done", within=200)
    record_property("seconds", round(time.monotonic() - start, 1))
    assert [path.read_text() for path in tmp_path.glob("*.error")] == []
    assert done["failed"] == 0

    grants = [json.loads(line) for path in tmp_path.glob("*.grants") for line in path.read_text().splitlines()]
    assert len(grants) == PROCESSES * TURNS
    assert len({grant["pid"] for grant in grants}) == PROCESSES
    gaps = []
    for name in LOCKS:
        in_order = sorted((grant for grant in grants if grant["lock"] == name), key=lambda grant: grant["came"])
        assert int((tmp_path / f"{name}.counter").read_text()) == len(in_order)
        assert not overlaps(in_order), "two held it at the same time"
        for before, after in pairwise(in_order):
            assert before["token"] < after["token"], "a later grant has a smaller token"
            gaps.append((after["came"] - before["left"]) / 1e6)
    gaps.sort()
    record_property("hand_over_ms_p50", round(gaps[len(gaps) // 2], 1))
    record_property("hand_over_ms_p99", round(gaps[len(gaps) * 99 // 100], 1))
    assert place.leases.list()["items"] == []


def overlaps(grants: list[dict[str, Any]]) -> bool:
    in_order = sorted(grants, key=lambda grant: grant["came"])
    return any(before["left"] > after["came"] for before, after in pairwise(in_order))


def test_the_check_for_overlaps_can_fail() -> None:
    assert overlaps([{"came": 1, "left": 5}, {"came": 4, "left": 6}])
    assert not overlaps([{"came": 1, "left": 4}, {"came": 4, "left": 6}])
