"""The same leases on two servers: the embedded one and a real kube-apiserver."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from cluster.leases import Leases
from cluster.rest import Rest
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.control_plane import ControlPlane


@pytest.fixture(scope="session")
def embedded() -> Iterator[Rest]:
    with ApiServer() as server:
        yield Rest.from_kubeconfig(server.kubeconfig)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def api(request: pytest.FixtureRequest) -> Leases:
    """Leases in a namespace of the test's own, on either server: what is true of both."""
    if request.param == "real":
        leases: Leases = request.getfixturevalue("real")
        return leases
    rest: Rest = request.getfixturevalue("embedded")
    name = f"test-{secrets.token_hex(4)}"
    made = rest.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.status == 201, made
    return Leases(rest, name)


@pytest.fixture
def real(control_plane: ControlPlane, namespace: str) -> Leases:
    """Leases on the real API server: what only that one can show."""
    return Leases(control_plane.rest, namespace)
