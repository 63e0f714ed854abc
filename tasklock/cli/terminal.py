"""Whose turn it is at the terminal: a command in a group of its own may read it only as the foreground group."""

from __future__ import annotations

import os
import signal
import sys
import termios
from contextlib import suppress
from typing import Any


class Terminal:
    """The controlling terminal, if there is one; all methods do nothing without."""

    def __init__(self) -> None:
        self._given: int | None = None
        self._modes: list[Any] | None = None
        try:
            self._tty: int | None = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._tty = None

    @property
    def given(self) -> bool:
        """Whether the command has the terminal."""
        return self._given is not None

    def is_ours(self) -> bool:
        """Tell whether our own group is the one in the foreground."""
        with suppress(OSError):
            return self._tty is not None and os.tcgetpgrp(self._tty) == os.getpgrp()
        return False

    def give(self, group: int, *, asked: bool = False) -> bool:
        """Put ``group`` in the foreground, if we are there; return whether it is now.

        Not asked for, only where stdin and stdout are terminals: ``tasklock run x -- cmd | less`` is for less to read.
        """
        interactive = sys.__stdin__ is not None and os.isatty(0) and os.isatty(1)
        if self._tty is None or not (asked or interactive) or not self.is_ours():
            return False
        with suppress(OSError, termios.error):
            self._modes = termios.tcgetattr(self._tty)
            os.tcsetpgrp(self._tty, group)
            self._given = group
            return True
        return False

    def take_back(self, *, restore: bool = False) -> None:
        """Put ourselves in the foreground again; ``restore`` the modes that a killed command may have left changed."""
        if self._tty is None or self._given is None:
            return
        group, self._given = self._given, None
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may not do this otherwise
        try:
            with suppress(OSError, termios.error):
                if os.tcgetpgrp(self._tty) == group:
                    os.tcsetpgrp(self._tty, os.getpgrp())
                    if restore and self._modes is not None:
                        termios.tcsetattr(self._tty, termios.TCSADRAIN, self._modes)
        finally:
            signal.signal(signal.SIGTTOU, before)
