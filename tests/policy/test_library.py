"""The library under the policy, as programs in pods use it: with a token that is bound to the pod, and no more."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chart.render import NAMESPACE, RELEASE
from contract.place import wait_until
from policy.village import create, lock, operator
from tasklock import LockClient, LockForbiddenError, LockLostError, TaskLockedException
from tasklock.lease import POD_UID
from tasklock.transport import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from policy.village import Pod, Village

    Client = Callable[[Pod], LockClient]


@pytest.fixture
def client(village: Village, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Make clients of pods; this process is in the pod of the latest."""
    clients: list[LockClient] = []

    def made(pod: Pod) -> LockClient:
        token = tmp_path / "token"
        token.write_text(pod.leases.rest.token or "")
        monkeypatch.setattr(identity, "TOKEN_FILE", token)
        monkeypatch.setattr(identity, "MOUNTINFO", tmp_path / "none")
        identity.identity.cache_clear()
        config = village.control_plane.service_account_kubeconfig(village.namespace, "worker", pod=pod.name)
        clients.append(LockClient("village", kubeconfig=config, namespace=village.namespace, ttl=6))
        return clients[-1]

    yield made
    for one in clients:
        one.close()
    identity.identity.cache_clear()


def test_it_acquires_renews_and_releases(village: Village, client: Client) -> None:
    pod = village.pod()
    here = client(pod)
    name = secrets.token_hex(4)
    with here.lock_task(name) as hold:
        first = village.leases.get(hold.lease).body
        assert first["metadata"]["annotations"][POD_UID] == pod.uid
        wait_until(lambda: village.leases.get(hold.lease).body["spec"]["renewTime"] > first["spec"]["renewTime"])
        hold.ensure_held()
    assert not here.is_locked(name)


def test_another_pod_is_told_who_holds_it_and_waits_its_turn(village: Village, client: Client) -> None:
    name = secrets.token_hex(4)
    with client(village.pod()).lock_task(name):
        other = client(pod := village.pod())
        with pytest.raises(TaskLockedException, match="is held by"):
            other.lock_task(name).acquire()
    with other.lock_task(name, timeout=5) as hold:
        assert village.leases.get(hold.lease).body["metadata"]["annotations"][POD_UID] == pod.uid


def test_a_waiter_leaves_a_dead_pods_lock_to_the_operator_and_gets_it_then(village: Village, client: Client) -> None:
    """Its own attempt to take over what is stale is refused; it goes on waiting."""
    name = secrets.token_hex(4)
    body = lock(name, (dead := village.pod()).uid, ttl=1)
    assert create(dead.leases, body).status == 201
    village.bind(RELEASE, "edit", of=NAMESPACE)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(client(village.pod()).lock_task(name).acquire, timeout=20)
        time.sleep(2.5)  # it saw the Lease stand still for more than the ttl
        assert not waiter.done()
        assert village.leases.get(body["metadata"]["name"]).body["spec"] == body["spec"]
        assert operator(village).delete(body["metadata"]["name"]).status == 200
        waiter.result(5).release()


def test_a_holder_learns_that_its_lock_was_freed_by_force(village: Village, client: Client) -> None:
    here = client(village.pod())
    boss = village.person("boss", "admin")
    lock_task = here.lock_task(secrets.token_hex(4))
    hold = lock_task.acquire()
    assert boss.delete(hold.lease).status == 200
    wait_until(lambda: hold.lost)
    with pytest.raises(LockLostError, match="deleted"):
        hold.release()


def test_a_forced_release_from_another_pod_is_refused_with_the_reason(village: Village, client: Client) -> None:
    name = secrets.token_hex(4)
    with client(village.pod()).lock_task(name) as hold:
        other = client(village.pod())
        with pytest.raises(LockForbiddenError, match="ClusterRole tasklock-force-release"):
            other.flush_locks(name)
        hold.ensure_held()
