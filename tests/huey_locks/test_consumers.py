"""Real consumers, with a real Redis or with SQLite: killed in the middle, contending, started with ``-f``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from contract.place import Place, wait_until
from tasklock.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
FOREVER = "/nowhere"
TTL = 3


class Line(NamedTuple):
    what: str
    name: str
    pid: int
    at: float


class Consumer:
    """A ``huey_consumer`` of one worker, in a process group of its own."""

    def __init__(self, log: Path, environment: dict[str, str], *options: str) -> None:
        self.log = log
        program = Path(sys.executable).with_name("huey_consumer")
        command = [program, "app.huey", "-w", "1", "-d", "0.05", "-m", "0.2", "-c", "1", *options]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=HERE,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self, words: str) -> int:
        """Count the lines with these words."""
        return sum(words in line for line in self.log.read_text().splitlines())

    def kill(self) -> None:
        """End it and its workers by SIGKILL, as a node does that loses its power."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(30)

    def stop(self) -> int:
        """Ask it to finish what it does and end; return its exit status."""
        self._popen.send_signal(signal.SIGINT)
        return self._popen.wait(60)


class Application:
    """The application of app.py: its consumers, its journal, and a shell to enqueue tasks from."""

    def __init__(self, place: Place, storage: str, folder: Path, ending: ExitStack) -> None:
        self._folder = folder
        self._ending = ending
        self.journal = folder / "journal"
        self.environment = {
            **os.environ,
            "JOURNAL": str(self.journal),
            "KUBECONFIG": place.kubeconfig,
            "NODE": "apart",
            "PYTHONPATH": str(HERE),
            "STORAGE": storage,
            "TASKLOCK_NAMESPACE": place.namespace,
            "TTL": str(TTL),
        }

    def consumer(self, name: str, *options: str, **environment: str) -> Consumer:
        consumer = Consumer(self._folder / f"{name}.log", {**self.environment, **environment}, *options)
        self._ending.callback(consumer.kill)
        wait_until(lambda: consumer.said("Huey consumer started"), within=60)
        return consumer

    def shell(self, code: str, **environment: str) -> str:
        """Run a line of Python in the application, as a web process would; return what it printed."""
        command = [sys.executable, "-c", f"from app import *; {code}"]
        environment = {**self.environment, **environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def lines(self) -> list[Line]:
        text = self.journal.read_text() if self.journal.exists() else ""
        fields = [line.split(" ") for line in text.splitlines()]
        return [Line(what, name, int(pid), float(at)) for what, name, pid, at in fields]

    def happened(self) -> list[str]:
        return [f"{line.what} {line.name}" for line in self.lines()]


@pytest.fixture(params=["redis", "sqlite"])
def application(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Iterator[Application]:
    storage = str(tmp_path / "huey.db")
    if request.param == "redis":
        storage = f"unix://{request.getfixturevalue('redis_socket')}"
    with ExitStack() as ending:
        application = Application(place, storage, tmp_path, ending)
        application.shell("huey.flush()")
        yield application


on_the_real_api_server = pytest.mark.parametrize(
    "place", [pytest.param("real", marks=pytest.mark.cluster)], indirect=True
)
on_the_embedded_server = pytest.mark.parametrize("place", ["embedded"], indirect=True)


@pytest.mark.slow
@on_the_real_api_server
@pytest.mark.parametrize(
    ("application", "worker"), [("redis", "process"), ("sqlite", "thread")], indirect=["application"]
)
def test_of_two_consumers_on_two_nodes_the_second_goes_on_when_the_first_is_killed(
    application: Application, worker: str, figure: Callable[[str], None]
) -> None:
    first = application.consumer("first", "-k", worker)
    application.shell(f"critical('one', {FOREVER!r})")
    wait_until(lambda: application.happened() == ["begin one"], within=60)
    second = application.consumer("second", "-k", worker)
    application.shell("critical('two'); critical('three')")
    wait_until(lambda: second.said("not run, lock 'critical' is held"), within=60)
    time.sleep(1.5 * TTL)  # it is renewed: nothing happens
    assert application.happened() == ["begin one"]
    first.kill()
    killed = time.monotonic()
    wait_until(lambda: len(application.happened()) == 5, within=60)
    begin, *rest = application.lines()[1:]
    assert begin.at > killed
    took = begin.at - killed
    figure(f"a huey consumer ({worker}) killed, ttl {TTL} s, no operator: the next task began {took:.1f} s later")
    assert [line.what for line in (begin, *rest)] == ["begin", "end", "begin", "end"], "two ran at once"
    assert {line.name for line in rest} == {"two", "three"}
    assert second.said("Traceback") == 0
    assert second.stop() == 0


@pytest.mark.slow
@on_the_embedded_server
def test_a_killed_worker_process_gives_its_lock_to_the_one_that_takes_its_place(application: Application) -> None:
    """On the same machine its death is seen, whatever the ttl."""
    application.environment |= {"NODE": "shared", "TTL": "86400"}
    consumer = application.consumer("only", "-k", "process")
    application.shell(f"critical('one', {FOREVER!r}); critical('two')")
    wait_until(application.happened, within=60)
    os.kill(application.lines()[0].pid, signal.SIGKILL)
    wait_until(lambda: application.happened() == ["begin one", "begin two", "end two"], within=60)
    assert consumer.stop() == 0


@pytest.mark.slow
@on_the_embedded_server
@pytest.mark.parametrize("application", ["redis"], indirect=True)
def test_a_consumer_that_starts_with_f_frees_what_the_dead_left_and_no_live_lock(
    application: Application, place: Place, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    first = application.consumer("first")
    application.shell(f"critical('one', {str(go_on)!r})")
    wait_until(application.happened, within=60)
    place.plant("left", ttl=1, app="application")
    time.sleep(2.5)  # until it looks stale
    second = application.consumer("second", "-f", "-L", "critical,left")
    application.shell("critical('two')")
    wait_until(lambda: second.said("freed the locks that dead workers left: 'left'"), within=60)
    wait_until(lambda: second.said("not run, lock 'critical' is held"), within=60)
    assert application.happened() == ["begin one"]
    go_on.touch()
    wait_until(lambda: application.happened() == ["begin one", "end one", "begin two", "end two"], within=60)
    for consumer in (first, second):
        assert consumer.stop() == 0


@pytest.mark.slow
@on_the_embedded_server
@pytest.mark.parametrize("application", ["redis"], indirect=True)
def test_a_consumer_that_starts_with_f_frees_at_once_what_a_dead_neighbour_left(
    application: Application, place: Place
) -> None:
    application.environment |= {"NODE": "shared", "TTL": "86400"}
    first = application.consumer("first")
    application.shell(f"critical('one', {FOREVER!r})")
    wait_until(application.happened, within=60)
    first.kill()
    assert place.lease("critical", app="application") is not None
    second = application.consumer("second", "-f")
    wait_until(lambda: place.lease("critical", app="application") is None, within=60)
    wait_until(lambda: second.said("freed the locks that dead workers left: 'critical'"), within=60)


@pytest.mark.slow
@on_the_embedded_server
@pytest.mark.parametrize("application", ["redis"], indirect=True)
def test_forced_it_frees_live_locks_too_as_huey_does(application: Application, place: Place) -> None:
    application.consumer("first")
    application.shell(f"critical('one', {FOREVER!r})")
    wait_until(application.happened, within=60)
    second = application.consumer("second", "-f", FORCE="1")
    assert second.said("Found stale locks: critical")
    assert place.lease("critical", app="application") is None


@pytest.mark.slow
@on_the_embedded_server
def test_contended_periodic_tasks_are_skipped_and_leave_no_result(application: Application, place: Place) -> None:
    with place.client("application").lock_task("tick"):
        consumer = application.consumer("only")
        application.shell("[huey.enqueue(tick.s()) for _ in range(3)]")
        wait_until(lambda: consumer.said("not run, lock 'tick' is held") == 3, within=60)
        assert application.shell("print(huey.result_count())") == "0"
        assert application.happened() == []
        assert consumer.said("Traceback") == 0
    application.shell("huey.enqueue(tick.s())")
    wait_until(lambda: application.happened() == ["begin tick"], within=60)


@pytest.mark.slow
@on_the_embedded_server
@pytest.mark.parametrize("application", ["redis"], indirect=True)
def test_a_consumer_starts_without_an_api_server_and_works_when_it_is_there(
    application: Application, place: Place
) -> None:
    """No task runs without its lock; one line each time says why."""
    away: Any = place.server
    away.fault = lambda *_: Fault(drop="before")
    consumer = application.consumer("only", "-f")
    application.shell("critical('one')")
    wait_until(lambda: consumer.said("not run, lock 'critical': no answer from the API server") >= 2, within=60)
    assert consumer.said("no look was taken at the locks that dead workers may have left") == 1
    assert consumer.said("Traceback") == 0
    assert application.happened() == []
    away.fault = None
    wait_until(lambda: application.happened() == ["begin one", "end one"], within=60)
    assert consumer.stop() == 0
