"""Huey's own tests, as its package ships them, with every lock a Lease on the real API server."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from huey.tests import base, test_api, test_consumer, test_immediate, test_signals

from contract.place import Place, real_place
from tasklock.contrib.huey import with_kubernetes_locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huey.api import Huey

    from cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

_number = count()


@pytest.fixture(scope="module")
def grounds(control_plane: ControlPlane) -> Iterator[Place]:
    with real_place(control_plane, control_plane.create_namespace()) as grounds:
        yield grounds


class OnLeases(base.BaseTestCase):
    """Huey's base of a test, whose Huey is one of ours."""

    grounds: Place

    @pytest.fixture(autouse=True)
    def _use(self, grounds: Place) -> None:
        self.grounds = grounds

    def get_huey(self) -> Huey:
        """Return the Huey that the test asks for, its locks in an app of their own."""
        return with_kubernetes_locks(super().get_huey(), self.grounds.client(f"huey-{next(_number)}"))


for _module in (test_api, test_consumer, test_immediate, test_signals):
    for _name, _case in vars(_module).items():
        if isinstance(_case, type) and issubclass(_case, base.BaseTestCase) and _case is not base.BaseTestCase:
            globals()[f"{_module.__name__.rpartition('.')[2]}_{_name}"] = type(_name, (OnLeases, _case), {})
del OnLeases


def test_the_locks_of_hueys_own_tests_are_leases(grounds: Place) -> None:
    case = globals()["test_api_TestTaskLocking"]("test_task_locking")
    case.grounds = grounds
    huey = case.get_huey()
    with huey.lock_task("seen"):
        assert grounds.leases.get(f"{huey.lock_client.app}.seen").status == 200
