"""Hueys whose locks are Leases, on the embedded server and on a real one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from huey import FileHuey, MemoryHuey, PostgresHuey, RedisExpireHuey, RedisHuey, SqliteHuey

from contract.conftest import embedded, other, place  # noqa: F401 - fixtures
from contract.place import APP, Place
from tasklock.contrib.huey import with_kubernetes_locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huey.api import Huey

    from tasklock import LockClient


STORED = ["file", "sqlite", "redis", "redis, results expire", "postgresql"]

os.environ["HUEY_SLOW_TESTS"] = "1"  # read when huey.tests is imported


@pytest.fixture
def huey(place: Place) -> Huey:  # noqa: F811 - the fixture
    """Give a Huey with its locks in the app of the other fixtures."""
    return with_kubernetes_locks(MemoryHuey(APP), place.client())


@pytest.fixture
def client(huey: Huey) -> Huey:
    """Give it under the name that the guide's examples have for what locks."""
    return huey


def make(kind: str, request: pytest.FixtureRequest) -> Huey:
    """Make a Huey with its own locks."""
    folder = request.getfixturevalue("tmp_path")
    match kind:
        case "memory":
            return MemoryHuey(APP)
        case "file":
            return FileHuey(APP, path=str(folder))
        case "sqlite":
            return SqliteHuey(APP, filename=str(folder / "huey.db"))
        case "redis":
            return RedisHuey(APP, url=f"unix://{request.getfixturevalue('redis_socket')}")
        case "redis, results expire":
            return RedisExpireHuey(APP, url=f"unix://{request.getfixturevalue('redis_socket')}")
    return PostgresHuey(APP, dsn=request.getfixturevalue("postgresql"))


@pytest.fixture(params=["memory", *STORED])
def plain(request: pytest.FixtureRequest) -> Iterator[Huey]:
    """Give a Huey of each storage, with its own locks."""
    huey = make(request.param, request)
    huey.flush()
    yield huey
    huey.flush()
    huey.storage.close()


@pytest.fixture(params=STORED)
def two(request: pytest.FixtureRequest) -> Iterator[tuple[Huey, Huey]]:
    """Give two Hueys with their own locks, as two programs would make them, on one storage."""
    one, another = make(request.param, request), make(request.param, request)
    one.flush()
    yield one, another
    one.flush()
    one.storage.close()
    another.storage.close()


@pytest.fixture
def own(embedded: Place) -> LockClient:  # noqa: F811 - the fixture
    """Give a client for a Huey, on the embedded server."""
    return embedded.client()
