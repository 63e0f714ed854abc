"""Two operators at once, without a leader: together they free each lock once, and tell of it once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from reaping.running import Grounds, Operator, bind, wait_until
from tasklock.protocol.effects import Send
from tasklock.transport.aio import AsyncApi
from tasklock.transport.config import Source

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.control_plane import ControlPlane

MANY = 1000
EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"


async def plant(control_plane: ControlPlane, grounds: Grounds, names: list[str], ttl: int) -> None:
    """Create Leases of locks that nobody will renew, ten at a time."""
    api = AsyncApi(Source(kubeconfig=control_plane.kubeconfig, namespace=grounds.namespace))
    queue = iter(names)

    async def create() -> None:
        for name in queue:
            body = grounds.lease_of(name, ttl=ttl)
            reply = await api.send(Send(method="POST", body=body, timeout=10))
            assert reply.status == 201, reply

    await asyncio.gather(*(create() for _ in range(10)))
    await api.close()


@pytest.mark.slow
def test_two_operators_free_a_thousand_locks_with_one_event_each(
    control_plane: ControlPlane, grounds: Grounds, tmp_path: Path
) -> None:
    kubeconfig = bind(control_plane, "operator", grounds.namespace, namespaces=(grounds.namespace,))
    settings = {"namespaces": grounds.namespace}
    with Operator(kubeconfig, tmp_path, **settings) as one, Operator(kubeconfig, tmp_path, **settings) as two:
        one.ready(), two.ready()
        asyncio.run(plant(control_plane, grounds, [f"job-{number}" for number in range(MANY)], ttl=4))
        wait_until(lambda: not count(grounds, grounds.leases), within=60, every=0.2)
        wait_until(lambda: count(grounds, EVENTS) >= MANY, within=60, every=0.2)
        wait_until(lambda: reaped(one) + reaped(two) >= MANY, within=5)
        told = [event["regarding"]["uid"] for event in grounds.events()]
        assert len(told) == len(set(told)) == MANY
        assert reaped(one) + reaped(two) == MANY
        assert reaped(one) > 0 < reaped(two)
        assert not one.complaints() + two.complaints()
        assert one.locks() == two.locks() == []
        assert one.end() == two.end() == 0


def reaped(operator: Operator) -> float:
    return operator.metric("tasklock_reaped_total")


def count(grounds: Grounds, path: str) -> int:
    reply = grounds.rest.request("GET", f"{path.format(grounds.namespace)}?limit=1")
    assert reply.status == 200
    return len(reply.body["items"]) + int(reply.body["metadata"].get("remainingItemCount", 0))
