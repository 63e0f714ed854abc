"""What users install: the built wheel, on every interpreter here, the oldest with the older ``kubernetes``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["pytest", "pytest-timeout", "hypothesis"]
SUITES = ["tests/unit"]
HUEY_SUITES = [f"tests/huey_locks/test_{name}.py" for name in ("bridge", "classic", "locks", "unavailable")]


def interpreters() -> list[tuple[str, Path]]:
    """Return (minor version, path) of each CPython ≥ 3.11 that is installed here, one a version."""
    homes = [
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions",
        Path(os.environ.get("RUNNER_TOOL_CACHE", "/opt/hostedtoolcache")) / "Python",
        Path.home() / ".local/share/uv/python",
    ]
    candidates = [path for home in homes for path in [*home.glob("*/bin/python3.*"), *home.glob("*/x64/bin/python3.*")]]
    candidates += [Path(folder) / f"python3.{n}" for folder in ("/usr/local/bin", "/usr/bin") for n in range(11, 30)]
    found: dict[int, Path] = {sys.version_info.minor: Path(sys.base_prefix) / "bin" / "python3"}
    for path in sorted(candidates):
        name = re.fullmatch(r"python3\.(\d+)", path.name)
        if name and int(name[1]) >= 11 and path.is_file():
            found.setdefault(int(name[1]), path)
    return [(f"3.{minor}", path) for minor, path in sorted(found.items())]


def combinations() -> list[tuple[str, Path, str]]:
    """Return the oldest interpreter with the generation before, the others with the newest kubernetes."""
    generations = ["kubernetes>=36,<37", "kubernetes>=37,<38"]
    return [(version, path, generations[number > 0]) for number, (version, path) in enumerate(interpreters())]


def run(*command: str | Path, cwd: Path = ROOT, timeout: float = 600) -> str:
    environment = {
        k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH", "COVERAGE_PROCESS_START"}
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(shutil.which("uv") or "uv", "build", "--wheel", "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_library_and_the_operator_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"tasklock/py.typed", "tasklock_operator/py.typed", "tasklock_operator/templates/page.html"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"tasklock", "tasklock_operator"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("python", "kubernetes"),
    [pytest.param(path, kubernetes, id=f"{version}-{kubernetes}") for version, path, kubernetes in combinations()],
)
def test_the_installed_wheel_passes_the_fast_tests(wheel: Path, tmp_path: Path, python: Path, kubernetes: str) -> None:
    uv = shutil.which("uv") or "uv"
    home = tmp_path / "venv"
    run(uv, "venv", "--python", python, home)
    run(uv, "pip", "install", "--python", home / "bin/python", f"{wheel}[cli,testing]", kubernetes, *TOOLS)
    assert "tasklock" in run(home / "bin/tasklock", "--version", cwd=tmp_path)
    assert "Usage" in run(home / "bin/kubectl-tasklock", "ls", "--help", cwd=tmp_path)
    output = run(home / "bin/pytest", "-q", "-m", "not cluster", "-k", "not spawn", "-p", "no:cacheprovider", *SUITES)
    assert re.search(r"\d+ passed", output)


@pytest.mark.slow
def test_the_library_alone_needs_neither_click_nor_rich(wheel: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv") or "uv"
    home = tmp_path / "venv"
    run(uv, "venv", "--python", sys.executable, home)
    run(uv, "pip", "install", "--python", home / "bin/python", wheel)
    run(home / "bin/python", "-c", "import tasklock; tasklock.LockClient('a').lock_task('b')", cwd=tmp_path)
    done = subprocess.run([home / "bin/tasklock", "ls"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "tasklock[cli]" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run([home / "bin/tasklock-operator"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "tasklock[operator]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_locks_work_with_the_oldest_huey_that_is_allowed(wheel: Path, tmp_path: Path) -> None:
    """On the embedded server, with the storages that need no server of their own."""
    uv = shutil.which("uv") or "uv"
    home = tmp_path / "venv"
    install = [uv, "pip", "install", "--python", home / "bin/python"]
    run(uv, "venv", "--python", sys.executable, home)
    run(*install, f"{wheel}[testing]", *TOOLS)
    installed = run(*install, "--resolution", "lowest-direct", f"{wheel}[huey]", "huey")
    (oldest,) = re.findall(r'"huey>=([\d.]+)', (ROOT / "pyproject.toml").read_text())
    assert f"huey=={oldest}" in installed
    only = ["-m", "not cluster", "-k", "not redis and not postgresql"]
    output = run(home / "bin/pytest", "-q", *only, "-p", "no:cacheprovider", *HUEY_SUITES)
    assert re.search(r"\d+ passed", output)


@pytest.mark.slow
def test_the_operator_is_an_extra(wheel: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv") or "uv"
    home = tmp_path / "venv"
    run(uv, "venv", "--python", sys.executable, home)
    run(uv, "pip", "install", "--python", home / "bin/python", f"{wheel}[operator]")
    assert "TASKLOCK_OPERATOR_NAMESPACES" in run(home / "bin/tasklock-operator", "--help", cwd=tmp_path)
    assert "TASKLOCK_OPERATOR_LISTEN" in run(home / "bin/python", "-m", "tasklock_operator", "--help", cwd=tmp_path)
