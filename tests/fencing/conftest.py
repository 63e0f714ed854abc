"""Storage that checks the token: databases, an HTTP service, and the API server itself."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from fencing.places import EXAMPLES, Fenced
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.control_plane import ControlPlane

sys.path.append(str(EXAMPLES))  # the examples import each other, as scripts do


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give what the example's ``connect`` takes."""
    if request.param == "sqlite":
        return str(tmp_path / "counter.db")
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture(scope="session")
def embedded() -> Iterator[dict[str, str]]:
    """Run the embedded API server; give the environment of programs that lock there."""
    with ApiServer() as api:
        yield {**os.environ, "KUBECONFIG": api.kubeconfig}


@pytest.fixture(scope="session")
def fence(control_plane: ControlPlane) -> Iterator[Fenced]:
    """Apply ``manifests/fence`` to the real API server, for as long as these tests last."""
    with Fenced(control_plane) as fenced:
        yield fenced


@pytest.fixture
def fenced(fence: Fenced, namespace: str) -> Fenced:
    """Give a namespace of the test's own where objects are fenced."""
    return fence.at(namespace)
