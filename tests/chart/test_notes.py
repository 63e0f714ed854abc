"""What helm says after an installation: where to look, and what is still missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chart.rendered import Chart

WORKER: Any = {"bindings": [{"namespace": "jobs", "subjects": [{"name": "worker"}]}]}


def test_it_says_where_to_look_and_that_nobody_may_take_locks_yet(chart: Chart) -> None:
    notes = chart.notes()
    assert "watches all namespaces" in notes
    assert "kubectl get leases -A -l app.kubernetes.io/managed-by=tasklock" in notes
    assert "kubectl -n tasklock-system port-forward service/tasklock 8080:8080" in notes
    assert "helm test tasklock -n tasklock-system" in notes
    assert "--clusterrole=tasklock-client" in notes
    assert "WARNING" not in notes


def test_it_says_who_may_take_locks(chart: Chart) -> None:
    notes = chart.notes(client=WORKER, operator={"namespaces": ["jobs"], "pods": {"watch": False}})
    assert "watches the namespaces jobs." in notes
    assert "ServiceAccount jobs/worker" in notes
    assert "Nobody" not in notes
    assert "Pods are not watched" in notes


def test_it_warns_where_the_lock_clients_are_unknown(chart: Chart) -> None:
    protected: Any = {"ownershipPolicy": {"enabled": True}, "flowSchema": {"enabled": True}}
    notes = chart.notes(**protected)
    assert notes.count("WARNING") == 2
    assert "--clusterrole=tasklock-force-release" in notes
    assert "WARNING" not in chart.notes(**protected, client=WORKER)
