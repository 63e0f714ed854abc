"""A Hold is one acquisition of a lock: what keeps it, tells of its loss, and gives it back."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Self

from tasklock.errors import LockApiError, LockLostError, LossReason, TaskLockError
from tasklock.naming import shortened
from tasklock.protocol.grant import Grant, Loss, expiring, renewing, watching
from tasklock.protocol.release import release
from tasklock.protocol.troubles import api_error
from tasklock.transport.clock import chance, clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tasklock.lock import TaskLock
    from tasklock.protocol.effects import Reply, Verb
    from tasklock.session import Session

_log = logging.getLogger("tasklock")

_LOST: dict[LossReason, str] = {
    "deleted": "its Lease was deleted",
    "replaced": "its Lease was deleted, and another stands in its place",
    "expired": "no renewal succeeded for two thirds of its ttl",
    "overwritten": "somebody changed the spec of its Lease",
}


class Hold:
    """One acquisition of a lock, renewed in the background until it is released or lost; a context manager.

    Attributes:
        name, lease, uid: the lock, its Lease, and which incarnation of it is ours.
        token: the fencing token: larger than that of every earlier grant of this name. Storage that refuses a smaller
            one than it has seen is safe even from a holder that was paused.

    """

    def __init__(self, grant: Grant, lock: TaskLock, session: Session, *, done: Callable[[Hold], object]) -> None:
        """Keep ``grant`` from now on; call ``done`` when it is being released."""
        self.name = lock.name
        self.lease = lock.lease
        self.uid = grant.uid
        self.token = grant.token
        self._grant = grant
        self._session = session
        self._done = done
        self._on_lost = lock.on_lost
        self._pid = os.getpid()
        self._ending = threading.Lock()  # taken once: by whoever releases
        self._giving_up = threading.Lock()  # taken once, too
        self._reporting = threading.Lock()  # taken once: by whoever reports the loss
        keeper = session.keeper
        self._refused: set[tuple[Verb, float]] = set()
        keeper.keep(renewing(grant, chance, refused=self._note_refusal), then=self._report, over=lambda: grant.over)
        keeper.keep(expiring(grant), then=self._report, over=lambda: grant.over)
        watch = watching(grant, refused=self._note_refusal) if session.watch_holds else None
        try:
            self._watch = keeper.watch(watch, then=self._report) if watch is not None else None
        except RuntimeError as error:  # too many threads: only a help
            self._watch = None
            _log.warning("a held lock cannot be watched (it is renewed all the same): %s", error)

    @property
    def lost(self) -> Loss | None:
        """How the lock was lost, or None while it is held (or was released). Read from this process's own clock."""
        loss = self._grant.loss if self._grant.over else self._grant.check(clock())
        if loss is not None and not self._grant.over:
            self._report(loss)
        return loss

    @property
    def valid_for(self) -> float:
        """Seconds for which the lock may be relied upon without another renewal; 0 once it is lost."""
        usable = not self._grant.over and self._is_ours() and self.lost is None
        return max(0.0, self._grant.valid_until - clock()) if usable else 0.0

    def ensure_held(self) -> None:
        """Raise LockLostError unless the lock is held. Call it before what must not happen without the lock.

        Raises TaskLockError where it was released, and in a forked child: it is its parent's.
        """
        if not self._is_ours():
            msg = f"lock {shortened(self.name)} is held by the parent of this process: acquire it here"
            raise TaskLockError(msg)
        if (loss := self.lost) is not None:
            raise self._error(loss)
        if self._grant.over:
            msg = f"lock {shortened(self.name)} was released already"
            raise TaskLockError(msg)

    def release(self) -> None:
        """Release the lock; once is enough, more do nothing. In a forked child: does nothing, for it is the parent's.

        Raises LockLostError where it had been lost, LockForbiddenError without the verb ``delete``. Where the API does
        not answer it is left to expire, and a warning is logged.
        """
        if not self._is_ours():
            return
        try:
            loss = self._grant.check(clock())
            if not self._ending.acquire(blocking=False):
                return
            self._end(loss)
        except TaskLockError:
            raise
        except BaseException:  # Ctrl-C in the middle of it
            self.give_up()
            raise
        if (loss := self._grant.loss) is not None:
            self._report(loss)
            raise self._error(loss)

    def give_up(self) -> None:
        """Have the keeper release it in the background: an exception from outside has cut the release short."""
        if not self._is_ours():
            return
        self._grant.over = True  # first of all: whatever interrupts this too, it is renewed no more
        if not self._giving_up.acquire(blocking=False):
            return
        self._ending.acquire(blocking=False)
        self._done(self)
        self._session.keeper.let_go()
        if self._watch is not None:
            self._watch.cancel()
        loss = self._grant.loss
        if loss is None or loss.reason == "expired":
            self._session.keeper.keep(release(self._grant, chance))
        self._session.settle(self._grant.claim, self._grant.unsettled_until)

    def _is_ours(self) -> bool:
        return self._pid == os.getpid()

    def _end(self, loss: Loss | None) -> None:
        self._grant.over = True
        self._done(self)
        self._session.keeper.let_go()
        if self._watch is not None:
            self._watch.cancel()
        try:
            if loss is None or loss.reason == "expired":
                self._delete()
        except LockApiError as error:
            if loss is None:
                raise
            _log.warning("%s", error)  # that it was lost matters more
        finally:
            self._session.settle(self._grant.claim, self._grant.unsettled_until)

    def _delete(self) -> None:
        if self._session.keeper.runs_this_thread():  # the collector closed an abandoned generator here
            self._session.keeper.keep(release(self._grant, chance))
            return
        outcome = self._session.run(release(self._grant, chance))
        if outcome == "unanswered":
            _log.warning(
                "lock %s: no answer to its release; it frees itself %d s after its last renewal",
                shortened(self.name),
                self._grant.ttl,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except (LockLostError, LockApiError) as trouble:
            if error is None:
                raise
            _log.warning("%s (while %s was on its way)", trouble, type(error).__name__)
        except BaseException:  # between two lines
            self.give_up()
            raise

    def __repr__(self) -> str:
        state = "released" if self._grant.over else "lost" if self._grant.loss else "held"
        return f"<Hold {shortened(self.name)} {state} token={self.token}>"

    def _note_refusal(self, reply: Reply, verb: Verb) -> None:
        """Tell, once for each verb, of a refusal. Called by the keeper."""
        mark = (verb, self._grant.since if verb == "patch" else 0.0)  # after a renewal a refusal is news again
        if mark not in self._refused:
            self._refused.add(mark)
            what = "renewed (tried until it is lost)" if verb == "patch" else "watched (it is renewed all the same)"
            _log.warning("a held lock cannot be %s: %s", what, api_error(reply, verb, self.name))

    def _report(self, loss: Loss | None) -> None:
        """Tell of a loss, once. Called from any thread."""
        if loss is None or not self._is_ours() or not self._reporting.acquire(blocking=False):
            return
        error = self._error(loss)
        _log.warning("%s%s", error, f" ({error.__cause__})" if error.__cause__ else "")
        if self._on_lost is not None:
            try:
                threading.Thread(target=self._call_back, name="tasklock-on-lost", daemon=True).start()
            except RuntimeError as trouble:  # too many threads, or the interpreter is shutting down
                _log.warning("lock %s: its on_lost callback was not called: %s", shortened(self.name), trouble)

    def _call_back(self) -> None:
        try:
            if self._on_lost is not None:
                self._on_lost(self)
        except Exception:  # noqa: BLE001 - the user's code, in a thread of ours
            _log.exception("lock %s: its on_lost callback failed", shortened(self.name))

    def _error(self, loss: Loss) -> LockLostError:
        msg = (
            f"lock {shortened(self.name)} was lost: {_LOST[loss.reason]}; what it protected may have run at the same "
            f"time elsewhere since then"
        )
        error = LockLostError(msg, name=self.name, reason=loss.reason)
        if loss.reason == "expired" and self._grant.trouble is not None:
            error.__cause__ = api_error(self._grant.trouble, "patch", self.name)
        return error
