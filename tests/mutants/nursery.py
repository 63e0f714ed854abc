"""Runs catchers against mutants: each on a copy of the code of its own, in a process of its own.

The processes are forked from this one, which has loaded everything but the code under test, so that each costs little.
Reads a list of jobs as JSON on stdin, and writes what came of each to stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = {"tasklock": ROOT / "tasklock", "tasklock_operator": ROOT / "operator" / "tasklock_operator"}
PRELOADED = ("aiohttp", "aiohttp.web", "click.testing", "hypothesis", "kubernetes.client",
             "kubernetes.config", "pytest", "rich.table", "trustme", "urllib3", "yaml")  # fmt: skip
AT_ONCE = 2
SCHEDULES = 150  # that a mutant may take to be caught
WILD = 20_000  # events after which one of its schedules runs in circles

Job = dict[str, Any]


def main() -> None:
    jobs: list[Job] = json.load(sys.stdin)
    for name in PRELOADED:
        importlib.import_module(name)
    results: dict[str, Job] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        running: dict[int, tuple[str, Path]] = {}
        for number, job in enumerate(jobs):
            if len(running) == AT_ONCE:
                _collect(running, results)
            place = Path(folder) / str(number)
            running[_start(job, place)] = (job["name"], place)
        while running:
            _collect(running, results)
    json.dump(results, sys.stdout)


def _start(job: Job, place: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        place.mkdir()
        with (place / "output").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            (place / "result").write_text(json.dumps(_examine(job, place)))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it was, this child must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _collect(running: dict[int, tuple[str, Path]], results: dict[str, Job]) -> None:
    child, _ = os.wait()
    name, place = running.pop(child)
    result = place / "result"
    found = json.loads(result.read_text()) if result.exists() else {"broken": True}
    results[name] = found | {"output": (place / "output").read_text()[-4000:]}
    shutil.rmtree(place)


def _examine(job: Job, place: Path) -> Job:
    """Make the mutant, and run what should catch it."""
    for name, source in SOURCES.items():
        shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("*.yaml"))  # caches are good for copies too
    for file, old, new in job["edits"]:
        text = (place / file).read_text()
        if text.count(old) != 1:
            return {"stale": f"{file} has changed: it holds {text.count(old)} times {old!r}"}
        (place / file).write_text(text.replace(old, new))
    os.chdir(place)
    os.environ["PYTHONPATH"] = str(place)
    sys.path[:0] = [str(place), str(ROOT / "tests")]
    found: Job = {"outcomes": _run_tests(job["tests"]) if job["tests"] else {}}
    import tasklock  # noqa: PLC0415 - only now is it the mutant

    if not Path(str(tasklock.__file__)).is_relative_to(place):
        return {"stale": f"it was not the copy that was tested, but {tasklock.__file__}"}
    if job["rules"]:
        found["broke"] = _simulate(tuple(job["habits"]))
    return found


def _run_tests(names: list[str]) -> dict[str, str]:
    """Run tests; return what came of each function: failed if any of its cases failed as such, not in a fixture."""
    import pytest  # noqa: PLC0415 - preloaded

    outcomes: dict[str, str] = {}

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            name = report.nodeid.partition("[")[0]
            if report.failed:
                outcomes[name] = "failed" if report.when == "call" else "broken"
            elif report.when == "call":
                outcomes.setdefault(name, report.outcome)

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what is loaded already cannot be rewritten any more
    options = [
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-p",
        "pytest_timeout",
        "-p",
        "xdist.plugin",
        "-p",
        "tasklock.testing.plugin",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(ROOT),
    ]
    pytest.main([*options, *(str(ROOT / name) for name in names)], plugins=[Listener()])
    return outcomes


def _simulate(habits: tuple[int, ...]) -> Job:
    """Run schedules until a rule is broken; return which one, and by which schedule."""
    from simulation.plan import draw  # noqa: PLC0415 - only now is it the mutant
    from simulation.schedule import run  # noqa: PLC0415

    for seed in range(SCHEDULES):
        plan = replace(draw(seed), wild=WILD)
        plan = replace(plan, habits=habits) if habits else plan
        for violation in run(plan).violations:
            return {"rule": violation.partition(":")[0], "what": violation, "seed": seed}
    return {"rule": ""}


if __name__ == "__main__":
    main()
