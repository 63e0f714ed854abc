"""The contract is kept on the embedded server and on a real one: each test that asks for ``place`` runs on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.place import Place, real_place
from contract.programs import Programs
from contract.proxy import Proxy
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasklock import LockClient


@pytest.fixture
def embedded() -> Iterator[Place]:
    """Give a place on an embedded server of the test's own."""
    with (
        ApiServer(namespace="contract") as server,
        Place(
            kubeconfig=server.kubeconfig,
            admin_kubeconfig=server.kubeconfig,
            namespace=server.namespace,
            server=server,
        ) as place,
    ):
        yield place


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give a place on either server; on the real one, programs have exactly the Role that ``manifests/`` ships."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    with real_place(request.getfixturevalue("control_plane"), request.getfixturevalue("namespace")) as place:
        yield place


@pytest.fixture
def client(place: Place) -> LockClient:
    return place.client()


@pytest.fixture
def other(place: Place) -> LockClient:
    """Give a client of somebody else."""
    return place.client()


@pytest.fixture
def programs(place: Place) -> Iterator[Programs]:
    with Programs(place) as programs:
        yield programs


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    with Proxy(place.leases.rest.url) as proxy:
        yield proxy
