"""Leases and Pods as the API server shows them, from a few words.

All times are seconds after ten o'clock by the node's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasklock.lease import CONTAINER, LABEL_APP, LABEL_MANAGED_BY, MANAGED_BY, NAME, POD, POD_UID, microtime
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from tasklock_operator.book import Entry, Reap

Json = dict[str, Any]

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return TEN + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    """Write a time as the kubelet reports it: cut to whole seconds."""
    return at(seconds).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def lease(  # noqa: PLR0913 - each is one field of it
    name: str = "job",
    *,
    uid: str = "lease-1",
    version: int | str = 1,
    acquired: float | None = 5.5,
    ttl: Any = 30,
    container: str | None = "worker",
    pod_uid: str | None = "pod-1",
    namespace: str = "team",
    app: str = "app",
    suffix: str = "",
) -> Json:
    """Write a lock of ours; `suffix` makes it a ticket or a slot."""
    notes = {NAME: name, CONTAINER: container, POD_UID: pod_uid, POD: "worker-7d9f"}
    spec: Json = {"holderIdentity": "worker-7d9f_3f9c21ab", "leaseDurationSeconds": ttl}
    if acquired is not None:
        spec |= {"acquireTime": microtime(at(acquired)), "renewTime": microtime(at(acquired))}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lease_name(app, name) + suffix,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_APP: app},
            "annotations": {key: value for key, value in notes.items() if value is not None},
        },
        "spec": spec,
    }


def terminated(started: float | None, finished: float | None, reason: str = "Error") -> Json:
    record: Json = {"exitCode": 1, "reason": reason}
    record["startedAt"] = None if started is None else stamp(started)
    record["finishedAt"] = None if finished is None else stamp(finished)
    return {"terminated": record}


def running(started: float) -> Json:
    return {"running": {"startedAt": stamp(started)}}


def waiting(reason: str = "CrashLoopBackOff") -> Json:
    return {"waiting": {"reason": reason}}


def status(name: str, state: Json, last: Json | None = None) -> Json:
    return {"name": name, "state": state, "lastState": last or {}, "restartCount": 0 if last is None else 1}


def pod(  # noqa: PLR0913 - each is one field of it
    *containers: Json,
    init: tuple[Json, ...] = (),
    ephemeral: tuple[Json, ...] = (),
    phase: str = "Running",
    uid: str = "pod-1",
    namespace: str = "team",
    name: str = "worker-7d9f",
    version: int | str = 1_000_000,
) -> Json:
    lists = {
        "containerStatuses": [*containers],
        "initContainerStatuses": [*init],
        "ephemeralContainerStatuses": [*ephemeral],
    }
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version)},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": phase, **{key: value for key, value in lists.items() if value}},
    }


RESTARTED = status("worker", running(9), terminated(0, 9))


def reasons(reaps: list[Reap]) -> list[tuple[str, str]]:
    return [(reap.entry.uid, reap.reason) for reap in reaps]


def uids(entries: list[Entry]) -> set[str]:
    return {entry.uid for entry in entries}
