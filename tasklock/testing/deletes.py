"""Deletion: what a delete demands, what holds an object back, and when it is gone. All pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .status import failed_precondition
from .times import format_time
from .writes import in_order

if TYPE_CHECKING:
    from .kinds import Kind

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DeleteOptions:
    """What a delete demands of the object (`uid`, `resource_version`), and what becomes of its dependents."""

    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False
    propagation: str = ""
    grace_seconds: int | None = None


PLAIN_DELETE = DeleteOptions()


def is_finished(obj: Json) -> bool:
    """Whether this write took the last thing that kept a deleted object."""
    metadata = obj["metadata"]
    marked = "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) == 0
    return marked and not metadata.get("finalizers")


def check_preconditions(kind: Kind, live: Json, options: DeleteOptions) -> None:
    """Raise StatusError 409 when the object is not the one that the delete means."""
    metadata = live["metadata"]
    if options.uid is not None and options.uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise failed_precondition(kind, metadata["name"], why)
    version = options.resource_version
    if version is not None and version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified"
        )
        raise failed_precondition(kind, metadata["name"], why)


def mark_deleted(kind: Kind, live: Json, options: DeleteOptions, now: str) -> Json | None:
    """Give the object its deletionTimestamp, where something still holds it; None where it goes at once."""
    finalizers = _finalizers_for(live["metadata"].get("finalizers", []), options.propagation)
    grace = _grace(kind, live, options)
    if not finalizers and not grace:
        return None
    ends = format_time(datetime.fromisoformat(now) + timedelta(seconds=grace))
    metadata = live["metadata"] | {"deletionTimestamp": live["metadata"].get("deletionTimestamp", ends)}
    metadata["deletionGracePeriodSeconds"] = grace
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers
    return live | {"metadata": in_order(metadata)}


def _finalizers_for(finalizers: list[str], propagation: str) -> list[str]:
    if not propagation:
        return finalizers
    kept = [name for name in finalizers if name not in {"orphan", "foregroundDeletion"}]
    added = {"Orphan": ["orphan"], "Foreground": ["foregroundDeletion"]}
    return kept + added.get(propagation, [])


def _grace(kind: Kind, live: Json, options: DeleteOptions) -> int:
    """Only a Pod that a kubelet has, and that has not ended, goes gracefully."""
    if kind.kind != "Pod" or not live["spec"].get("nodeName"):
        return 0
    if live["status"].get("phase") in {"Succeeded", "Failed"}:
        return 0
    wanted = live["spec"].get("terminationGracePeriodSeconds", 30)
    return max(0, wanted if options.grace_seconds is None else options.grace_seconds)
