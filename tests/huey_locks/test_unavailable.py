"""An API server that is away, or that allows too little: no task runs without its lock, and one line tells why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from huey import MemoryHuey
from huey.exceptions import TaskLockedException as HueyTaskLockedException
from huey.signals import SIGNAL_LOCKED

from contract.place import APP, grant_role
from tasklock import LockApiError, LockClient
from tasklock.contrib.huey import TaskLockUnavailable, with_kubernetes_locks
from tasklock.testing import ApiServer, Fault

if TYPE_CHECKING:
    from huey.api import Huey

    from cluster.control_plane import ControlPlane


@pytest.fixture
def away() -> Huey:
    """Give a Huey whose API server is gone."""
    with ApiServer() as server:
        client = LockClient(APP, kubeconfig=server.kubeconfig)
        assert client.locks() == []
        server.fault = lambda *_: Fault(drop="before")
        return with_kubernetes_locks(MemoryHuey(APP), client)


def test_a_task_is_not_run_and_tried_again_as_if_its_lock_were_held(
    away: Huey, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    away.signal()(lambda signal, *_: told.append(signal))

    @away.task(retries=1)
    @away.lock_task("report")
    def report() -> None:
        raise AssertionError

    with caplog.at_level(logging.INFO):
        report()
        away.execute(away.dequeue())
    assert SIGNAL_LOCKED in told
    assert len(away) == 1, "it is not tried again"
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    (line,) = [line for line in warnings if "was lost" not in line]  # a lock that an earlier test left behind
    assert "not run, lock 'report': no answer from the API server" in line
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("what", ["acquire", "is_locked", "clear", "flush_locks"])
def test_whatever_is_asked_of_it_tells_why(away: Huey, what: str) -> None:
    lock = away.lock_task("report")
    ask: dict[str, Any] = {
        "acquire": lock.acquire,
        "is_locked": lock.is_locked,
        "clear": lock.clear,
        "flush_locks": away.flush_locks,
    }
    with pytest.raises(TaskLockUnavailable, match="API server") as caught:
        ask[what]()
    assert isinstance(caught.value, HueyTaskLockedException)
    assert isinstance(caught.value, LockApiError)


@pytest.mark.parametrize("options", [{"flush_locks": True}, {"extra_locks": "a,"}])
def test_a_consumer_that_is_to_flush_by_force_starts_all_the_same(
    away: Huey, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    away.tasklock_force = True
    away.create_consumer(**options)
    assert "no locks were freed: " in caplog.text


def test_a_task_whose_lock_cannot_be_given_back_has_ended_well(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; its lock expires. To raise would run the task once more."""
    with ApiServer() as server:
        huey = with_kubernetes_locks(MemoryHuey(APP), LockClient(APP, kubeconfig=server.kubeconfig, ttl=3))

        @huey.task()
        @huey.lock_task("report")
        def report() -> str:
            server.fault = lambda method, _: Fault(drop="before") if method == "DELETE" else None
            return "done"

        result = report()
        assert huey.execute(huey.dequeue()) == "done"
        assert result() == "done"
    assert "no answer to its release; it frees itself" in caplog.text


def test_a_huey_without_any_configuration_tells_it_at_its_first_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    huey = with_kubernetes_locks(MemoryHuey(APP))
    with pytest.raises(TaskLockUnavailable, match="/nowhere/config"):
        huey.lock_task("report").acquire()


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_a_missing_verb_is_named(
    control_plane: ControlPlane, namespace: str, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    kubeconfig = grant_role(control_plane, namespace, account=f"without-{verb}", without=verb)
    with LockClient(APP, kubeconfig=kubeconfig) as client:
        huey = with_kubernetes_locks(MemoryHuey(APP), client)
        lock = huey.lock_task("report")
        if verb == "create":
            with pytest.raises(TaskLockUnavailable, match="create") as caught:
                lock.acquire()
            assert caught.value.status == 403
        else:
            with lock:
                pass
            assert "may not delete" in caplog.text or "delete" in caplog.text
