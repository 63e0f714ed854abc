"""Hostile input for whatever parses any: nothing but our errors comes out, in bounded memory, and no secret with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = os.environ.get("TASKLOCK_FUZZ_EXAMPLES")  # how many, each time others; else the same few

settings.register_profile(
    "fuzz",
    derandomize=EXAMPLES is None,
    deadline=None,  # a busy machine is no bug
    max_examples=int(EXAMPLES or 40),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fuzz")


@pytest.fixture(autouse=True)
def _profile() -> Iterator[None]:
    """Use it for these tests, and for no others of the same run."""
    before = settings.get_current_profile_name()
    settings.load_profile("fuzz")
    yield
    settings.load_profile(before)
