"""Fixtures for the whole suite: a real control plane, a real node and helm, built and started when a test asks.

A test that uses one of them is marked ``cluster`` by itself, and ``node`` if it is the node; a fixture that reaches
for the control plane at run time marks its parameter, ``pytest.param("real", marks=pytest.mark.cluster)``.
``pytest -m "not cluster"`` is the fast run.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from cluster.build import (
    Binaries,
    BuildError,
    GoMissingError,
    NodeBinaries,
    ensure_binaries,
    ensure_node_binaries,
    ensure_program,
)
from cluster.control_plane import ControlPlane
from cluster.image import ensure_operator_image
from cluster.node import Node
from cluster.processes import MachineError
from cluster.sandbox import check_machine
from services.databases import MissingError, PostgreSQL, Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

T = TypeVar("T", PostgreSQL, Redis)

for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):  # ignored where we were started in the background:
    if signal.getsignal(_number) is signal.SIG_IGN:  # commands under test would inherit that
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def _build_node() -> NodeBinaries:
    check_machine()
    ensure_binaries()
    return ensure_node_binaries()


_BUILDS: Final[dict[str, Callable[[], object]]] = {  # by the fixture that needs it
    "binaries": ensure_binaries,
    "helm": partial(ensure_program, "helm"),
    "helm_docs": partial(ensure_program, "helm-docs"),
    "node_binaries": _build_node,
    "operator_image": ensure_operator_image,
    "porcupine": partial(ensure_program, "porcupine"),
    "toxiproxy": partial(ensure_program, "toxiproxy"),
}
_WANTED = pytest.StashKey[set[str]]()
_ERRORS = pytest.StashKey[dict[str, BuildError | MachineError]]()


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        wanted = _BUILDS.keys() & set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("cluster"):
            wanted.add("binaries")
        if wanted:
            item.stash[_WANTED] = wanted
            item.add_marker(pytest.mark.cluster)
        if "node_binaries" in wanted:
            item.add_marker(pytest.mark.node)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test: no test's timeout should have to hold a compilation."""
    errors = session.config.stash.setdefault(_ERRORS, {})
    wanted = {name for item in session.items for name in item.stash.get(_WANTED, ())}
    if session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for name in sorted(wanted):
            try:
                _BUILDS[name]()
            except (BuildError, MachineError) as error:
                errors[name] = error


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With ``pytest -n 2 --dist loadgroup``: a file's tests go to one process, and all that need a node to one.

    xdist 3.8 sets a group by an attribute that pytest 9.2 does not have any more: its own way would group nothing.
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - the wheel is tested without xdist

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "node" if file.startswith(("tests/node/", "tests/cluster/")) else file

    return Together(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured, which is lost otherwise where they run in other processes."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, ())]
    found = [one for one in reports if one.when == "call" and one.user_properties]
    if found:
        terminalreporter.section("figures")
    for one in found:
        for name, value in one.user_properties:
            test = "" if name == "figure" else f"{one.nodeid.rpartition('::')[2]}: {name} "
            terminalreporter.write_line(f"{test}{value}")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return what notes a measured figure, as a sentence for the end of the run."""
    return lambda sentence: record_property("figure", sentence)


@pytest.fixture
def stalled() -> Iterator[Callable[[], float]]:
    """Return what tells for how many seconds on end a busy machine has kept this test from running.

    What is late by no more than that is late by no fault of ours.
    """
    longest, last, over = 0.0, time.monotonic(), threading.Event()

    def so_far() -> float:
        return max(longest, time.monotonic() - last)

    def tick() -> None:
        nonlocal longest, last
        while not over.wait(0.02):
            longest, last = so_far(), time.monotonic()

    ticking = threading.Thread(target=tick)
    ticking.start()
    yield so_far
    over.set()
    ticking.join()


def _built(request: pytest.FixtureRequest, what: str) -> Any:
    """Return what was built for a fixture; skips, in CI fails, where nothing can be built."""
    error = request.config.stash[_ERRORS].get(request.fixturename or "")
    if isinstance(error, (GoMissingError, MachineError)) and not os.environ.get("CI"):
        pytest.skip(f"no {what}: {str(error).splitlines()[0]}")
    if error is not None:
        pytest.fail(f"no {what}: {error}", pytrace=False)
    return _BUILDS[request.fixturename or ""]()


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Binaries:
    """Say where kubectl and the control plane's programs are; skips, in CI fails, where none can be built."""
    return _built(request, "real API server")


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest) -> Path:
    """Say where helm is, as ``binaries`` does."""
    return _built(request, "helm")


@pytest.fixture(scope="session")
def helm_docs(request: pytest.FixtureRequest) -> Path:
    """Say where helm-docs is, as ``binaries`` does."""
    return _built(request, "helm-docs")


@pytest.fixture(scope="session")
def porcupine(request: pytest.FixtureRequest) -> Path:
    """Say where the checker of histories is, as ``binaries`` does."""
    return _built(request, "porcupine")


@pytest.fixture(scope="session")
def toxiproxy(request: pytest.FixtureRequest) -> Path:
    """Say where the fault proxy is, as ``binaries`` does."""
    return _built(request, "toxiproxy")


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """Run a real etcd and kube-apiserver for the whole session; a test that stops it must start it again."""
    with ControlPlane(binaries) as running:
        yield running


@pytest.fixture(scope="session")
def node_binaries(request: pytest.FixtureRequest) -> NodeBinaries:
    """Say where the kubelet is; skips, in CI fails, where no node can run, with the sentence that says why."""
    return _built(request, "node")


@pytest.fixture(scope="session")
def operator_image(request: pytest.FixtureRequest) -> Path:
    """Build the operator's image, ``localhost/tasklock-operator:test``, from the tree as it is."""
    return _built(request, "image")


@pytest.fixture(scope="session")
def node(binaries: Binaries, node_binaries: NodeBinaries, operator_image: Path) -> Iterator[Node]:
    """Run a whole node for the session, with the operator's image on it."""
    with Node(binaries, node_binaries, images=(operator_image,)) as running:
        yield running


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """Make a namespace of the test's own on the real API server."""
    return control_plane.create_namespace()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server; give its URL. Skips where there is none to run, fails in CI."""
    with _run(PostgreSQL) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[str]:
    """Run a Redis server; give the path of its socket. Skips where there is none to run, fails in CI."""
    with _run(Redis) as server:
        yield server.socket


@contextmanager
def _run(kind: type[T]) -> Iterator[T]:
    with ExitStack() as ending:
        try:
            server = ending.enter_context(kind())
        except MissingError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield server
