"""Operators under test: processes of their own, against the real API server, with exactly the rules they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reaping.running import Grounds, Operator, bind
from tasklock_operator.book import Book

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.control_plane import ControlPlane


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Run one operator for the whole cluster, for all tests of a module."""
    home = control_plane.create_namespace("operator")
    kubeconfig = bind(control_plane, "operator", home)
    with Operator(kubeconfig, tmp_path_factory.mktemp("operator")) as operator:
        yield operator.ready()


@pytest.fixture
def grounds(control_plane: ControlPlane, namespace: str) -> Grounds:
    return Grounds(control_plane.rest, namespace)
