"""Celery's locks: in this process on an embedded server, and in real workers on either server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.worker import Worker
from contract.place import Place, real_place
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give a place on either server; on the real one, workers have exactly the Role that ``manifests/`` ships."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    control_plane = request.getfixturevalue("control_plane")
    with real_place(control_plane, control_plane.create_namespace()) as place:
        yield place


@pytest.fixture(scope="module")
def embedded() -> Iterator[Place]:
    with (
        ApiServer(namespace="celery") as server,
        Place(
            kubeconfig=server.kubeconfig,
            admin_kubeconfig=server.kubeconfig,
            namespace=server.namespace,
            server=server,
        ) as place,
    ):
        yield place


@pytest.fixture(scope="module")
def worker(place: Place, redis_socket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Give a worker with two processes, for all tests of a module; each test uses locks of its own."""
    with Worker(place, redis_socket, tmp_path_factory.mktemp("worker")) as worker:
        yield worker
