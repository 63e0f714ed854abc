"""The public surface: a sorted list, and cheap to import."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tasklock
import tasklock.testing

ROOT = Path(tasklock.__file__).parent.parent

PUBLIC = [
    "Hold",
    "InvalidLockError",
    "LockApiError",
    "LockClient",
    "LockForbiddenError",
    "LockInfo",
    "LockLostError",
    "LockTimeoutError",
    "Loss",
    "TaskLock",
    "TaskLockError",
    "TaskLockedException",
    "flush_locks",
    "is_locked",
    "lock_task",
]


def python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "COVERAGE_PROCESS_START": ""},
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_public_names() -> None:
    assert sorted(PUBLIC) == PUBLIC == tasklock.__all__


def test_every_public_name_is_there_documented_and_our_own() -> None:
    for name in tasklock.__all__:
        member = getattr(tasklock, name)
        assert member.__module__.split(".")[0] == "tasklock"
        assert inspect.getdoc(member)


def test_nothing_else_looks_public() -> None:
    extra = {
        name
        for name, thing in vars(tasklock).items()
        if not name.startswith("_") and name not in PUBLIC and not inspect.ismodule(thing)
    }
    assert extra <= {"TYPE_CHECKING", "annotations"}


@pytest.mark.parametrize("thing", [tasklock.LockClient, tasklock.TaskLock, tasklock.Hold, tasklock.Loss])
def test_every_public_method_is_documented(thing: type) -> None:
    for name, member in vars(thing).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            assert inspect.getdoc(member), name


@pytest.mark.parametrize("thing", [tasklock.LockClient, tasklock.TaskLock, tasklock.lock_task])
def test_all_but_the_name_of_the_lock_is_keyword_only(thing: type) -> None:
    for name, parameter in inspect.signature(thing).parameters.items():
        if name not in {"app", "client", "name"}:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = [
        "kubernetes",
        "urllib3",
        "aiohttp",
        "asyncio",
        "click",
        "rich",
        "yaml",
        "kopf",
        "ssl",
        "http.client",
        "multiprocessing",
    ]
    out = python(f"import sys, tasklock; print([name for name in {heavy} if name in sys.modules])", "-I")
    assert out == "[]\n"


def test_making_a_client_and_a_lock_imports_nothing_heavy_either() -> None:
    code = (
        "import sys, tasklock\n"
        "lock = tasklock.LockClient(app='a').lock_task('x')\n"
        "lock(lambda: None)\n"
        "print([name for name in ('kubernetes', 'urllib3', 'asyncio', 'yaml', 'ssl') if name in sys.modules])"
    )
    assert python(code, "-I") == "[]\n"


def test_the_testing_package_costs_nothing_until_a_server_is_asked_for() -> None:
    assert python("import sys, tasklock.testing; print('aiohttp' in sys.modules)", "-I") == "False\n"
    assert tasklock.testing.__all__ == sorted(tasklock.testing.__all__)


def test_a_fresh_interpreter_in_the_repository_root_works() -> None:
    """A package named like one of the standard library's, in the root, would shadow it there."""
    code = "import operator, secrets, collections, tasklock, random; print(operator.add(1, 2), operator.__file__)"
    out = python(code, cwd=ROOT)
    assert out.startswith("3 ")
    assert str(ROOT) not in out.replace(str(ROOT / ".venv"), "")
    stray = [
        entry.name for entry in ROOT.iterdir() if entry.stem in sys.stdlib_module_names and entry.name != "operator"
    ]
    assert not stray


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version  # noqa: PLC0415

    assert tasklock.__version__ == version("tasklock")
