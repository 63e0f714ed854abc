"""Watches of the operator that fall silent: their connections stay, and nothing comes any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from contract.place import kubeconfig_at
from contract.proxy import Proxy as Relay
from faults.metering import counted
from reaping.running import Grounds, Operator, bind, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.control_plane import ControlPlane
    from faults.toxics import Toxiproxy


class Switch(Relay):
    """Leads each connection to where it points when that begins."""

    def lead_to(self, url: str) -> None:
        """Point elsewhere, for new connections."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 443)


@pytest.mark.slow
def test_an_operator_whose_watches_fall_silent_says_so_once_opens_others_and_frees_nothing_that_is_renewed(
    control_plane: ControlPlane,
    namespace: str,
    toxics: Toxiproxy,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Its connections are half-open, new ones are not: it cannot see the renewals, and its DELETE gets through."""
    home = Grounds(control_plane.rest, namespace)
    kubeconfig = bind(control_plane, "operator", namespace, namespaces=(namespace,))
    half_open = toxics.proxy(control_plane.url)

    def refused() -> int:
        return counted(control_plane, "apiserver_request_total", resource="leases", verb="DELETE", code="409")

    def renew_until(condition: Callable[[], object]) -> None:
        wait_until(lambda: home.renew("alive") and condition(), within=120, every=0.5, what=operator.said)

    with (
        Switch(f"https://127.0.0.1:{half_open.port}") as switch,
        Operator(
            kubeconfig_at(kubeconfig, switch.port, tmp_path / "kubeconfig"), tmp_path, namespaces=namespace
        ) as operator,
    ):
        operator.ready()
        alive = home.hold("alive", ttl=10)
        home.hold("dead", ttl=10)
        wait_until(lambda: len(operator.locks()) == 2)
        refused_before = refused()
        switch.lead_to(control_plane.url)
        start = time.monotonic()
        with half_open.toxic("timeout", "upstream", "downstream", timeout=0):
            home.hold("unseen", ttl=1)
            renew_until(lambda: refused() > refused_before)  # it took it for dead, and what it knew was too old
            seen = {lock["name"] for lock in operator.locks()}
            assert "unseen" not in seen or "cannot hear of leases" in operator.said()
            assert operator.get("/healthz")[0] == 200
            renew_until(lambda: not home.held("dead"))
            renew_until(lambda: "cannot hear of leases" in operator.said())
            record_property("told_after_s", round(time.monotonic() - start, 1))
            renew_until(lambda: not home.held("unseen"))
            renew_until(lambda: [lock["name"] for lock in operator.locks()] == ["alive"])
        assert home.lease("alive")["metadata"]["uid"] == alive["metadata"]["uid"]
        assert operator.said().count("cannot hear of leases") == 1
        assert operator.said().count("able to hear of leases") == 1
        assert operator.said().count("freed") == 2
        assert "Traceback" not in operator.said()
        assert operator.get("/healthz")[0] == 200
