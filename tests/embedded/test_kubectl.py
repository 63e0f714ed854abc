"""A real kubectl against the embedded server."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tasklock.testing.kinds import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.build import Binaries
    from tasklock.testing import ApiServer

LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "a", "labels": {"app": "demo"}},
    "spec": {"holderIdentity": "worker-1", "leaseDurationSeconds": 30},
}


@pytest.fixture
def environment(api: ApiServer, tmp_path: Path) -> dict[str, str]:
    return os.environ | {"KUBECONFIG": api.kubeconfig, "HOME": str(tmp_path)}


@pytest.fixture
def kubectl(binaries: Binaries, environment: dict[str, str]) -> Callable[..., str]:
    def run(*args: str, body: object = None, fails: bool = False) -> str:
        text = None if body is None else json.dumps(body)
        done = subprocess.run(
            [str(binaries.kubectl), *args],
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    return run


@pytest.fixture
def lease(kubectl: Callable[..., str]) -> str:
    kubectl("create", "-f", "-", body=LEASE)
    return "a"


def test_get_shows_name_holder_and_age(kubectl: Callable[..., str], lease: str) -> None:
    header, row = kubectl("get", "leases").splitlines()
    assert header.split() == ["NAME", "HOLDER", "AGE"]
    assert row.split()[:2] == [lease, "worker-1"]
    assert kubectl("get", "leases", "-A", "--no-headers").split()[:3] == ["default", lease, "worker-1"]
    assert kubectl("get", "leases", "-l", "app!=demo") == ""
    assert json.loads(kubectl("get", "lease", lease, "-o", "json"))["spec"] == LEASE["spec"]


def test_creating_twice_says_that_it_exists(kubectl: Callable[..., str], lease: str) -> None:
    assert f'"{lease}" already exists' in kubectl("create", "-f", "-", body=LEASE, fails=True)


def test_an_unknown_field_is_refused(kubectl: Callable[..., str]) -> None:
    body = LEASE | {"spec": {"holder": "x"}}
    assert 'unknown field "spec.holder"' in kubectl("create", "-f", "-", body=body, fails=True)


def test_describe_shows_the_holder(kubectl: Callable[..., str], lease: str) -> None:
    assert "Holder Identity:         worker-1" in kubectl("describe", "lease", lease)


def test_apply_creates_then_changes_then_leaves_alone(kubectl: Callable[..., str]) -> None:
    assert "created" in kubectl("apply", "-f", "-", body=LEASE)
    assert "unchanged" in kubectl("apply", "-f", "-", body=LEASE)
    changed = LEASE | {"spec": {"holderIdentity": "worker-2"}}
    assert "configured" in kubectl("apply", "-f", "-", body=changed)
    assert kubectl("get", "lease", "a", "-o", "jsonpath={.spec}") == '{"holderIdentity":"worker-2"}'


def test_annotate_label_and_patch(kubectl: Callable[..., str], lease: str) -> None:
    kubectl("annotate", "lease", lease, "note=x y")
    kubectl("label", "lease", lease, "app-", "team=b")
    kubectl("patch", "lease", lease, "-p", '{"spec":{"leaseTransitions":1}}')
    kubectl("patch", "lease", lease, "--type=merge", "-p", '{"spec":{"holderIdentity":"w"}}')
    kubectl("patch", "lease", lease, "--type=json", "-p", '[{"op":"remove","path":"/spec/leaseDurationSeconds"}]')
    seen = json.loads(kubectl("get", "lease", lease, "-o", "json"))
    assert (seen["metadata"]["annotations"], seen["metadata"]["labels"]) == ({"note": "x y"}, {"team": "b"})
    assert seen["spec"] == {"holderIdentity": "w", "leaseTransitions": 1}


def test_replace_and_edit_in_place(kubectl: Callable[..., str], lease: str) -> None:
    seen = json.loads(kubectl("get", "lease", lease, "-o", "json"))
    seen["spec"]["holderIdentity"] = "replaced"
    kubectl("replace", "-f", "-", body=seen)
    assert kubectl("get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}") == "replaced"


def test_delete_deletes_and_waits(kubectl: Callable[..., str], lease: str) -> None:
    assert "deleted" in kubectl("delete", "lease", lease)
    assert "NotFound" in kubectl("get", "lease", lease, fails=True)
    kubectl("wait", "--for=delete", f"lease/{lease}", "--timeout=5s")


def test_wait_for_delete_ends_when_the_lease_goes(
    api: ApiServer, binaries: Binaries, kubectl: Callable[..., str], environment: dict[str, str], lease: str
) -> None:
    arguments = [str(binaries.kubectl), "wait", "--for=delete", f"lease/{lease}", "--timeout=30s"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        _until(lambda: any("watch=true" in seen.path for seen in api.requests))
        kubectl("delete", "lease", lease, "--wait=false")
        assert waiting.wait(10) == 0


def test_get_watch_prints_each_change(
    api: ApiServer, binaries: Binaries, environment: dict[str, str], lease: str
) -> None:
    arguments = [str(binaries.kubectl), "get", "leases", "-w", "--no-headers"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().split()[:2] == [lease, "worker-1"]
        _until(lambda: any("watch=true" in seen.path for seen in api.requests))
        body = {"metadata": {"name": "b"}, "spec": {"holderIdentity": "worker-2"}}
        api.call(lambda store: store.create(LEASES, "default", body))
        assert watching.stdout.readline().split()[:2] == ["b", "worker-2"]
        watching.terminate()


def test_namespaces_events_and_pods_are_there(kubectl: Callable[..., str]) -> None:
    kubectl("create", "namespace", "team")
    assert "team" in kubectl("get", "namespaces")
    kubectl("-n", "team", "create", "-f", "-", body=LEASE)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    kubectl("create", "-f", "-", body=pod)
    assert kubectl("get", "pods", "--no-headers").split()[:3] == ["p", "0/1", "Pending"]
    kubectl("get", "events", "-A")
    assert "leases" in kubectl("api-resources")
    kubectl("delete", "namespace", "team")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
