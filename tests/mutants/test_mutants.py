"""Every known bug, put into our code, is caught: by the tests that say so, and by the simulation."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mutants.mutants import MUTANTS, Mutant

pytestmark = pytest.mark.timeout(600)  # a busy machine is no bug

NURSERY = Path(__file__).with_name("nursery.py")
UNCHANGED = "the code as it is"


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Any]:
    """Examine all mutants at once, and the code as it is with every test that is to catch one."""
    tests = sorted({test for mutant in MUTANTS for test in mutant.tests})
    jobs = [{"name": UNCHANGED, "edits": [], "tests": tests, "rules": []}, *(asdict(mutant) for mutant in MUTANTS)]
    command = [sys.executable, str(NURSERY)]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_lock_that(mutant: Mutant, verdicts: dict[str, Any]) -> None:
    """Is caught: each test named for it fails, by its own assertion, and the simulation breaks the rule."""
    verdict = verdicts[mutant.name]
    assert "stale" not in verdict, verdict["stale"]
    assert "broken" not in verdict, verdict["output"]
    assert verdict["outcomes"] == dict.fromkeys(mutant.tests, "failed"), verdict["output"]
    if mutant.rules:
        assert verdict["broke"]["rule"] in mutant.rules, verdict["broke"]


def test_the_code_as_it_is_passes_all_of_them(verdicts: dict[str, Any]) -> None:
    verdict = verdicts[UNCHANGED]
    assert verdict["outcomes"], verdict["output"]
    assert set(verdict["outcomes"].values()) == {"passed"}, verdict["output"]


def test_no_two_mutants_are_the_same() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)
