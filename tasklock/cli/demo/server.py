"""The demo's API server, in a process of its own: says where it is, serves until its stdin ends."""

from __future__ import annotations

import json
import sys

from tasklock.testing import ApiServer


def main() -> None:
    """Serve."""
    with ApiServer() as api:
        print(json.dumps({"event": "serves", "kubeconfig": api.kubeconfig, "server": api.url}), flush=True)  # noqa: T201 - our report
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
