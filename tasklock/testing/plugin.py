"""The pytest plugin: fixture `tasklock_api`. Imports nothing before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .server import ApiServer


@pytest.fixture
def tasklock_api() -> Iterator[ApiServer]:
    """Run an embedded API server for one test: `LockClient(kubeconfig=tasklock_api.kubeconfig)`."""
    from .server import ApiServer  # noqa: PLC0415 - aiohttp only for those who use it

    with ApiServer() as api:
        yield api
