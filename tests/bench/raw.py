"""The reference: what the same work costs with nothing but ``http.client`` on one kept connection."""

from __future__ import annotations

import http.client
import json
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tasklock.lease import Claim
from tasklock.transport.identity import identity

if TYPE_CHECKING:
    from collections.abc import Iterator


class Raw:
    """One HTTPS connection to an API server, and Leases as plain dictionaries."""

    def __init__(self, url: str, ca_file: str, token: str, namespace: str) -> None:
        host = urlsplit(url).netloc
        context = ssl.create_default_context(cafile=ca_file)
        self._connection = http.client.HTTPSConnection(host, context=context, timeout=60)  # ours have one too
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._annotations = identity().annotations(process=True)
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    def request(self, method: str, tail: str = "", body: object = None) -> tuple[int, dict[str, Any]]:
        data = json.dumps(body) if body is not None else None
        self._connection.request(method, self._path + tail, data, self._headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def create(self, name: str) -> dict[str, Any]:
        """Create the very Lease that tasklock would: a smaller one costs the server less."""
        claim = Claim(lease=name, app="bench", name=name, holder="raw_00000000", ttl=30, annotations=self._annotations)
        status, created = self.request("POST", body=claim.body(datetime.now(UTC)))
        if status != http.HTTPStatus.CREATED:
            raise RuntimeError(created)
        return created

    def delete(self, lease: dict[str, Any]) -> None:
        metadata = lease["metadata"]
        status, answer = self.request("DELETE", f"/{metadata['name']}", {"preconditions": {"uid": metadata["uid"]}})
        if status != http.HTTPStatus.OK:
            raise RuntimeError(answer)

    def watch(self, name: str) -> Iterator[dict[str, Any]]:
        """Open a watch on one name from the LIST's version; yield once when it is open, then each event."""
        _, found = self.request("GET", f"?fieldSelector=metadata.name%3D{name}")
        version = found["metadata"]["resourceVersion"]
        query = f"?watch=1&fieldSelector=metadata.name%3D{name}&resourceVersion={version}&timeoutSeconds=60"
        self._connection.request("GET", self._path + query, None, self._headers)
        response = self._connection.getresponse()
        yield {}
        while line := response.readline():
            yield json.loads(line)
