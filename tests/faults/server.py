"""An embedded API server in a process of its own, until its input ends: see ``test_many.py``."""

from __future__ import annotations

import json
import sys

from tasklock.testing import ApiServer


def main() -> None:
    order = json.loads(sys.argv[1])
    with ApiServer(latency=order["latency"]) as server:
        sys.stdout.write(json.dumps({"event": "up", "kubeconfig": server.kubeconfig}) + "\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            pass


main()
