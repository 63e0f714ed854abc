"""The operator as helm installs it: what it shows, what it survives, what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest

from node.pods import container, holds, lease_of, pod, spec
from node.release import Release

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.node import Node
    from node.watcher import Watcher

LOCKS: Final = 30
TTL: Final = 10
ABANDON: Final = """
import os, sys
from tasklock import LockClient
client = LockClient(kubeconfig=sys.argv[1], ttl=int(sys.argv[2]))
for number in range(int(sys.argv[3])):
    client.lock_task(f"abandoned-{number}").__enter__()
os._exit(0)
"""


def test_helm_test_takes_and_frees_a_lock(release: Release) -> None:
    assert "took and freed a lock" in release.run("test", release.name, "--logs")


def test_the_operator_is_all_that_the_restricted_standard_asks_for(node: Node, release: Release) -> None:
    found = release.pod()
    assert node.pod(release.namespace, found["metadata"]["name"])["status"]["phase"] == "Running"
    (one,) = found["spec"]["containers"]
    assert one["securityContext"]["readOnlyRootFilesystem"]
    assert found["status"]["containerStatuses"][0]["ready"]


@pytest.mark.usefixtures("leases")
def test_it_shows_what_is_held_as_page_as_json_and_as_metrics(node: Node, jobs: str, release: Release) -> None:
    node.apply(pod("shown", spec(container(holds("shown")))), namespace=jobs)
    node.wait("it is listed", lambda: "shown" in release.get("/locks"))
    assert '"pod": "shown"' in json.dumps(json.loads(release.get("/locks")))
    assert "<html" in release.get("/")
    assert f'tasklock_locks_held{{app="tasklock",namespace="{jobs}"}}' in release.get("/metrics")
    assert release.get("/readyz")
    assert release.get("/healthz")


def test_what_expires_while_the_operator_is_dead_is_freed_when_it_is_back(
    node: Node,
    jobs: str,
    leases: Watcher,
    release: Release,
) -> None:
    node.apply(pod("lives", spec(container(holds("lives", ttl=TTL)))), namespace=jobs)
    live = leases.wait(lease_of("lives"), "ADDED", seconds=60.0)
    name = release.pod()["metadata"]["name"]
    restarts = node.container_status(release.namespace, name)["restartCount"]
    abandon(node, jobs)
    moment = node.kill(release.namespace, name)
    for number in range(LOCKS):
        leases.wait(lease_of(f"abandoned-{number}"), "DELETED", after=moment, seconds=60.0)
    took = time.monotonic() - moment
    assert node.container_status(release.namespace, name)["restartCount"] == restarts + 1
    kept = leases.holder(lease_of("lives"))
    assert kept is not None
    assert kept.uid == live.uid
    assert took < 60.0
    node.wait_ready(release.namespace, name)


def abandon(node: Node, namespace: str) -> None:
    """Take locks as a program outside of any pod would that then vanishes: nothing proves its death."""
    command = [sys.executable, "-c", ABANDON, str(node.admin_kubeconfig(namespace)), str(TTL), str(LOCKS)]
    subprocess.run(command, check=True)


def test_uninstalling_leaves_no_object_behind(node: Node, helm: Path) -> None:
    namespace = node.create_namespace("passing")
    before = everything(node, namespace)
    passing = Release(helm, node, "passing", namespace)
    passing.install(
        operator={"namespaces": [namespace]},
        client={"bindings": [{"namespace": namespace, "subjects": [{"name": "default"}]}]},
        flowSchema={"enabled": True},
        networkPolicy={"enabled": True},
        ownershipPolicy={"enabled": True},
        podDisruptionBudget={"enabled": True},
    )
    assert len(everything(node, namespace) - before) > 10
    passing.uninstall()
    node.wait("all is as before", lambda: everything(node, namespace) == before, seconds=20.0)


def everything(node: Node, namespace: str) -> set[str]:
    """Name all objects of a namespace and of none, but not Events, which tell what was."""
    found: set[str] = set()
    for options in (("--namespaced=true",), ("--namespaced=false",)):
        kinds = node.kubectl("api-resources", "--verbs=list", "--output=name", *options).split()
        wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
        found.update(node.kubectl("get", wanted, f"--namespace={namespace}", "--output=name").split())
    return found
