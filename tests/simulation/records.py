"""What the referee writes down: Lease objects, attempts at locks, grants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulation.world import Process
    from tasklock.lease import Claim, Lease
    from tasklock.protocol.grant import Grant, Loss


@dataclass(slots=True)
class Incarnation:
    """One Lease object, from its create to its end."""

    uid: str
    lease: str
    holder: str | None
    process: Process | None  # whose nonce it carries, if a client's
    revision: int
    born: float
    changed: float
    answered_at_most: float  # when its holder last wrote it
    state: Lease
    holders: set[str | None]  # whom it ever named
    copy: bool = False  # created by the second copy of a POST, which its sender may know nothing of: it expires
    spec_touched: bool = False  # by somebody else, as are the notes
    notes_touched: bool = False
    ended: float | None = None
    how: str = ""
    ender: Process | None = None


@dataclass(slots=True, eq=False)
class Attempt:
    client: Process
    claim: Claim
    timeout: float | None
    began: float
    paused: float
    over: bool = False


@dataclass(slots=True, eq=False)
class Granted:
    grant: Grant
    attempt: Attempt
    incarnation: Incarnation
    lost: Loss | None = None
    excused: bool = False  # clocks beyond the bound, or people, made others hold it as well
    ending: bool = False

    @property
    def believed(self) -> bool:
        """Whether its process, asked now, would say that it holds the lock."""
        grant, client = self.grant, self.attempt.client
        return client.alive and not grant.over and grant.loss is None and client.clock() < grant.valid_until


def place(lease: Lease) -> tuple[str | None, ...]:
    """Return what a Lease says of where its holder lives, and of whose it is."""
    return lease.name, lease.process, lease.pod_uid, lease.container
