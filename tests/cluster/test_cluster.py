"""The harness itself: what it promises to the tests that build upon it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster import build
from cluster.processes import owned_folder
from cluster.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.control_plane import ControlPlane


@pytest.fixture
def up(
    binaries: build.Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run the documented command, where nobody else tidies up; gives the process and the kubeconfig that it told."""
    assert binaries.kube_apiserver.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent), "up"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("export KUBECONFIG=/")
            yield process, Path(line.strip().partition("=")[2])
        finally:
            process.kill()


def is_reachable(api: Rest) -> bool:
    try:
        return api.request("GET", "/readyz").status == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_the_control_plane_of_a_person_and_leaves_nothing(
    up: tuple[subprocess.Popen[str], Path],
    number: signal.Signals,
) -> None:
    process, kubeconfig = up
    api = Rest.from_kubeconfig(kubeconfig)
    assert is_reachable(api)
    process.send_signal(number)
    assert process.wait(10) == 0
    assert not is_reachable(api)
    assert not kubeconfig.parent.exists()


@pytest.mark.slow
def test_a_control_plane_dies_with_its_owner_even_when_that_is_killed(
    up: tuple[subprocess.Popen[str], Path],
) -> None:
    process, kubeconfig = up
    api = Rest.from_kubeconfig(kubeconfig)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while is_reachable(api):
        assert time.monotonic() < deadline, "the API server outlived its owner"
    assert kubeconfig.exists()
    with owned_folder():  # the next one tidies up
        assert not kubeconfig.parent.exists()


def test_a_paused_api_server_takes_connections_and_answers_nothing_until_it_goes_on(
    control_plane: ControlPlane,
) -> None:
    watch = control_plane.rest.watch("/api/v1/namespaces", answer_seconds=0.5)
    with control_plane.api_paused(), pytest.raises(TimeoutError), watch:
        pass
    assert control_plane.rest.request("GET", "/readyz").status == 200


def test_the_api_server_tells_the_version_that_go_mod_requires(control_plane: ControlPlane) -> None:
    assert control_plane.rest.request("GET", "/version").body["gitVersion"] == build.kubernetes_version()


def test_a_machine_without_go_or_registries_is_told_what_to_install(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASKLOCK_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(build.GoMissingError, match=r"Go is missing .* install Go 1\.26 or later"):
        build.ensure_binaries()


def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go version go1.21.3 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("TASKLOCK_TEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(build.GoMissingError, match="Go is too old"):
        build.ensure_binaries()
