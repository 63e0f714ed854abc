"""The processes of the demo: started as programs of their own, ended however this ends.

They read our end of a pipe: when we are gone, however that came, they end by themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, Self

import click

from tasklock.cli.exits import UNAVAILABLE
from tasklock.transport.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 5.0

Report = tuple[str, dict[str, Any] | None]  # who, and what; None at the end of its reports


class StageError(click.ClickException):
    """Raised when a process of the demo does not start."""

    exit_code = UNAVAILABLE


class Stage:
    """Runs processes and collects what they report."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._listeners: dict[str, threading.Thread] = {}
        self._reports: Mailbox[Report] = Mailbox()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes: asked first, then killed."""
        self.dismiss(list(self._processes))

    def start(self, who: str, module: str, told: Mapping[str, object] | None = None) -> None:
        """Start ``python -m module`` and listen to it."""
        command = [sys.executable, "-m", module, *([json.dumps(told)] if told is not None else [])]
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, who then end them in order
        )
        listener = threading.Thread(target=self._listen, args=(who, process), daemon=True)
        self._processes[who], self._listeners[who] = process, listener
        listener.start()

    def tell(self, who: str, word: str) -> None:
        """Say one word to a process."""
        stdin = self._processes[who].stdin
        if stdin is not None:
            with suppress(OSError):
                stdin.write(word + "\n")
                stdin.flush()

    def reports(self, until: float) -> Iterator[Report]:
        """Yield reports as they arrive, until a time of the machine's clock."""
        while (left := until - time.monotonic()) > 0:
            try:
                yield self._reports.get(timeout=left)
            except Empty:
                return

    def left_over(self) -> Iterator[Report]:
        """Yield the reports that have arrived meanwhile."""
        with suppress(Empty):
            while True:
                yield self._reports.get(0)

    def kill(self, who: str) -> float:
        """Kill a process with -9; return the machine's clock before that."""
        process = self._processes[who]
        at = time.monotonic()
        process.kill()
        process.wait()  # a zombie would prove nothing to its neighbours
        return at

    def dismiss(self, names: list[str]) -> None:
        """End processes and wait until their last reports are in."""
        processes = [self._processes[who] for who in names]
        for process in processes:
            with suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for who in names:
            self._listeners[who].join(1)

    def _listen(self, who: str, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            with process.stdout as lines:
                for line in lines:
                    with suppress(ValueError):
                        self._reports.put((who, json.loads(line)))
        self._reports.put((who, None))
