"""What goes wrong around the operator: it says so once, goes on by itself, and asks for no restart."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from reaping.running import Grounds, Operator, bind, grant, revoke, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.control_plane import ControlPlane


@pytest.fixture
def account(control_plane: ControlPlane) -> str:
    """Make the namespace of an operator's service account."""
    return control_plane.create_namespace("operator")


@pytest.fixture(scope="module")
def home(control_plane: ControlPlane) -> Grounds:
    """Make the namespace that is all that the module's operator looks after."""
    return Grounds(control_plane.rest, control_plane.create_namespace("home"))


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, home: Grounds, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    kubeconfig = bind(control_plane, "operator", home.namespace, namespaces=(home.namespace,))
    with Operator(kubeconfig, tmp_path_factory.mktemp("operator"), namespaces=home.namespace) as operator:
        yield operator.ready()


def said(operator: Operator, *words: str) -> int:
    """Count the lines that have all of these words."""
    return sum(all(word in line for word in words) for line in operator.said().splitlines())


def test_a_restart_of_the_api_server(control_plane: ControlPlane, operator: Operator, home: Grounds) -> None:
    """What vanished while it did not look is forgotten; what expired is freed; the outage is told once.

    A new API server knows nothing of old resourceVersions: the watch is answered by a 410.
    """
    home.hold("vanishes", ttl=600)
    home.hold("stays", ttl=600)
    home.hold("expires", ttl=4)
    wait_until(lambda: len(operator.locks()) == 3)
    operator.process.send_signal(signal.SIGSTOP)  # so that it does not hear of the end of this one
    home.release("vanishes")
    control_plane.stop_api(kill=True)
    operator.process.send_signal(signal.SIGCONT)
    try:
        wait_until(lambda: said(operator, "cannot list and watch leases"))
        assert operator.get("/healthz")[0] == 200, "a restart brings back no API server"
    finally:
        control_plane.start_api()
    wait_until(lambda: said(operator, "able to list and watch leases", "again"), within=15)
    wait_until(lambda: {lock["name"] for lock in operator.locks()} == {"stays"}, within=15)
    assert not home.held("expires")
    assert home.held("stays")
    assert said(operator, "cannot list and watch leases") == 1
    assert said(operator, "freed") == 1
    assert "Traceback" not in operator.said()
    home.release("stays")


def test_an_api_server_that_does_not_answer_is_waited_for(
    control_plane: ControlPlane, operator: Operator, home: Grounds
) -> None:
    home.hold("stalled", ttl=2)
    wait_until(operator.locks)
    with control_plane.api_paused():
        time.sleep(4)
        assert operator.get("/healthz")[0] == 200
    wait_until(lambda: not home.held("stalled"), within=15)
    wait_until(lambda: any("'stalled'" in event["note"] for event in home.events()))
    assert "Traceback" not in operator.said()


def test_missing_rules_are_told_once_each_and_found_when_they_are_there(
    control_plane: ControlPlane, account: str, grounds: Grounds, tmp_path: Path
) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(account, "operator")
    with Operator(kubeconfig, tmp_path) as operator:
        wait_until(lambda: said(operator, "cannot list and watch pods", "403"), within=20)
        wait_until(lambda: said(operator, "cannot list and watch leases", "403", "bind the operator's Role"))
        status, text = operator.get("/readyz")
        assert status == 503
        assert "cannot list and watch leases" in text
        time.sleep(2)
        assert operator.get("/healthz")[0] == 200, "a restart brings no Role"
        assert len(operator.complaints()) == 2, operator.complaints()

        seeing = {"apiGroups": ["", "coordination.k8s.io"], "resources": ["pods", "leases"], "verbs": ["list", "watch"]}
        grant(control_plane, "operator", account, rules=[seeing])
        operator.ready(within=15)
        grounds.hold("undeletable", ttl=1)
        wait_until(lambda: said(operator, "cannot delete the leases", "403", grounds.namespace))
        time.sleep(1)
        assert said(operator, "cannot delete the leases", f"in namespace {grounds.namespace}:") == 1

        revoke(control_plane, "operator", account)
        deleting = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["delete"]}
        grant(control_plane, "operator", account, rules=[seeing, deleting])
        wait_until(lambda: not grounds.held("undeletable"), within=20)
        wait_until(lambda: said(operator, "cannot write Events", "403", "TASKLOCK_OPERATOR_EVENTS=false"))
        for name in ("one", "two"):
            grounds.hold(name, ttl=1)
        wait_until(lambda: not any(map(grounds.held, ("one", "two"))), within=20)
        wait_until(lambda: operator.metric("tasklock_api_errors_total", verb="create") >= 3)  # an Event each
        assert said(operator, "cannot write Events", f"in namespace {grounds.namespace}:") == 1
        assert not grounds.events()

        revoke(control_plane, "operator", account)
        grant(control_plane, "operator", account)
        grounds.hold("three", ttl=1)
        wait_until(lambda: len(grounds.events()) == 1, within=20)
        wait_until(lambda: said(operator, "able to write Events"))
        assert operator.get("/healthz")[0] == 200
