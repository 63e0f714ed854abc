"""The command line as its users have it: programs of their own, on the embedded and on the real API server."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tasklock import LockClient, LockInfo
from tasklock.cli.commands import cli
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.control_plane import ControlPlane

PATIENCE = 60.0


@dataclass
class Tasklock:
    """`tasklock` in one namespace: `start` and `__call__` as a process, `invoke` in this one."""

    kubeconfig: str
    namespace: str
    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @staticmethod
    def until(condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; the machine may be busy."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"in vain waited until {what}"
            time.sleep(0.02)

    @staticmethod
    def command(*args: str) -> list[str]:
        return [sys.executable, "-m", "tasklock", *args]

    def python(self, source: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, env=self.env)

    def copy(self, kubeconfig: str) -> Path:
        """Copy a kubeconfig that goes with its server."""
        path = self.folder / f"kubeconfig-{len(list(self.folder.iterdir()))}"
        path.write_text(Path(kubeconfig).read_text())
        return path

    def start(self, *args: str, stdin: int | IO[str] = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*args),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
        )
        self.running.append(process)
        return process

    def __call__(self, *args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, stdin=subprocess.PIPE)
        out, err = process.communicate(text, timeout=120)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def invoke(self, *args: str) -> Result:
        return CliRunner().invoke(cli, ["--kubeconfig", self.kubeconfig, "-n", self.namespace, *args])

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": self.kubeconfig, "TASKLOCK_NAMESPACE": self.namespace}

    def client(self, app: str = "tasklock") -> LockClient:
        return LockClient(app, kubeconfig=self.kubeconfig, namespace=self.namespace)

    def held(self) -> list[LockInfo]:
        with self.client() as client:
            return client.locks(all_apps=True)

    def wait_for_lock(self) -> LockInfo:
        """Wait until a lock is held, and return it."""
        found: list[LockInfo] = []
        self.until(lambda: found.extend(self.held()) or found, "somebody held a lock")
        return found[0]


def _tasklock(kubeconfig: object, namespace: str, folder: Path) -> Iterator[Tasklock]:
    found = Tasklock(str(kubeconfig), namespace, folder)
    yield found
    for process in found.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def tasklock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasklock]:
    """`tasklock` on an embedded server of its own."""
    with ApiServer() as api:
        yield from _tasklock(api.kubeconfig, "default", tmp_path_factory.mktemp("tasklock"))


@pytest.fixture
def real_tasklock(
    control_plane: ControlPlane, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tasklock]:
    """`tasklock` in a namespace of its own on the real API server."""
    yield from _tasklock(control_plane.kubeconfig, namespace, tmp_path_factory.mktemp("tasklock"))


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def either(request: pytest.FixtureRequest) -> Tasklock:
    """`tasklock` on the embedded and on the real API server: what is true of both."""
    found: Tasklock = request.getfixturevalue("tasklock" if request.param == "embedded" else "real_tasklock")
    return found


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what the command line does to the library's log, which other tests read."""
    log = logging.getLogger("tasklock")
    before = (log.handlers[:], log.level, log.propagate)
    yield
    log.handlers[:], log.level, log.propagate = before
