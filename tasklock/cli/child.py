"""A command in a process group of its own, that does not outlive us.

It is forked before there is any thread, as a copy of us that waits at a pipe, and becomes the command only once the
lock is ours. So nothing runs in a fork of a process with threads, and the kernel ties it to our main thread, which
stays.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from tasklock.cli.exits import NOT_EXECUTABLE, NOT_FOUND, SIGNAL
from tasklock.cli.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class ExecError(click.ClickException):
    """Raised when the command cannot be run; the exit codes are a shell's."""

    def __init__(self, command: str, error: OSError) -> None:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        super().__init__(f"cannot run {shown(command, limit=200)!r}: {error.strerror or error}")
        vars(self)["exit_code"] = NOT_FOUND if missing else NOT_EXECUTABLE  # click has it as a class variable


def check_executable(command: str) -> None:
    """Raise ExecError for a command that is surely missing or not executable: before anybody waits for a lock."""
    if shutil.which(command) is not None:
        return
    there = Path(command).exists() if os.sep in command else shutil.which(command, os.F_OK) is not None
    raise ExecError(
        command, PermissionError(13, "permission denied") if there else FileNotFoundError(2, "command not found")
    )


class Child:
    """A command that is held back until ``start``.

    Attributes:
        pid: of the command and of its process group.
        status: its exit status as a shell counts it, or None while it has not ended.
        stopped: the signal that stopped it, or None while it runs.

    """

    def __init__(self, argv: Sequence[str]) -> None:
        """Fork. Call it while there is one thread."""
        self.argv = argv
        self.status: int | None = None
        self.stopped: int | None = None
        us = os.getpid()
        told, self._go = os.pipe()
        self._failure, failing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become(argv, us=us, told=told, failing=failing, ours=(self._go, self._failure))
        os.close(told)
        os.close(failing)
        with suppress(OSError):  # the child does the same: whoever is first
            os.setpgid(self.pid, self.pid)

    def start(self, env: Mapping[str, str]) -> None:
        """Become the command, with ``env`` added to its environment. Raises ExecError."""
        with suppress(BrokenPipeError):  # somebody killed it while it waited
            os.write(self._go, json.dumps(env).encode() + b"\n")
        number = b""
        while part := os.read(self._failure, 64):  # ends when the exec succeeds
            number += part
        if number:
            self._wait()
            error = int(number)
            raise ExecError(self.argv[0], OSError(error, os.strerror(error)))

    def abandon(self) -> None:
        """End it before it has become anything. Harmless after ``start``."""
        os.close(self._go)
        os.close(self._failure)
        if self.status is None:
            self._wait()

    def _wait(self) -> None:
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.status = NOT_FOUND

    def reap(self) -> None:
        """Take notice of what happened to it; as PID 1, also of everyone's orphans."""
        everyone = os.getpid() == 1
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1 if everyone else self.pid, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    return
                if pid == self.pid:
                    self._note(status)

    def _note(self, status: int) -> None:
        if os.WIFSTOPPED(status):
            self.stopped = os.WSTOPSIG(status)
        elif os.WIFSIGNALED(status):
            self.status = SIGNAL + os.WTERMSIG(status)
        else:
            self.status = os.WEXITSTATUS(status)

    def signal(self, number: int) -> bool:
        """Send a signal to the whole group; return whether there is anyone left in it."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # a member has become another user's: it is there
            return True
        return True

    def resume(self) -> None:
        """Let a stopped group go on."""
        self.stopped = None
        self.signal(signal.SIGCONT)

    def group_is_alive(self) -> bool:
        """Tell whether any process of the group still runs; a zombie that nobody reaps does not."""
        if not self.signal(0):
            return False
        states = _states_in_group(self.pid)
        return states is None or bool(states - {"Z", "X"})


def _states_in_group(group: int) -> set[str] | None:
    """Return the states of a process group's members as /proc has them; None where there is none."""
    found = set()
    try:
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return None
    for entry in entries:
        with suppress(OSError):  # gone meanwhile
            state, _, member_of = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(member_of) == group:
                found.add(state)
    return found or None


def _become(
    argv: Sequence[str], *, us: int, told: int, failing: int, ours: tuple[int, int]
) -> NoReturn:  # pragma: no cover - runs in a process that ends without a report
    """Wait for the word, then become the command. Runs in the child and never returns."""
    try:
        for descriptor in ours:
            os.close(descriptor)
        os.setpgid(0, 0)
        _die_with(us)
        word = b""
        while not word.endswith(b"\n"):
            part = os.read(told, 65_536)
            if not part:
                os._exit(0)  # it came to nothing
            word += part
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], list(argv), {**os.environ, **json.loads(word)})  # noqa: S606 - the user's own command
    except OSError as error:
        os.write(failing, str(error.errno).encode())
    finally:
        os._exit(NOT_FOUND)


def _die_with(parent: int) -> None:  # pragma: no cover - runs in the child
    """Have the kernel kill this process when ``parent`` ends, however."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - in the child alone

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        os._exit(0)
