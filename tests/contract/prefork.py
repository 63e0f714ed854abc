"""Workers forked from a program that has used its client already: see ``test_fork.py``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from tasklock import LockClient


def work(client: LockClient, counter: Path, turns: int, report: Path) -> None:
    grants = []
    for _ in range(turns):
        with client.lock_task("counter", timeout=120) as hold:
            before = int(counter.read_text())
            time.sleep(0.005)
            counter.write_text(str(before + 1))
            grants.append({"token": hold.token, "at": time.monotonic()})
    report.write_text(json.dumps(grants))


def main() -> None:
    order = json.loads(sys.argv[1])
    counter = Path(order["counter"])
    counter.write_text("0")
    client = LockClient("contract", **order["client"])
    with client.lock_task("counter"):
        pass
    reports = [counter.with_name(f"worker-{number}") for number in range(order["workers"])]
    pids = []
    for report in reports:
        if (pid := os.fork()) == 0:
            work(client, counter, order["turns"], report)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    grants = [grant for report in reports for grant in json.loads(report.read_text())]
    sys.stdout.write(json.dumps({"event": "done", "grants": grants}) + "\n")
    sys.stdout.flush()
    client.close()


main()
