"""What I saw of a Lease, what I know of its Pod, my clock: keep until then, or reap with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tasklock_operator.evidence import death_of

if TYPE_CHECKING:
    from tasklock_operator.entry import Entry
    from tasklock_operator.evidence import PodEvidence

Reason = Literal["expired", "container-terminated", "pod-finished"]


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing is to be done before ``until``, on the operator's clock."""

    until: float


@dataclass(frozen=True, slots=True)
class Reap:
    """Delete this Lease, with its uid and its resourceVersion as preconditions; ``since`` is when it became due."""

    entry: Entry
    reason: Reason
    since: float


def decide(entry: Entry, evidence: PodEvidence | None, now: float) -> Keep | Reap:
    """Say what becomes of a Lease: it goes if its holder is proved dead, or if it did not change for too long.

    The clock that counts is the operator's own: how long *it* saw this uid and resourceVersion unchanged. No time that
    a client wrote is compared with it. A live holder that renewed unseen is safe by the precondition of the delete.
    """
    death = death_of(entry, evidence)
    if death is not None:
        return Reap(entry, death, now)
    if now >= entry.due:
        return Reap(entry, "expired", entry.due)
    return Keep(entry.due)
