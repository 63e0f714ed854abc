"""Others with rights in the namespace: people with kubectl, other controllers, and forgers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from simulation.client import APP
from simulation.world import EPOCH
from tasklock.lease import CONTAINER, NAME, POD_UID, PROCESS, Claim, Lease, microtime
from tasklock.naming import lease_name
from tasklock.protocol.effects import OK, Method, Reply, Send

if TYPE_CHECKING:
    from random import Random

    from simulation.server import Server

Json = dict[str, Any]


class Meddler:
    """Does one thing at a time, at once and without any precondition, as a person does."""

    def __init__(self, server: Server, names: tuple[str, ...]) -> None:
        self.server, self.names = server, names
        self._strangers = 0

    def act(self, what: str, luck: Random) -> None:
        """Meddle with one of the locks."""
        name = luck.choice(self.names)
        lease = lease_name(APP, name)
        self.server.world.say("meddler", f"{what} {lease}")
        match what:
            case "delete":
                self._send("DELETE", lease)
            case "annotate":
                self._send("PATCH", lease, {"metadata": {"annotations": {"seen-by": str(luck.random())}}})
            case "overwrite":
                self._send("PATCH", lease, {"spec": self._another_spec(luck)})
            case "replace":
                self._send("DELETE", lease)
                self._send("POST", None, self._stranger(name, luck))
            case "squat":
                body = self._stranger(name, luck)
                del body["metadata"]["labels"]
                self._send("POST", None, body)
                self.server.world.at(self.server.world.now + 10 * luck.random(), self.clean)
            case "forge times":
                old = f"{EPOCH - timedelta(days=luck.randint(0, 1)):%Y-%m-%dT%H:%M:%SZ}"
                entry = {"manager": "x", "operation": "Update", "apiVersion": "coordination.k8s.io/v1", "time": old}
                fields = (
                    [{}] if luck.random() < 0.3 else [entry | {"fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]
                )
                self._send("PATCH", lease, {"metadata": {"managedFields": fields}})
            case "forge notes":
                note = luck.choice(
                    ({PROCESS: "node-0/nobody"}, {POD_UID: "pod-0"}, {CONTAINER: "x"}, {NAME: "another"})
                )
                self._send("PATCH", lease, {"metadata": {"annotations": note}})
            case "foreign put":
                reply = self._send("GET", lease)
                if reply.status == OK and reply.body is not None:
                    metadata = reply.body["metadata"] | {
                        "annotations": reply.body["metadata"]["annotations"] | {"by": "x"}
                    }
                    body = reply.body | {"metadata": metadata}
                    late = self.server.world.now + luck.random() * 0.1
                    self.server.world.at(late, lambda: self._send("PUT", lease, body))

    def clean(self) -> None:
        """Remove what no client may touch: a Lease that is no lock of ours, as the error advises."""
        for name in self.names:
            lease = lease_name(APP, name)
            reply = self._send("GET", lease)
            if reply.status == OK and not Lease.parse(reply.body).is_of(APP, name):
                self._send("DELETE", lease)

    def _another_spec(self, luck: Random) -> Json:
        later = EPOCH + timedelta(seconds=self.server.world.now)
        return luck.choice(
            (
                {"holderIdentity": "stranger"},
                {"leaseDurationSeconds": luck.choice((1, 60))},
                {"acquireTime": microtime(later)},
                {"renewTime": microtime(later)},
            )
        )

    def _stranger(self, name: str, luck: Random) -> Json:
        self._strangers += 1
        holder = f"stranger_{self._strangers:08x}"
        ttl = luck.choice((1, 10))
        claim = Claim(lease=lease_name(APP, name), app=APP, name=name, holder=holder, ttl=ttl, annotations={})
        return claim.body(EPOCH)

    def _send(self, method: Method | str, lease: str | None, body: Json | None = None) -> Reply:
        return self.server.perform(None, Send(method=method, lease=lease, body=body, timeout=1.0))  # type: ignore[arg-type] # a PUT is nothing that the protocol knows
