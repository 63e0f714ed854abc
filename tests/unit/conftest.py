"""One embedded server for all tests of holds, threads and processes; each test has names of its own."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tasklock import LockClient
from tasklock.naming import lease_name
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasklock.keeper import Keeper

settings.register_profile("unhurried", deadline=None)  # a busy machine is no bug
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def running() -> Iterator[ApiServer]:
    with ApiServer() as api:
        yield api


@pytest.fixture
def api(running: ApiServer) -> Iterator[ApiServer]:
    running.requests.clear()
    yield running
    running.fault, running.latency = None, 0.0


@pytest.fixture
def client(api: ApiServer) -> Iterator[LockClient]:
    with LockClient(kubeconfig=api.kubeconfig, ttl=30) as client:
        yield client


@pytest.fixture
def other(api: ApiServer) -> Iterator[LockClient]:
    """Make a second client, as another process would have it."""
    with LockClient(kubeconfig=api.kubeconfig, ttl=30, announce_process=False) as client:
        yield client


@pytest.fixture
def made(api: ApiServer, name: str) -> Callable[[], list[str]]:
    """Return the methods of the requests for this test's lock, without the looks after what earlier tests abandoned."""
    lease = lease_name("tasklock", name)
    return lambda: [one.method for one in api.requests if one.method == "POST" or lease in one.path]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name a lock that no other test uses."""
    return str(request.node.name)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="tasklock")


def our_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("tasklock-") and "api-server" not in one.name]


def threads_of(keeper: Keeper) -> list[threading.Thread]:
    """Return the threads of one keeper: those of earlier tests still look after what was abandoned there."""
    return [one for one in our_threads() if getattr(getattr(one, "_target", None), "__self__", None) is keeper]


def eventually(condition: Callable[[], object], *, within: float = 5.0) -> bool:
    """Wait until ``condition()`` is true; tell whether it came true."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
