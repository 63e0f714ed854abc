"""``uv run python tests/soak --minutes 10``: everything at random, on a control plane of its own.

    uv run python tests/soak --minutes 1 --seed 7       # the same faults in the same order; when they hit is chance

Exit status 1 where something was lost, left behind, or has grown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder is the package `soak` in it

from cluster.build import ensure_binaries, ensure_program  # noqa: E402
from faults.fragile import FragilePlane  # noqa: E402
from soak.soak import Soak  # noqa: E402


class SoakedPlane(FragilePlane):
    """Room for some minutes of renewals: the API server compacts every five."""

    quota = 24 << 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    programs = {name: ensure_program(name) for name in ("toxiproxy", "porcupine")}
    with (
        tempfile.TemporaryDirectory(prefix="tasklock-soak-") as folder,
        SoakedPlane(ensure_binaries()) as plane,
        Soak(plane, programs, Path(folder), seed=options.seed) as soak,
    ):

        def etcd_killed() -> None:
            plane.kill_etcd()
            time.sleep(0.5)
            plane.start_etcd()

        def etcd_paused() -> None:
            with plane.etcd_paused():
                time.sleep(3)

        def etcd_full() -> None:
            plane.fill()
            time.sleep(3)
            plane.empty()
            assert not plane.alarms()

        often = [soak.pause, soak.kill, soak.network, soak.api_paused] * 2
        seldom = [
            *(soak.waiter_paused, soak.operator_paused, soak.operator, soak.role_removed, soak.token_void),
            *(soak.api_killed, etcd_killed, etcd_paused, etcd_full),
        ]
        start = time.monotonic()
        report = soak.run(
            60 * options.minutes, often + seldom, say=lambda line: print(line, file=sys.stderr, flush=True)
        )
        print(f"{time.monotonic() - start:.0f} s, seed {options.seed}\n{report}")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
