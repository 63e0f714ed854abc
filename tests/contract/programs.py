"""Programs in processes of their own: a holder that can be told what to do, killed and paused."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal

    from contract.place import Place

HOLDER = Path(__file__).with_name("holder.py")


class Program:
    """A Python program that is told one word a line and tells one JSON object a line."""

    def __init__(self, script: Path, order: dict[str, Any], *, env: dict[str, str] | None = None) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, str(script), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=env,
        )
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def tell(self, word: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{word}\n")

    def hear(self, event: str, *, within: float = 60.0) -> dict[str, Any]:
        """Wait for the program to tell of an event; it has to be the next one."""
        told = self.hear_any(within=within)
        assert told["event"] == event, told
        return told

    def hear_any(self, *, within: float = 60.0) -> dict[str, Any]:
        """Wait for the next event that the program tells of."""
        try:
            return self._told.get(timeout=within)
        except queue.Empty:
            message = f"it told nothing within {within:g} s"
            raise AssertionError(message) from None

    def is_silent(self, *, seconds: float = 0.0) -> bool:
        """Tell whether it has nothing more to say, for so many seconds."""
        try:
            told = self._told.get(timeout=seconds) if seconds else self._told.get_nowait()
        except queue.Empty:
            return True
        self._told.put(told)
        return False

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it by SIGKILL, and reap it: a zombie proves nothing to its neighbours."""
        self._popen.kill()
        self._popen.wait()

    def wait(self, seconds: float = 60.0) -> int:
        return self._popen.wait(seconds)

    def close(self) -> None:
        self.kill()
        self._reader.join()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with suppress(OSError):  # what it was told last, it did not live to read
                    pipe.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._told.put(json.loads(line))


class Programs:
    """Starts programs that lock in one place, and ends them."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def start(self, script: Path, order: dict[str, Any], *, env: dict[str, str] | None = None) -> Program:
        program = Program(script, order, env=env)
        self._ending.callback(program.close)
        return program

    def holder(self, name: str, *, timeout: float | None = 0, **options: Any) -> Program:
        """Start a program that acquires a lock and holds it until it is told otherwise."""
        place = self._place
        client = {"kubeconfig": place.kubeconfig, "namespace": place.namespace, **options}
        return self.start(HOLDER, {"name": name, "timeout": timeout, "client": client})
