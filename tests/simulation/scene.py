"""A stage for scenes that are written by hand: everybody does what the test says, and nothing else goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.chance import Chance
from simulation.client import APP, Client
from simulation.plan import Faults, Plan
from simulation.schedule import Stage
from simulation.world import Node, Task
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from collections.abc import Generator

    from simulation.fates import Fate
    from tasklock.protocol.grant import Grant

NAME = "report"
LEASE = lease_name(APP, NAME)


class Scene(Stage):
    """A stage without clients: bring them on with ``client``, let them ``take`` the lock and ``release`` it."""

    def __init__(self, *, operators: int = 0, operator_rate: float = 1.0, ttl: int = 10) -> None:
        plan = Plan(clients=0, operators=operators, operator_rates=(operator_rate,) * 2, ttls=(ttl,), announce=False)
        super().__init__(plan, Chance(0), traced=True, exact=True)
        self.ttl = ttl
        self.grants: list[tuple[str, Grant]] = []

    def client(self, name: str, *, rate: float = 1.0) -> Client:
        process = self._process(name, Node(f"node-of-{name}", rate), Faults())
        return Client(self.plan, pod_uid=f"pod-of-{name}", registers=self.fenced, **process)

    def take(self, client: Client, *, timeout: float | None = None) -> Task:
        """Let a client acquire the lock, and keep it for ever."""

        def steps() -> Generator[Any, Any, None]:
            grant = yield from client.acquire(client.claim(NAME, self.ttl), timeout=timeout)
            client.keep(grant)
            self.grants.append((client.name, grant))

        return client.start(steps(), name="taking")

    def release(self, client: Client) -> None:
        """Let a client release what it was granted last."""
        grant = next(grant for name, grant in reversed(self.grants) if name == client.name)
        client.start(client.release(grant), name="releasing")

    def script(self, client: Client, method: str, number: int, fate: Fate) -> None:
        """Say what becomes of one request of a client: the ``number``-th of that method, or WATCH."""
        fate.name = "scripted"
        self.network.script[client.name, method, number] = fate

    def told(self, what: str) -> int:
        """Count the lines of the timeline that say so."""
        return sum(what in line for _, _, line in self.world.trace or [])

    def until(self, seconds: float, *, grants: int = 1_000) -> None:
        """Let time pass, until then or until so many were granted the lock."""
        self.world.run(seconds, done=lambda: len(self.grants) >= grants)
