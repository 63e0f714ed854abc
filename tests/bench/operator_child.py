"""The operator under measurement, in a process of its own; at the end it writes what it saw to a file.

``ours`` is the operator as shipped, with a stopwatch around what is measured; ``stock`` is kopf as its documentation
shows it: an ``on.event`` handler, the selector on the server, quiet logs, and a dictionary.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Stopwatch:
    """What was seen: of each event how late it was handled; of each reap how late it was sent."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.last = 0.0
        self.expired: list[float] = []
        self.deaths: list[float] = []
        self.pods: dict[str, float] = {}  # when the newest event of each came, by uid

    def event(self, event: Any) -> None:
        if event["type"] in {"MODIFIED", "ADDED", "DELETED"} and (
            stamp := event["object"].get("spec", {}).get("renewTime")
        ):
            self.lags.append(time.time() - datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp())
            self.last = time.monotonic()

    def write(self, file: Path) -> None:
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        told = {
            "lags": self.lags,
            "expired": self.expired,
            "deaths": self.deaths,
            "rss": peak / 1024,
        }
        file.write_text(json.dumps(told))


def ours(watch: Stopwatch) -> None:
    from tasklock.transport.clock import clock  # noqa: PLC0415 - only here
    from tasklock_operator.app import App  # noqa: PLC0415
    from tasklock_operator.reaper import Reaper  # noqa: PLC0415
    from tasklock_operator.serve import serve  # noqa: PLC0415
    from tasklock_operator.settings import Settings  # noqa: PLC0415

    lease, pod, reap = App.lease, App.pod, Reaper._reap

    def timed_lease(self: Any, event: Any) -> None:
        lease(self, event)
        watch.event(event)

    def timed_pod(self: Any, event: Any) -> None:
        watch.pods[event["object"]["metadata"]["uid"]] = event.get("at", clock())
        pod(self, event)

    async def timed_reap(self: Any, one: Any) -> Any:
        if one.reason == "expired":
            watch.expired.append(clock() - one.since)
        else:
            watch.deaths.append(clock() - watch.pods[one.entry.pod_uid])
        return await reap(self, one)

    App.lease, App.pod, Reaper._reap = timed_lease, timed_pod, timed_reap  # type: ignore[method-assign]
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(Settings.from_env(os.environ)))


def stock(watch: Stopwatch) -> None:
    import kopf  # noqa: PLC0415 - only here

    known: dict[str, Any] = {}

    @kopf.on.startup()
    def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.watching.label_selectors["coordination.k8s.io", "v1", "leases"] = (
            "app.kubernetes.io/managed-by=tasklock"
        )
        settings.scanning.disabled = True
        settings.posting.enabled = False

    @kopf.on.event("coordination.k8s.io", "v1", "leases")
    async def lease(event: Any, **_: Any) -> None:
        known[event["object"]["metadata"]["uid"]] = event["object"]["metadata"]["resourceVersion"]
        watch.event(event)

    logging.basicConfig(level=logging.WARNING)
    kopf.run(clusterwide=True, standalone=True)


if __name__ == "__main__":
    stopwatch = Stopwatch()
    try:
        {"ours": ours, "stock": stock}[sys.argv[1]](stopwatch)
    finally:
        stopwatch.write(Path(sys.argv[2]))
