"""What goes wrong around a lock, on the real API server unless a test says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.place import Place, real_place
from contract.programs import Programs
from faults.toxics import Toxiproxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.control_plane import ControlPlane
    from tasklock import LockClient


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Iterator[Place]:
    """Give a namespace of the real API server; programs have exactly the Role that ``manifests/`` ships."""
    with real_place(control_plane, namespace) as place:
        yield place


@pytest.fixture
def client(place: Place) -> LockClient:
    return place.client()


@pytest.fixture
def other(place: Place) -> LockClient:
    return place.client()


@pytest.fixture
def programs(place: Place) -> Iterator[Programs]:
    with Programs(place) as programs:
        yield programs


@pytest.fixture(scope="module")
def toxics(toxiproxy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toxiproxy]:
    with Toxiproxy(toxiproxy, tmp_path_factory.mktemp("toxiproxy")) as running:
        yield running
