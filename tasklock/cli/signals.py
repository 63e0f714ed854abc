"""Signals, and news from other threads, as numbers that the main thread waits for: no code runs at random moments."""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NEWS: Final = 0  # no signal: another thread has something to tell
ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
FORWARDED: Final = ENDING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
_CAUGHT: Final = FORWARDED | {signal.SIGCHLD, signal.SIGTSTP, signal.SIGCONT}


class Signals:
    """While entered: signals are collected, in order, instead of ending this process. Main thread only.

    What was ignored when we were started (``nohup``, a shell's background job) stays ignored.
    """

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        caught = {one for one in _CAUGHT if one == signal.SIGCHLD or signal.getsignal(one) is not signal.SIG_IGN}
        self._before = {one: signal.signal(one, lambda _number, _frame: None) for one in caught}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        writer, self._writer = self._writer, -1
        os.close(writer)

    def tell(self) -> None:
        """Wake the main thread up with NEWS. Called from any thread."""
        with suppress(OSError):  # full: it wakes up anyway; closed: nobody waits
            os.write(self._writer, bytes([NEWS]))

    def wait(self, timeout: float | None) -> list[int]:
        """Return what came in, after at most ``timeout`` seconds."""
        ready, _, _ = select.select([self._reader], [], [], timeout)
        return list(os.read(self._reader, 4096)) if ready else []

    def run_in_thread(self, function: Callable[[], T], *, interrupted: Callable[[int], object]) -> T:
        """Run ``function`` in a thread and return what it returns, or raise what it raises.

        Meanwhile ``interrupted`` is called, in the main thread, with each signal that wants to end us; it may raise.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - carried over to the main thread
                errors.append(error)
            finally:
                self.tell()

        thread = threading.Thread(target=body, name="tasklock-run", daemon=True)
        thread.start()
        while not (results or errors):
            for number in self.wait(None):
                if number in ENDING:
                    interrupted(number)
                elif number == signal.SIGTSTP:
                    os.kill(os.getpid(), signal.SIGSTOP)
        if errors:
            raise errors[0]
        return results[0]
