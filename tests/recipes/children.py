"""Programs that a test starts, listens to, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from contract.place import wait_until

RECIPES: Final = Path(__file__).parents[2] / "examples" / "recipes"
PATIENCE: Final = 60.0  # seconds; the machine may be busy

Start = Callable[..., "Child"]


class Child:
    """A program in a process group of its own, which writes to a file."""

    def __init__(self, command: list[str], said: Path, *, env: dict[str, str], cwd: Path) -> None:
        self._file = said
        with said.open("wb") as file:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._file.read_text()

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    def until_said(self, text: str, *, times: int = 1) -> None:
        self.until(lambda: self.said.count(text) >= times, f"it said {text!r} {times} x")

    def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            wait_until(condition, within=PATIENCE, every=0.02)
        except AssertionError:
            pytest.fail(f"in vain waited until {what}; it said:\n{self.said}")

    def status(self) -> int:
        """Wait for its end."""
        return self.popen.wait(PATIENCE)

    def end(self) -> int:
        """Stop it as a kubelet does."""
        self.popen.terminate()
        return self.status()

    def kill(self) -> None:
        """End it and all that it started; a zombie would prove nothing to its neighbours."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
