"""An environment that says nothing of any cluster; and the embedded server, for what needs a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kubernetes.config import kube_config

from tasklock import LockClient
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG", "TASKLOCK_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no" / "config"))


@pytest.fixture(scope="session")
def running() -> Iterator[ApiServer]:
    with ApiServer() as api:
        yield api


@pytest.fixture
def api(running: ApiServer) -> Iterator[ApiServer]:
    running.requests.clear()
    yield running
    running.fault = None


@pytest.fixture
def client(api: ApiServer) -> Iterator[LockClient]:
    with LockClient(kubeconfig=api.kubeconfig) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)
