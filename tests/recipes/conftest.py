"""The recipes as their readers run them: programs of their own, on the embedded and on the real API server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contract.place import Place, real_place
from recipes.children import RECIPES, Child
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recipes.children import Start

sys.path.append(str(RECIPES))


@pytest.fixture
def embedded() -> Iterator[Place]:
    """Give a place on an embedded server of the test's own."""
    with (
        ApiServer(namespace="recipes") as server,
        Place(
            kubeconfig=server.kubeconfig, admin_kubeconfig=server.kubeconfig, namespace="recipes", server=server
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
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a program that locks in the test's place, in the test's folder."""
    place: Place = request.getfixturevalue("place" if "place" in request.fixturenames else "embedded")
    folder = Path(sys.executable).parent
    env = os.environ | {
        "KUBECONFIG": place.kubeconfig,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
    }
    env.pop("TASKLOCK_NAMESPACE", None)
    children: list[Child] = []

    def start(*command: str | Path, **more: Any) -> Child:
        said = tmp_path / f"said-{len(children)}"
        children.append(Child([str(word) for word in command], said, env=env | more, cwd=tmp_path))
        return children[-1]

    yield start
    for child in children:
        child.kill()
