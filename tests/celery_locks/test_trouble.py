"""No task runs without its lock: the API server is away, or says no. And in pools of other kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.worker import PATIENCE, Worker
from contract.place import Place, grant_role, wait_until
from tasklock import LockApiError, LockForbiddenError, TaskLockedException

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.control_plane import ControlPlane


def test_without_an_api_server_no_task_runs_and_each_comes_back(
    embedded: Place, redis_socket: str, tmp_path: Path
) -> None:
    server = embedded.server
    assert server is not None
    server.stop()
    try:
        with Worker(embedded, redis_socket, tmp_path) as worker:
            results = [worker.send("comes_back_soon", str(number), f"away {number}") for number in range(3)]
            for result in results:
                assert isinstance(result.came_to("RETRY"), LockApiError)
            wait_until(lambda: worker.log().count("did not run") >= 4, within=PATIENCE)
            assert not worker.has_run("away")
            server.start()
            assert [result.get() for result in results] == ["away 0", "away 1", "away 2"]
            lines = [line for line in worker.log().splitlines() if "did not run" in line]
    finally:
        server.start()
    assert all("WARNING" in line and "comes back in 1 s: lock 'user " in line for line in lines)
    assert "Traceback" not in worker.log()


def test_without_a_verb_the_log_says_which_and_the_task_comes_back(
    control_plane: ControlPlane, redis_socket: str, tmp_path: Path
) -> None:
    namespace = control_plane.create_namespace()
    place = Place(
        kubeconfig=grant_role(control_plane, namespace, account="half", without="create"),
        admin_kubeconfig=control_plane.kubeconfig,
        namespace=namespace,
    )
    with place, Worker(place, redis_socket, tmp_path, pool="solo") as worker:
        result = worker.send("skipped", "role", "role 1")
        assert LockForbiddenError.__name__ in repr(result.came_to("RETRY"))
        (line,) = [line for line in worker.log().splitlines() if "did not run" in line]
        assert "may not create leases here: bind the Role tasklock-client" in line
        assert not worker.has_run("role 1")
        assert "Traceback" not in worker.log()


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_locks_work_in_a_pool_of_threads_and_without_a_pool(
    embedded: Place, redis_socket: str, tmp_path: Path, pool: str
) -> None:
    with Worker(embedded, redis_socket, tmp_path, pool=pool) as worker:
        with embedded.client("shop").lock_task("user pool"):
            refused = worker.send("comes_back_soon", "pool", "pool 1")
            assert isinstance(refused.came_to("RETRY"), TaskLockedException)
            assert worker.send("skipped", "pool", "pool 2").get() is None
        results = [worker.send("waiting", "pool", f"pool {number}") for number in range(3, 7)]
        assert [result.get() for result in (refused, *results)] == [f"pool {number}" for number in (1, 3, 4, 5, 6)]
        assert worker.never_overlapped("pool ")
