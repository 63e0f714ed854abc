"""What ``tasklock run`` does: acquire, start the command, pass signals on, end it if the lock is lost, release."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

from tasklock.cli.child import Child
from tasklock.cli.exits import LOST, SIGNAL, code_of
from tasklock.cli.signals import FORWARDED, NEWS, Signals
from tasklock.cli.terminal import Terminal
from tasklock.cli.text import duration, say, shown
from tasklock.errors import LockApiError, LockLostError, TaskLockedException, TaskLockError
from tasklock.protocol.release import STALE_AFTER
from tasklock.transport.driver import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasklock.client import LockClient
    from tasklock.hold import Hold

HEARTBEAT: Final = 5.0  # seconds between two looks at the clock, should the machine have slept
POLL: Final = 0.05  # seconds between two looks at a group that is being ended


class InterruptedWait(BaseException):
    """Raised when a signal ends us before the command was started, or once more while we were ending."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Supervisor:
    """One run of one command under one lock."""

    def __init__(  # noqa: PLR0913 - keyword-only options
        self,
        client: LockClient,
        name: str,
        *,
        ttl: int | None,
        timeout: float | None,
        note: str | None,
        grace: float,
    ) -> None:
        """Prepare; nothing is sent. Raises InvalidLockError."""
        self._client = client
        self._lock = client.lock_task(name, ttl=ttl, timeout=timeout, note=note, on_lost=lambda _: self._signals.tell())
        self._grace = grace
        self._signals = Signals()
        self._cancel: Callable[[], None] = lambda: None
        self._interrupted: int | None = None

    def run(self, argv: Sequence[str]) -> int:
        """Run ``argv`` and return the exit code. Raises TaskLockError and ExecError where it did not run."""
        child = Child(argv)  # before there is any thread
        try:
            with self._signals:
                try:
                    hold = self._acquire()
                    return self._hold(hold, child)
                except InterruptedWait as interrupted:
                    return SIGNAL + interrupted.number
                finally:
                    self._client.close()
        finally:
            child.abandon()

    def _acquire(self) -> Hold:
        """Acquire the lock, waiting for it or not; a signal ends that, and leaves no Lease behind."""
        try:
            hold = self._signals.run_in_thread(self._attempt, interrupted=self._give_up)
        except CancelledError:
            raise InterruptedWait(self._interrupted or signal.SIGTERM) from None
        if (number := self._interrupted) is not None:
            self._release(hold)
            raise InterruptedWait(number)
        return hold

    def _attempt(self) -> Hold:
        _ = self._client.namespace  # reads the configuration, for which nobody means to wait
        patience, began = self._lock.timeout, time.monotonic()
        try:
            return self._try(0)
        except TaskLockedException as error:
            if patience != 0:
                say(f"{error}: waiting for it")
            elif error.stale and error.ttl is not None:
                patience, began = error.ttl * STALE_AFTER + 1, time.monotonic()
                say(f"{error}, but nobody seems to renew it: watching it for {duration(patience)} to be sure")
            else:
                raise
        except LockApiError:  # a waiter endures what may pass, and is told again what does not
            if patience == 0:
                raise
        return self._try(None if patience is None else max(0.001, patience - (time.monotonic() - began)))

    def _try(self, timeout: float | None) -> Hold:
        acquire, self._cancel = self._lock.attempt(timeout)
        if self._interrupted is not None:
            raise CancelledError
        return acquire()

    def _give_up(self, number: int) -> None:
        if self._interrupted is not None:  # asked twice: at once, then
            raise InterruptedWait(number)
        self._interrupted = number
        self._cancel()

    def _hold(self, hold: Hold, child: Child) -> int:
        """Run the command while ``hold`` lasts; release it; return the exit code."""
        try:
            running = _Running(hold, child, self._signals, grace=self._grace, ttl=self._lock.ttl)
            status = running.to_its_end()
        except BaseException:
            if child.status is None:
                child.signal(signal.SIGKILL)
            self._release(hold)
            raise
        code = self._release(hold)
        return LOST if running.ended_by_us else status or code

    def _release(self, hold: Hold) -> int:
        """Release the lock; return 0, or the code of what went wrong. A second signal ends the wait for an answer."""
        self._interrupted = None
        try:
            self._signals.run_in_thread(hold.release, interrupted=self._stop_releasing)
        except InterruptedWait as interrupted:
            say(f"no answer yet to the release of lock {shown(self._lock.name)!r}: it will free itself by expiry")
            return SIGNAL + interrupted.number
        except LockLostError:  # the library has said so
            return LOST
        except TaskLockError as error:
            say(f"the command has ended, but its lock was not released: {error}")
            return code_of(error)
        return 0

    def _stop_releasing(self, number: int) -> None:
        if self._interrupted is not None:
            raise InterruptedWait(number)
        self._interrupted = number  # we are ending anyway
        say(f"still releasing lock {shown(self._lock.name)!r}: signal once more to leave it to its expiry")


