"""Tokens that can be made void: each is bound to a Secret, and goes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.rest import Rest
from contract.place import WORKER, wait_until

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane
    from contract.place import Place


class Tokens:
    """Tokens of the worker's account, each bound to a Secret: it is void once that is deleted."""

    def __init__(self, control_plane: ControlPlane, place: Place, folder: Path) -> None:
        self._control_plane = control_plane
        self._namespace = place.namespace
        self.file = folder / "token"
        self.kubeconfig = folder / "kubeconfig"
        config = json.loads(Path(place.kubeconfig).read_text())
        config["users"][0]["user"] = {"tokenFile": str(self.file)}
        self.kubeconfig.write_text(json.dumps(config))

    def issue(self, secret: str) -> str:
        """Return a token bound to a new Secret."""
        core = f"/api/v1/namespaces/{self._namespace}"
        uid = self._post(f"{core}/secrets", {"metadata": {"name": secret}})["metadata"]["uid"]
        bound = {"kind": "Secret", "apiVersion": "v1", "name": secret, "uid": uid}
        token: str = self._post(
            f"{core}/serviceaccounts/{WORKER}/token",
            {"spec": {"expirationSeconds": 3600, "boundObjectRef": bound}},
        )["status"]["token"]
        return token

    def void(self, secret: str) -> None:
        """Delete the Secret; the API server may remember for ten seconds that the token was good."""
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{secret}"
        assert self._control_plane.rest.request("DELETE", path).status == 200

    def revoke(self, secret: str, token: str) -> None:
        """Delete the Secret, and wait until the API server has forgotten that the token was good."""
        self.void(secret)
        rest = Rest(self._control_plane.url, token=token, ca=self._control_plane.ca_file.read_text())
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
        wait_until(lambda: rest.request("GET", leases).status == 401, within=60, every=0.2)

    def _post(self, path: str, body: object) -> Any:
        reply = self._control_plane.rest.request("POST", path, body)
        assert reply.status == 201, reply
        return reply.body
