"""What the library and the operator believe about kubelets, on a real one."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.pods import container, dies, lease_of, pod, spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.node import Node
    from node.watcher import Watcher

FORCED: Final = "hasty"
TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.fixture(scope="module", autouse=True)
def pods(node: Node, jobs: str, leases: Watcher) -> None:
    """Start pods that get no hint of who they are: no environment, no downward API."""
    node.apply(
        pod("plain", spec(container(dies("plain", "never"), "odd-name"))),
        pod(FORCED, spec(container(dies(FORCED, "never")))),
        namespace=jobs,
    )
    for name in ("plain", FORCED):
        leases.wait(lease_of(name), "ADDED", seconds=60.0)


def test_a_container_finds_its_name_and_its_pods_uid_in_its_mounts(node: Node, jobs: str, leases: Watcher) -> None:
    uid = node.pod(jobs, "plain")["metadata"]["uid"]
    mounts = node.kubectl("exec", f"--namespace={jobs}", "plain", "--", "cat", "/proc/self/mountinfo").splitlines()
    (root,) = [line.split()[3] for line in mounts if line.split()[4] == "/dev/termination-log"]
    assert re.search(rf"/pods/{uid}/containers/odd-name/[0-9a-f]+$", root)
    held = leases.wait(lease_of("plain"), "ADDED")
    told = [held.annotation(name) for name in ("pod", "pod-uid", "container")]
    assert told == ["plain", uid, "odd-name"]


def test_a_token_in_a_pod_names_the_pod_and_the_node(node: Node, jobs: str) -> None:
    token = node.kubectl("exec", f"--namespace={jobs}", "plain", "--", "cat", TOKEN)
    claims = claims_of(token)["kubernetes.io"]
    assert claims["pod"] == {"name": "plain", "uid": node.pod(jobs, "plain")["metadata"]["uid"]}
    assert claims["node"]["name"] == node.name


def test_a_container_that_was_restarted_tells_of_its_end_in_whole_seconds(node: Node, jobs: str) -> None:
    node.kill(jobs, "plain")
    ended = node.wait(
        "its last state",
        lambda: node.container_status(jobs, "plain")["lastState"].get("terminated"),
    )
    for name in ("startedAt", "finishedAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ended[name])
    assert ended["exitCode"] == 137


def test_a_pod_deleted_by_force_is_gone_before_its_process(
    node: Node,
    jobs: str,
    pod_changes: Watcher,
    figure: Callable[[str], None],
) -> None:
    process = os.pidfd_open(node.main_process(jobs, FORCED))
    with ThreadPoolExecutor(1) as watching:
        ended = watching.submit(lambda: (select.select([process], [], [], 60.0), time.monotonic())[1])
        moment = time.monotonic()
        node.kubectl("delete", "pod", FORCED, f"--namespace={jobs}", "--force", "--grace-period=0", "--wait=false")
        gone = pod_changes.wait(FORCED, "DELETED", after=moment)
        outlived = ended.result() - gone.moment
    os.close(process)
    figure(f"a forced deletion: the process outlived its Pod by {outlived:.2f} s")
    assert 0 < outlived < 60 - 1


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
