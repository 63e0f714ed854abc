"""Leases of one namespace, by plain HTTP: what a test of the API server's own behaviour needs, no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.rest import MERGE_PATCH, Reply, Rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

API_VERSION = "coordination.k8s.io/v1"


class Leases:
    """The leases of one namespace on one API server; ``query`` arguments are raw, as ``dryRun=All``."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.rest = rest
        self.namespace = namespace
        self.path = f"/apis/{API_VERSION}/namespaces/{namespace}/leases"

    def post(
        self,
        name: str,
        *,
        query: str = "",
        metadata: dict[str, Any] | None = None,
        **spec: object,
    ) -> Reply:
        return self.rest.request("POST", self._url("", query), lease(name, metadata, **spec))

    def create(self, name: str, *, metadata: dict[str, Any] | None = None, **spec: object) -> Any:
        """POST that has to succeed; returns the new object."""
        reply = self.rest.request("POST", self.path, lease(name, metadata, **spec))
        assert reply.status == 201, reply
        return reply.body

    def get(self, name: str) -> Reply:
        return self.rest.request("GET", self._url(name, ""))

    def list(self, query: str = "") -> Any:
        reply = self.rest.request("GET", self._url("", query))
        assert reply.status == 200, reply
        return reply.body

    def put(self, name: str, body: object) -> Reply:
        return self.rest.request("PUT", self._url(name, ""), body)

    def patch(self, name: str, patch: object, *, query: str = "", content_type: str = MERGE_PATCH) -> Reply:
        return self.rest.request("PATCH", self._url(name, query), patch, content_type)

    def delete(self, name: str, **preconditions: str) -> Reply:
        """DELETE, with ``uid=`` and ``resourceVersion=`` as preconditions."""
        body = {"preconditions": preconditions} if preconditions else None
        return self.rest.request("DELETE", self._url(name, ""), body)

    def watch(self, query: str) -> AbstractContextManager[Iterator[Any]]:
        return self.rest.watch(self._url("", query))

    def _url(self, name: str, query: str) -> str:
        return self.path + (f"/{name}" if name else "") + (f"?{query}" if query else "")


def lease(name: str, metadata: dict[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    """Return a Lease as a holder would write it; keywords replace fields of its spec."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Lease",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {
            "holderIdentity": "worker-1",
            "leaseDurationSeconds": 30,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:00.000000Z",
            **spec,
        },
    }
