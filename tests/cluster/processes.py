"""What starts and stops the programs of a control plane, and leaves nothing behind however we end."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from cluster.build import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05
FOLDER_PREFIX: Final = "tasklock-cluster-"
# Below the range that the kernel gives to outgoing connections. In that range a client that keeps dialling a
# stopped API server's port ends up connected to itself, and the port cannot be bound again.
PORTS: Final = range(15_000, 32_000)

# Runs a program that dies with us, even when we are killed by SIGKILL. (subprocess's preexec_fn would run
# Python in a fork of a process with threads.) 1 is PR_SET_PDEATHSIG.
_TETHER: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that started this one has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""
# The kernel ends a tethered program with the *thread* that started it: start them all from one that stays.
_STARTER: Final = ThreadPoolExecutor(1, thread_name_prefix="control-plane-starter")


class ControlPlaneError(Exception):
    """Raised when the control plane does not do what was asked; the message says why."""


class MachineError(ControlPlaneError):
    """Raised when this machine cannot do it at all; the message is one sentence that says what is missing."""


class Process:
    """One program of the control plane, its output appended to a log."""

    def __init__(self, name: str, log: Path, binary: Path, *args: str) -> None:
        self.name = name
        self.log = log
        tethered = [sys.executable, "-IS", "-c", _TETHER, str(os.getpid()), str(binary), *args]
        with log.open("ab") as output:
            self._popen = _STARTER.submit(_popen, tethered, output).result()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if (status := self._popen.poll()) is not None:
                self._fail(f"ended with status {status} while starting")
            if time.monotonic() > deadline:
                self._fail(f"was not ready within {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """Send a signal and wait; what does not end in time is killed."""
        self._popen.send_signal(number)
        self._popen.send_signal(signal.SIGCONT)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _fail(self, what: str) -> None:
        message = f"{self.name} {what}; the end of its log:\n{tail(self.log)}"
        raise ControlPlaneError(message)


def _popen(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in a terminal is for us, who then stop it in order
    )


@contextmanager
def owned_folder(prefix: str = FOLDER_PREFIX) -> Iterator[Path]:
    """Give a temporary folder, locked while we live; folders whose owner was killed are removed first."""
    parent = Path(tempfile.gettempdir())
    for lock in parent.glob(f"{prefix}*/lock"):
        with suppress(OSError), lock.open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        unlocked = Path(name) / "unlocked"
        with unlocked.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            unlocked.rename(Path(name) / "lock")
            yield Path(name)


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    message = "no free loopback ports"
    raise ControlPlaneError(message)
