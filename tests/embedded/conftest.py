"""A store with a clock that stands still, and a server."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tasklock.testing import ApiServer
from tasklock.testing.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    numbers = itertools.count(1)
    return Store(clock=clock, uids=lambda: f"uid-{next(numbers)}")


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running
