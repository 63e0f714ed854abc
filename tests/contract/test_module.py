"""The functions of the module, on the client that the environment describes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import tasklock
from contract.place import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contract.place import Place


@pytest.fixture
def ambient(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the environment name the place, as a Deployment or a shell does."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", place.kubeconfig)
    monkeypatch.setenv("TASKLOCK_NAMESPACE", place.namespace)
    monkeypatch.setattr(tasklock, "_default", None)
    yield
    if tasklock._default is not None:
        tasklock._default.close()


@pytest.mark.usefixtures("ambient")
def test_the_functions_of_the_module_lock_where_the_environment_says(place: Place) -> None:
    assert not tasklock.is_locked("report")
    with tasklock.lock_task("report") as hold:
        lease = place.lease("report", app="tasklock")
        assert lease["metadata"]["uid"] == hold.uid
        assert lease["metadata"]["namespace"] == place.namespace
        assert tasklock.is_locked("report")
        with pytest.raises(tasklock.TaskLockedException):
            tasklock.lock_task("report").acquire()
        with pytest.raises(tasklock.LockTimeoutError):
            tasklock.lock_task("report", timeout=0.2).acquire(0.2)
    assert not tasklock.is_locked("report")


@pytest.mark.usefixtures("ambient")
def test_a_function_of_the_module_decorates_and_flushes(place: Place) -> None:
    @tasklock.lock_task("report", ttl=7, note="task 7")
    def report() -> str:
        lease = place.lease("report", app="tasklock")
        assert lease["spec"]["leaseDurationSeconds"] == 7
        assert lease["metadata"]["annotations"]["tasklock.dev/note"] == "task 7"
        return "written"

    assert report() == "written"
    place.plant("one", ttl=600, app="tasklock")
    place.plant("two", ttl=600, app="tasklock")
    place.plant("two", ttl=600, app="another-app")
    assert tasklock.flush_locks("one", "never") == {"one"}
    assert tasklock.flush_locks() == {"two"}
    assert place.lease("two", app="another-app") is not None


def test_importing_and_decorating_need_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    module = importlib.import_module("tasklock")
    monkeypatch.setattr(module, "_default", None)

    @tasklock.lock_task("report")
    def report() -> None:
        pytest.fail("nothing was locked")

    with pytest.raises(tasklock.LockApiError, match="set KUBECONFIG"):
        report()


def test_a_program_that_ends_while_it_holds_a_lock_ends_at_once(place: Place) -> None:
    """No thread of the library keeps an interpreter alive; the lock is left to a neighbour, or to expire."""
    program = "import tasklock\ntasklock.lock_task('report', ttl=600).acquire()\nprint('held')\n"
    env = {"KUBECONFIG": place.kubeconfig, "TASKLOCK_NAMESPACE": place.namespace}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "held\n", "")
    assert place.lease("report", app="tasklock") is not None
    client = place.client("tasklock")
    wait_until(lambda: not client.is_locked("report"))
