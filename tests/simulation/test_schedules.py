"""Thousands of schedules, each drawn from its seed: none may break a rule, and all that can happen has to happen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulation.judge import BOUND
from simulation.plan import draw
from simulation.shrink import report

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEDULES = int(os.environ.get("TASKLOCK_SIMULATED_SCHEDULES", "3000"))
FIRST = int(os.environ.get("TASKLOCK_SIMULATED_FIRST", "0"))  # the first seed


pytestmark = pytest.mark.timeout(900)  # a busy machine is no bug


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    command = [
        sys.executable,
        str(Path(__file__).parent),
        "--json",
        "--schedules",
        str(SCHEDULES),
        "--first",
        str(FIRST),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_no_schedule_breaks_a_rule(found: dict[str, Any], figure: Callable[[str], None]) -> None:
    """A failure is shown shrunk, with the command that replays it."""
    figure(
        f"simulation: {found['schedules']} schedules from seed {FIRST}, {found['counts']['grants']} acquisitions "
        f"in {found['seconds']:.0f} s"
    )
    assert found["failures"] == [], report(draw(found["failures"][0][0]))


@pytest.mark.parametrize(
    "what",
    [
        "created again by a late copy",
        "ended: by order",
        "ended: dead",
        "ended: expired",
        "ended: given up",
        "ended: released",
        "grants",
        "lost: deleted",
        "lost: expired",
        "lost: overwritten",
        "lost: replaced",
        "refused: CancelledError",
        "refused: InvalidLockError",
        "refused: LockApiError",
        "refused: LockForbiddenError",
        "refused: LockTimeoutError",
        "refused: TaskLockedException",
        "release: gone",
        "release: unanswered",
        "renewed",
    ],
)
def test_it_happens_in_some_of_them(found: dict[str, Any], what: str) -> None:
    """A rule that nothing tries to break proves nothing."""
    assert found["counts"].get(what, 0) > 0


def test_holders_know_first_but_for_clocks_beyond_the_bound(found: dict[str, Any]) -> None:
    """1.1 ttl by a contender's clock against 2/3 ttl by the holder's: up to a ratio of 1.65 the holder is first."""
    assert found["beyond"]
    assert min(found["beyond"]) > BOUND


def test_a_store_that_checks_no_token_loses_writes(found: dict[str, Any]) -> None:
    """The same schedules in which a store that checks them loses nothing."""
    assert found["lost_writes"] > 0
