"""A real Celery worker in a process group of its own, and what its tasks told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from celery import Celery
from celery.states import READY_STATES, SUCCESS

from contract.place import wait_until

if TYPE_CHECKING:
    from contract.place import Place

PATIENCE = 60.0  # seconds for anything to come true


class Sent:
    """A task that was sent. Asks for its state by a plain GET: Celery's own results leave subscriptions behind."""

    def __init__(self, task_id: str, worker: Worker) -> None:
        self.id = task_id
        self._worker = worker

    def came_to(self, *states: str) -> Any:
        """Wait until the task is in one of these states; return what is known of it then: a value or an error."""
        return self._once_in(*states)["result"]

    def get(self) -> Any:
        """Wait for the task's value; raises what it raised."""
        meta = self._once_in(*READY_STATES)
        if meta["status"] != SUCCESS:
            raise meta["result"]
        return meta["result"]

    def _once_in(self, *states: str) -> Any:
        found: list[Any] = []

        def look() -> bool:
            found[:] = [self._worker.results.get_task_meta(self.id)]
            return found[0]["status"] in states

        wait_until(look, within=PATIENCE)
        return found[0]


class Worker:
    """Runs ``tasks.py`` with two processes, or in another pool; its locks are in ``place``."""

    def __init__(self, place: Place, redis_socket: str, folder: Path, *, pool: str = "prefork", **env: str) -> None:
        self.place = place
        self.folder = folder
        self.pool = pool
        url = f"redis+socket://{redis_socket}"
        self.app = Celery("tests", broker=url, set_as_current=False)
        self._reader = Celery("tests", backend=url, set_as_current=False)
        self.results = self._reader.backend
        self._env = os.environ | {
            "REDIS_SOCKET": redis_socket,
            "FOLDER": str(folder),
            "KUBECONFIG": place.kubeconfig,
            "TASKLOCK_NAMESPACE": place.namespace,
            **env,
        }

    def __enter__(self) -> Self:
        self.results.client.flushall()
        options = ["--loglevel=INFO", f"--pool={self.pool}", "--concurrency=2", "--hostname=under-test@localhost"]
        with (self.folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tasks", "worker", *options, "--without-mingle"],
                env=self._env,
                cwd=Path(__file__).parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(lambda: "ready." in self.log() or self._popen.poll() is not None, within=PATIENCE)
            assert self._popen.poll() is None, self.log()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self.app.close()
        self.results.client.connection_pool.disconnect()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def send(self, task: str, *args: object, **options: Any) -> Sent:
        return self.sent(self.app.send_task(f"tasks.{task}", args, **options).id)

    def sent(self, task_id: str) -> Sent:
        return Sent(task_id, self)

    def open(self, gate: str) -> None:
        (self.folder / gate).touch()

    def journal(self, *names: str) -> list[dict[str, Any]]:
        """Return what the tasks of these names told so far."""
        with suppress(FileNotFoundError):
            entries = [json.loads(line) for line in (self.folder / "journal").read_text().splitlines()]
            return [entry for entry in entries if entry["name"].startswith(names)]
        return []

    def started(self, name: str, *, times: int = 1) -> dict[str, Any]:
        """Wait until a task started; return what it told then."""
        wait_until(lambda: len(self._starts(name)) >= times, within=PATIENCE)
        return self._starts(name)[times - 1]

    def has_run(self, name: str) -> bool:
        return bool(self.journal(name))

    def is_free(self, lock: str) -> bool:
        return self.place.lease(lock, app="shop") is None

    def never_overlapped(self, *names: str, killed: bool = False) -> bool:
        """Tell whether of these tasks each ended, or was killed, before the next started; and tokens grew."""
        told = sorted(self.journal(*names), key=lambda entry: entry["at"])
        starts = [entry for entry in told if entry["event"] == "start"]
        assert all(before["token"] < after["token"] for before, after in pairwise(starts)), told
        return killed or [entry["event"] for entry in told] == ["start", "end"] * len(starts)

    def _starts(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.journal(name) if entry["event"] == "start"]
