"""``uv run python tests/simulation``: run schedules by their thousands, or one of them again.

    uv run python tests/simulation --schedules 10000 --acquisitions 1000000     # a night's work: one to two hours
    uv run python tests/simulation --seed 139                                   # replay one, shrunk to what it takes

Without ``--acquisitions`` the schedules are short, as in CI. Exit status 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder is the package `simulation` in it

from simulation.campaign import LONG, campaign  # noqa: E402
from simulation.plan import SHORT, draw  # noqa: E402
from simulation.schedule import run  # noqa: E402
from simulation.shrink import report  # noqa: E402

SHOWN = 5  # failing seeds that are named


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--acquisitions", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="replay this one, shrunk")
    parser.add_argument("--rounds", type=int, default=SHORT, help="with --seed: as the campaign had it (6, or 40)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.seed is not None:
        plan = draw(options.seed, rounds=options.rounds)
        broken = bool(run(plan).violations)
        print(report(plan) if broken else f"seed {plan.seed} breaks no rule")
        return broken
    found = campaign(options.first, options.schedules, options.acquisitions, options.processes)
    if options.json:
        print(json.dumps(found))
        return 0
    counts = found["counts"]
    print(f"{found['schedules']:,} schedules in {found['seconds']:.0f} s: {counts['grants']:,} acquisitions, "
          f"{counts['events']:,} events, {counts['virtual seconds']:,} virtual seconds")  # fmt: skip
    for name, number in sorted(counts.items()):
        print(f"  {name:<40} {number:>12,}")
    print(f"  {'holders that did not know first':<40} {len(found['beyond']):>12,}  (clocks beyond the bound)")
    print(f"  {'writes lost by stores without a check':<40} {found['lost_writes']:>12,}")
    rounds = LONG if options.acquisitions else SHORT
    for seed, what in found["failures"][:SHOWN]:
        print(f"FAILED: seed {seed}: {what}\n  replay: uv run python tests/simulation --seed {seed} --rounds {rounds}")
    return bool(found["failures"])


if __name__ == "__main__":
    sys.exit(main())
