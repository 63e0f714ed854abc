"""The operator itself, as the chart installs it: its service account, its environment, under the ownership policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from chart.render import NAMESPACE, RELEASE
from cluster.processes import free_ports
from cluster.rest import MERGE_PATCH
from contract.place import wait_until
from policy.village import create, lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from policy.village import Pod, Village


@pytest.fixture
def said(village: Village, tmp_path: Path) -> Iterator[Path]:
    """Run the operator with the environment of the installed Deployment; gives the file of what it says."""
    deployment = village.control_plane.kubectl("get", "deployment", RELEASE, f"-n{NAMESPACE}", "-ojson")
    (container,) = json.loads(deployment)["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    (port,) = free_ports(1)
    config = village.control_plane.service_account_kubeconfig(NAMESPACE, RELEASE)
    environment |= {"TASKLOCK_OPERATOR_LISTEN": f"127.0.0.1:{port}", "KUBECONFIG": str(config)}
    log = tmp_path / "operator.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "tasklock_operator"],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as operator,
    ):
        yield log
        operator.terminate()


def ended(village: Village, pod: Pod) -> None:
    """Play the kubelet: the pod's only container was killed, after it had taken its lock."""
    state = {"exitCode": 137, "startedAt": "2020-01-01T00:00:00Z", "finishedAt": "2099-01-01T00:00:00Z"}
    container = {"name": "main", "image": "none", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Failed", "containerStatuses": [{**container, "state": {"terminated": state}}]}
    path = f"/api/v1/namespaces/{village.namespace}/pods/{pod.name}/status"
    assert village.control_plane.rest.request("PATCH", path, {"status": status}, MERGE_PATCH).status == 200


def test_it_frees_what_is_dead_or_expired_with_the_verbs_that_the_chart_gives(village: Village, said: Path) -> None:
    dead, silent, alive = village.pod(), village.pod(), village.pod()
    killed, kept = village.held(dead), village.held(alive)
    expired = lock("expired", silent.uid, ttl=1)
    assert create(silent.leases, expired).status == 201
    ended(village, dead)

    def gone(body: Any) -> bool:
        return village.leases.get(body["metadata"]["name"]).status == 404

    wait_until(lambda: gone(killed) and gone(expired), within=40)
    assert village.leases.get(kept["metadata"]["name"]).status == 200
    events = f"/apis/events.k8s.io/v1/namespaces/{village.namespace}/events"

    def reported() -> set[str]:
        found = village.control_plane.rest.request("GET", events).body["items"]
        return {event["regarding"]["name"] for event in found if event["reason"] == "LockReaped"}

    wait_until(lambda: reported() >= {killed["metadata"]["name"], expired["metadata"]["name"]})
    assert "orbidden" not in said.read_text()
