"""Who renews: one keeper per client runs the protocol's background work for all its holds.

One thread keeps the time of everything; it never sends, so that a loss by expiry is told on time while every request
hangs. Requests are made by up to ``WORKERS`` short-lived threads, so that a hung one delays no other hold's renewal;
all but renewals by a few of their own.
There is no thread for long while there is nothing to keep.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tasklock.errors import TaskLockError
from tasklock.protocol.effects import Now, Reply, Send, Sleep, Steps
from tasklock.transport.clock import clock, read
from tasklock.transport.driver import CancelledError, Driver
from tasklock.transport.fork import survive_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.transport.http import Api

WORKERS: Final = 64  # renewals under way at once
SWEEPERS: Final = 8  # other requests under way at once: they must not keep a renewal waiting
GLANCE: Final = 5.0  # seconds between two looks at the clock: waiting does not count the time of a suspended machine
LINGER: Final = 1.0  # seconds for which what is over may be remembered, and a thread be kept for it

_log = logging.getLogger("tasklock")
_serial = itertools.count()


@dataclass(order=True, slots=True)
class _Task:
    """A generator that sleeps until ``due``, or waits for a worker to ``send`` something for it."""

    due: float
    serial: int
    steps: Steps[Any] = field(compare=False)
    then: Callable[[Any], object] = field(compare=False)
    over: Callable[[], bool] = field(compare=False)
    send: Send | None = field(compare=False, default=None)


@dataclass(slots=True)
class _Lane:
    """Tasks that wait for one of at most ``limit`` workers."""

    limit: int
    waiting: deque[_Task] = field(default_factory=deque)
    workers: int = 0


class Keeper:
    """Runs generators of ``Now``, ``Sleep`` and ``Send`` effects in the background, thousands of them."""

    def __init__(self, api: Api) -> None:
        """Keep by requests through ``api``."""
        self._api = api
        self.after_fork()
        survive_fork(self)

    def after_fork(self) -> None:
        """Start with nothing to keep: what the parent keeps is the parent's."""
        self._lock = threading.RLock()  # the collector may close a decorated generator while we hold it
        self._changed = threading.Condition(self._lock)
        self._sleeping: list[_Task] = []
        self._renewals, self._others = _Lane(WORKERS), _Lane(SWEEPERS)
        self._here = threading.local()
        self._timer: threading.Thread | None = None
        self._wakes_at = 0.0
        self._drop_at: float | None = None  # when what is over is to be dropped
        self._tidy_at = 64

    def keep(
        self,
        steps: Steps[Any],
        *,
        then: Callable[[Any], object] = lambda _: None,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run ``steps`` in the background; call ``then`` with what they return.

        Where ``over()`` is true they may be dropped at any time. ``then`` has to be quick.
        """
        self._advance(_Task(0.0, next(_serial), steps, then, over), None)

    def runs_this_thread(self) -> bool:
        """Tell whether the calling thread is one that keeps holds, and must not be held up by anything else."""
        return getattr(self._here, "ours", False)

    def let_go(self) -> None:
        """Take notice that something is over: it is dropped soon, so that no thread waits until its renewal is due."""
        with self._lock:
            if self._timer is not None and self._drop_at is None:
                self._drop_at = clock() + LINGER
                self._changed.notify()

    def watch(self, steps: Steps[Any], *, then: Callable[[Any], object]) -> Driver:
        """Run ``steps`` that watch in a thread of their own; cancel the driver that is returned to end them."""
        driver = Driver(self._api)
        threading.Thread(
            target=self._run_watch, args=(driver, steps, then), name="tasklock-watch-hold", daemon=True
        ).start()
        return driver

    def _run_watch(self, driver: Driver, steps: Steps[Any], then: Callable[[Any], object]) -> None:
        try:
            then(driver.run(steps))
        except CancelledError:
            pass
        except TaskLockError as error:
            _log.warning("a held lock cannot be watched (it is renewed all the same): %s", error)

    def _advance(self, task: _Task, outcome: object) -> None:
        """Run a task until it sleeps, sends or ends. Called by the timer, by workers, and by whoever adds it."""
        try:
            while True:
                effect = task.steps.send(outcome)
                match effect:
                    case Now():
                        outcome = read()
                    case Sleep():
                        task.due = effect.until
                        self._sleep(task)
                        return
                    case Send():
                        task.send = effect
                        self._enqueue(task)
                        return
                    case _:
                        msg = f"the keeper does not perform {effect}"
                        raise TypeError(msg)
        except StopIteration as end:
            task.then(end.value)
        except TaskLockError as error:
            _log.warning("in the background: %s", error)

    def _go_on(self, task: _Task, outcome: object) -> None:
        """Advance a task in a thread of ours: one hold's trouble must not end the thread that keeps all others."""
        try:
            self._advance(task, outcome)
        except Exception:  # noqa: BLE001 - whatever it is, the others go on
            _log.exception("in the background")

    def _sleep(self, task: _Task) -> None:
        with self._lock:
            heapq.heappush(self._sleeping, task)
            if len(self._sleeping) >= self._tidy_at:
                self._tidy()
            if self._timer is None:
                timer = threading.Thread(target=self._keep_time, name="tasklock-keeper", daemon=True)
                timer.start()  # may fail where there are too many threads; then the next one tries again
                self._timer = timer
            elif task.due < self._wakes_at:
                self._changed.notify()

    def _tidy(self) -> None:
        """Drop what is over: of many short holds, none should be remembered until its renewal would be due."""
        self._sleeping = [task for task in self._sleeping if not task.over()]
        heapq.heapify(self._sleeping)
        self._tidy_at = max(64, 2 * len(self._sleeping))

    def _keep_time(self) -> None:
        self._here.ours = True
        while True:
            with self._lock:
                while True:
                    now = clock()
                    if self._drop_at is not None and now >= self._drop_at:
                        self._drop_at = None
                        self._tidy()
                    if not self._sleeping:
                        self._timer = self._drop_at = None
                        return
                    due = self._sleeping[0].due
                    if due <= now:
                        break
                    self._wakes_at = due if self._drop_at is None else min(due, self._drop_at)
                    self._changed.wait(min(self._wakes_at - now, GLANCE))
                self._wakes_at = 0.0
                task = heapq.heappop(self._sleeping)
            self._go_on(task, read())

    def _enqueue(self, task: _Task) -> None:
        lane = self._renewals if task.send is not None and task.send.method == "PATCH" else self._others
        with self._lock:
            lane.waiting.append(task)
            if lane.workers >= lane.limit:
                return
            lane.workers += 1
        try:
            threading.Thread(target=self._work, args=(lane,), name="tasklock-worker", daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down: what is held will expire
            with self._lock:
                lane.workers -= 1

    def _work(self, lane: _Lane) -> None:
        self._here.ours = True
        while True:
            with self._lock:
                if not lane.waiting:
                    lane.workers -= 1
                    return
                task = lane.waiting.popleft()
            self._go_on(task, self._send(task))

    def _send(self, task: _Task) -> Reply | None:
        if task.send is None:
            return None
        now = clock()
        try:
            return self._api.send(task.send)
        except TaskLockError as error:
            return Reply(status=0, sent=now, received=clock(), maybe_done=False, error=str(error))
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer; this thread serves others too
            _log.exception("in the background")
            return Reply(status=0, sent=now, received=clock(), error="the request failed in a way that nobody foresaw")
