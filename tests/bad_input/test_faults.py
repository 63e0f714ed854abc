"""An API server that fails in the middle of things: the lock is adopted or nothing leaks; and missing namespaces."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from bad_input.servers import sentence
from contract.place import wait_until
from tasklock import InvalidLockError, LockApiError, LockClient, LockLostError
from tasklock.naming import lease_name
from tasklock.protocol.effects import Send
from tasklock.testing import ApiServer, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON = {"Content-Type": "application/json"}


def status(code: int, reason: str, message: str = "no") -> str:
    return json.dumps({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code})


def once(method: str, fault: Fault) -> Callable[[str, str], Fault | None]:
    """Play ``fault`` on the first request of that method."""
    faults: Iterator[Fault] = iter([fault])
    return lambda made, _path: next(faults, None) if made == method else None


def methods(api: ApiServer) -> list[str]:
    """Return the methods of the requests, but for the looks after what earlier tests abandoned."""
    return [one.method for one in api.requests if not (one.method == "GET" and "/leases/" in one.path)]


FAULTS = {
    "reset before the commit": Fault(drop="before"),
    "reset after the commit": Fault(drop="after"),
    "half a reply": Fault(cut=40),
    "one byte of a reply": Fault(cut=1),
    "no byte of a reply": Fault(cut=0),
    "500": Fault(status=500, body=status(500, "InternalError"), headers=JSON),
    "502 in HTML": Fault(status=502, body="<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}),
    "503 without a body": Fault(status=503),
    "429 with Retry-After": Fault(
        status=429, body=status(429, "TooManyRequests"), headers={**JSON, "Retry-After": "1"}
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_acquire_survives_it_and_nothing_leaks(api: ApiServer, client: LockClient, name: str, fault: Fault) -> None:
    api.fault = once("POST", fault)
    with client.lock_task(name) as hold:
        hold.ensure_held()
        assert [info.name for info in client.locks()] == [name], "one Lease, whatever was answered"
    assert not client.is_locked(name)


@pytest.mark.parametrize(
    "kind", ["reset after the commit", "half a reply", "one byte of a reply", "no byte of a reply"]
)
def test_a_create_that_was_carried_out_is_adopted_not_repeated(
    api: ApiServer, client: LockClient, name: str, kind: str
) -> None:
    api.fault = once("POST", FAULTS[kind])
    with client.lock_task(name):
        assert methods(api) == ["POST", "GET"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_release_survives_it_and_nothing_leaks(api: ApiServer, client: LockClient, name: str, fault: Fault) -> None:
    hold = client.lock_task(name).acquire()
    api.fault = once("DELETE", fault)
    hold.release()
    assert hold.lost is None
    assert not client.is_locked(name)


def test_a_renewal_survives_each_of_them(api: ApiServer, client: LockClient, name: str) -> None:
    holds = {client.lock_task(f"{name} {kind}", ttl=9).acquire(): fault for kind, fault in FAULTS.items()}
    left = {hold.lease: fault for hold, fault in holds.items()}

    def fault(method: str, path: str) -> Fault | None:
        return left.pop(path.rpartition("/")[2], None) if method == "PATCH" else None

    api.fault = fault
    wait_until(lambda: not left)  # after 3 s, when each is valid for 3 s more
    wait_until(lambda: all(hold.valid_for > 4 for hold in holds))
    for hold in holds:
        hold.release()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_look_survives_it(api: ApiServer, client: LockClient, name: str, fault: Fault) -> None:
    """The LIST after a lost reply meets trouble too."""
    post, get = once("POST", Fault(drop="after")), once("GET", fault)
    api.fault = lambda method, path: post(method, path) or get(method, path)
    with client.lock_task(name) as hold:
        hold.ensure_held()
    assert not client.is_locked(name)


def test_429_with_retry_after_is_waited_for(api: ApiServer, client: LockClient, name: str) -> None:
    api.fault = once("POST", FAULTS["429 with Retry-After"])
    begun = time.monotonic()
    with client.lock_task(name):
        assert 1 <= time.monotonic() - begun < 8
    assert methods(api) == ["POST", "POST", "DELETE"]


@pytest.mark.parametrize("what", ["POST", "GET", "PATCH", "DELETE"])
def test_html_error_bodies_are_no_errors_of_a_parser(api: ApiServer, client: LockClient, name: str, what: str) -> None:
    hold = client.lock_task(f"{name} held", ttl=1).acquire()
    api.fault = lambda method, _path: Fault(status=503, body="<html>\x1b[2J") if method == what else None
    uses = {
        "POST": lambda: client.lock_task(name).acquire(timeout=0.3),
        "GET": client.locks,
        "PATCH": lambda: (time.sleep(0.8), hold.ensure_held()),
        "DELETE": lambda: client.clear(f"{name} held"),
    }
    with pytest.raises((LockApiError, LockLostError)) as caught:
        uses[what]()
    sentence(caught.value)
    api.fault = None
    client.clear(f"{name} held")
    with pytest.raises(LockLostError):
        hold.release()


def test_a_namespace_that_does_not_exist(api: ApiServer) -> None:
    with LockClient(kubeconfig=api.kubeconfig, namespace="nowhere") as client:
        with pytest.raises(LockApiError) as caught:
            client.lock_task("x").acquire()
        assert (caught.value.status, caught.value.reason) == (404, "NotFound")
        sentence(caught.value, "nowhere", "create the namespace", "namespace=", "TASKLOCK_NAMESPACE")
        assert not client.session.abandoned


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"tasklock.dev/name": "NAME"}},
        {"labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "tasklock"}},
        {
            "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "tasklock"},
            "annotations": {"tasklock.dev/name": "\x1b[2Janother"},
        },
        {
            "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "another"},
            "annotations": {"tasklock.dev/name": "NAME"},
        },
    ],
    ids=["bare", "Helm's", "nameless", "another name", "another app"],
)
def test_a_lease_of_that_name_that_is_not_this_lock(client: LockClient, name: str, metadata: dict[str, object]) -> None:
    lease = lease_name("tasklock", name)
    text = json.dumps({"metadata": {"name": lease, **metadata}}).replace("NAME", name)
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **json.loads(text)}
    api = client.session.api
    assert api.send(Send(method="POST", body=body, timeout=5)).status == 201
    lock = client.lock_task(name)
    for use in (lock.acquire, lambda: lock.acquire(timeout=5), lock.is_locked, lock.clear):
        with pytest.raises(InvalidLockError) as caught:
            use()
        sentence(caught.value, f"kubectl delete lease {lease}", "use another name")
    client.flush_locks()
    assert api.send(Send(method="GET", lease=lease, timeout=5)).status == 200, "never touched"
    assert api.send(Send(method="DELETE", lease=lease, timeout=5)).status == 200
    lock.acquire().release()
