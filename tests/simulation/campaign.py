"""Schedules by their thousands, in several processes."""

from __future__ import annotations

import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from simulation.plan import SHORT, draw
from simulation.schedule import run

LONG = 40  # rounds of each worker in a long schedule
SOME = 150  # rounds of a worker in all the schedules that one call of ``some`` runs
ENOUGH = 5  # failures after which nobody needs more


def some(seeds: list[int], rounds: int) -> dict[str, Any]:
    """Run some schedules; return what came of them, in sum."""
    counts: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    beyond: list[float] = []
    lost_writes = 0
    for seed in seeds:
        outcome = run(draw(seed, rounds=rounds))
        counts += outcome.counts
        counts["events"] += outcome.events
        counts["virtual seconds"] += round(outcome.seconds)
        beyond += outcome.beyond
        lost_writes += outcome.lost_writes
        failures += [(seed, outcome.violations[0])] if outcome.violations else []
    return {"counts": counts, "failures": failures, "beyond": beyond, "lost_writes": lost_writes}


def campaign(first: int, schedules: int, acquisitions: int, processes: int) -> dict[str, Any]:
    """Run at least so many schedules with at least so many acquisitions in all."""
    rounds = LONG if acquisitions else SHORT
    some_of = SOME // rounds
    counts: Counter[str] = Counter()
    total: dict[str, Any] = {"counts": counts, "failures": [], "beyond": [], "lost_writes": 0}
    began, done, told = time.monotonic(), 0, time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        while done < schedules or counts["grants"] < acquisitions:
            starts = [first + done + some_of * number for number in range(4 * processes)]
            seeds = [list(range(start, start + some_of)) for start in starts]
            for found in pool.map(some, seeds, [rounds] * len(seeds)):
                counts += found["counts"]
                for seed, what in found["failures"]:
                    print(f"seed {seed}: {what}", file=sys.stderr, flush=True)
                for key in ("failures", "beyond", "lost_writes"):
                    total[key] += found[key]
            done += some_of * len(seeds)
            if time.monotonic() > told + 30:
                told = time.monotonic()
                print(f"{done:,} schedules, {counts['grants']:,} acquisitions, {len(total['failures'])} failed",
                      file=sys.stderr, flush=True)  # fmt: skip
            if len(total["failures"]) > ENOUGH:
                break
    return total | {"schedules": done, "seconds": time.monotonic() - began}
