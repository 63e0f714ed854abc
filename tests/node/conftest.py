"""One node, one installed operator and one namespace of workers for all tests here; each test uses locks of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from node.pods import ACCOUNT
from node.release import Release
from node.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.node import Node

JOBS: Final = "jobs"
SYSTEM: Final = "tasklock-system"
RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def jobs(node: Node) -> str:
    """Name the namespace of workers; like the operator's, it takes only pods that meet the standard ``restricted``."""
    for name in (JOBS, SYSTEM):
        metadata = {"name": name, "labels": RESTRICTED}
        node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    for name in (JOBS, SYSTEM):
        node.wait_namespace(name)
    node.create_service_account(JOBS, ACCOUNT)
    return JOBS


@pytest.fixture(scope="session")
def release(node: Node, jobs: str, helm: Path) -> Release:
    """Install the operator for the whole cluster; the workers are bound to its client role by the chart."""
    installed = Release(helm, node, "tasklock", SYSTEM)
    installed.install(client={"bindings": [{"namespace": jobs, "subjects": [{"name": ACCOUNT}]}]})
    return installed


@pytest.fixture(scope="session")
def leases(node: Node, jobs: str, release: Release) -> Iterator[Watcher]:
    """Remember what becomes of every Lease of the workers."""
    assert release.namespace != jobs
    with Watcher(node.rest, f"/apis/coordination.k8s.io/v1/namespaces/{jobs}/leases") as watcher:
        yield watcher


@pytest.fixture(scope="session")
def pod_changes(node: Node, jobs: str) -> Iterator[Watcher]:
    """Remember what the kubelet reported of every pod of the workers."""
    with Watcher(node.rest, f"/api/v1/namespaces/{jobs}/pods") as watcher:
        yield watcher


@pytest.fixture(scope="module", autouse=True)
def _tidy(node: Node, jobs: str) -> Iterator[None]:
    """End the pods of a module with it: they cost processor time, and some never rest."""
    yield
    node.kubectl("delete", "deployments,jobs,pods", "--all", f"--namespace={jobs}", "--grace-period=1", "--wait=false")
