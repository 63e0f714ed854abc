"""What all locks of one client share: the way to the API, the keeper, and the memory of earlier attempts."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from tasklock.keeper import Keeper
from tasklock.lease import NOTE, Claim
from tasklock.protocol.acquire import Acquisition
from tasklock.protocol.release import IN_FLIGHT, sweep
from tasklock.protocol.sightings import Sightings, would_refuse
from tasklock.transport.clock import chance, clock
from tasklock.transport.driver import Driver
from tasklock.transport.fork import survive_fork
from tasklock.transport.http import Api
from tasklock.transport.identity import identity

if TYPE_CHECKING:
    import threading

    from tasklock.lock import TaskLock
    from tasklock.protocol.effects import Steps
    from tasklock.protocol.grant import Grant
    from tasklock.transport.config import Source

T = TypeVar("T")

CLOSING = 5.0  # seconds after which closing begins no further look


class Session:
    """Used by a client's locks and holds; of no use by itself."""

    def __init__(self, source: Source, *, watch_holds: bool, announce_process: bool) -> None:
        """Prepare; nothing is read or sent."""
        self.api = Api(source)
        self.keeper = Keeper(self.api)
        self.sightings = Sightings()
        self.abandoned: dict[str, Claim] = {}  # by holder: attempts given up while their create was unanswered
        self.leaving: WeakSet[threading.Thread] = WeakSet()  # acquire for coroutines that were cancelled meanwhile
        self.watch_holds = watch_holds
        self._announce_process = announce_process
        survive_fork(self)

    def run(self, steps: Steps[T]) -> T:
        """Run ``steps`` in the calling thread."""
        return Driver(self.api).run(steps)

    def grant(self, lock: TaskLock, *, app: str, timeout: float | None, driver: Driver) -> Grant:
        """Acquire ``lock``. Where that is cut short (Ctrl-C and cancellation too), leaves nothing behind for long."""
        self.api.connection()  # without a configuration there is nothing to clean up
        place = identity()
        notes = place.annotations(process=self._announce_process) | ({NOTE: lock.note} if lock.note else {})
        claim = Claim(
            lease=lock.lease,
            app=app,
            name=lock.name,
            holder=f"{place.who}_{os.urandom(4).hex()}",
            ttl=lock.ttl,
            annotations=notes,
        )
        acquisition = Acquisition(
            claim,
            timeout=timeout,
            takeover=lock.takeover,
            sightings=self.sightings,
            abandoned=self.abandoned,
            random=chance,
        )
        try:
            return driver.run(acquisition.steps())
        except BaseException:
            if acquisition.unsettled:
                self.settle(claim, clock() + IN_FLIGHT)
            raise

    def is_locked(self, app: str, name: str, *, takeover: bool) -> bool:
        """Tell whether an attempt to take the lock now would be refused."""
        return self.run(would_refuse(app, name, sightings=self.sightings, abandoned=self.abandoned, takeover=takeover))

    def settle(self, claim: Claim, until: float) -> None:
        """Have the keeper delete what a create of ours that nobody saw answered may still bring, until then."""
        if clock() < until:
            self.abandoned[claim.holder] = claim
            with suppress(RuntimeError):  # no thread can be started: what is next kept, or close(), will look
                self.keeper.keep(sweep(claim, until), then=lambda _: self.abandoned.pop(claim.holder, None))

    def close(self) -> None:
        """Look once more, for a few seconds, for what abandoned attempts may have made; close idle connections."""
        until = clock() + CLOSING
        for thread in list(self.leaving):
            thread.join(max(0.0, until - clock()))
        for claim in list(self.abandoned.values()):
            if clock() < until:
                self.run(sweep(claim, 0.0))
        self.api.close()

    def after_fork(self) -> None:
        """Leave the parent's unfinished business to the parent."""
        self.abandoned = {}
        self.leaving = WeakSet()