class _Running:
    """The command, from its start to its end."""

    def __init__(self, hold: Hold, child: Child, signals: Signals, *, grace: float, ttl: int) -> None:
        self.ended_by_us = False
        self._hold = hold
        self._child = child
        self._signals = signals
        self._grace = grace
        self._ttl = ttl
        self._terminal = Terminal()

    def to_its_end(self) -> int:
        """Start it; return its exit status. Raises ExecError, and LockLostError where it was not even started."""
        child, hold = self._child, self._hold
        hold.ensure_held()
        self._terminal.give(child.pid)
        try:
            child.start({"TASKLOCK_NAME": hold.name, "TASKLOCK_TOKEN": str(hold.token), "TASKLOCK_LEASE": hold.lease})
            child.reap()
            while child.status is None:
                self._take(self._signals.wait(HEARTBEAT))
                if child.status is None and hold.lost is not None:
                    self._end()
        finally:
            self._terminal.take_back(restore=(child.status or 0) > SIGNAL)
        return child.status

    def _take(self, numbers: list[int]) -> None:
        for number in numbers:
            if number in FORWARDED:
                self._child.signal(number)
            elif number == signal.SIGTSTP:  # from outside, or typed where the command has no terminal
                self._child.signal(signal.SIGSTOP)  # not one that it may ignore: nobody renews while we are stopped
                os.kill(os.getpid(), signal.SIGSTOP)
            elif number == signal.SIGCONT:
                self._go_on()
            elif number not in {NEWS, signal.SIGCHLD}:
                continue
        self._child.reap()
        if self._child.stopped is not None and self._child.status is None:
            self._stopped(self._child.stopped)

    def _stopped(self, number: int) -> None:
        """Stop with a command that was stopped at the terminal, or give it the terminal that it asked for."""
        if number in {signal.SIGTTIN, signal.SIGTTOU} and self._terminal.give(self._child.pid, asked=True):
            self._child.resume()
        elif self._terminal.given:
            self._terminal.take_back()
            before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.killpg(os.getpgrp(), signal.SIGTSTP)  # as the terminal would have done, had we been in its foreground
            signal.signal(signal.SIGTSTP, before)
            self._go_on()

    def _go_on(self) -> None:
        """Continue after a stop: the command too, unless its lock was lost meanwhile."""
        if self._hold.lost is None:
            self._terminal.give(self._child.pid)
            self._child.resume()

    def _end(self) -> None:
        """End the whole group: SIGTERM, the grace, SIGKILL."""
        self.ended_by_us = True
        lost = self._hold.lost
        expired = lost is not None and lost.reason == "expired"
        grace = min(self._grace, self._ttl / 3) if expired else self._grace
        say(f"ending the command: SIGTERM, and SIGKILL after {grace:g} s")
        self._child.signal(signal.SIGTERM)
        self._child.resume()
        self._wait_for_end(time.monotonic() + grace)
        self._child.signal(signal.SIGKILL)
        self._wait_for_end(None)

    def _wait_for_end(self, deadline: float | None) -> None:
        while self._child.status is None or self._child.group_is_alive():
            if deadline is not None and time.monotonic() >= deadline:
                return
            for number in self._signals.wait(POLL):
                if number in FORWARDED:
                    self._child.signal(number)
            self._child.reap()
