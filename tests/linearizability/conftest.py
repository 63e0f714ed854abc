"""Real runs on the real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.place import Place, real_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.control_plane import ControlPlane


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Iterator[Place]:
    with real_place(control_plane, namespace) as place:
        yield place
