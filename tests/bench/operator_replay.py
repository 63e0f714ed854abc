"""An API server that only plays back: lists of many objects, and watches that bring events at a steady rate.

It costs next to nothing, so that what is measured on a machine of two cores is the operator. Its objects are as a real
API server sends them, managedFields and all. Each event's ``renewTime`` is when it was sent.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tasklock.naming import lease_name

APP, NAMESPACE = "bench", "bench"
TICK = 0.01  # seconds between two batches of events

_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_DISCOVERY = {
    "/api": {"versions": ["v1"]},
    "/apis": {
        "groups": [
            {"name": name, "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
            for name in ("coordination.k8s.io", "apiextensions.k8s.io")
        ]
    },
    "/api/v1": {"resources": [("pods", "Pod"), ("namespaces", "Namespace"), ("events", "Event")]},
    "/apis/coordination.k8s.io/v1": {"resources": [("leases", "Lease")]},
    "/apis/apiextensions.k8s.io/v1": {"resources": [("customresourcedefinitions", "CustomResourceDefinition")]},
}
_OLD, _NEW = "00000000-0000-4000", "20000000-0000-4000"  # uids of what is there, and of what comes and goes
_MARK = "@@"  # stands where each event has its time and version


class Replay:
    """Plays back ``leases`` Leases and ``pods`` Pods, ``rate`` events a second for ``seconds`` once it is told to.

    Events are renewals, or, with ``churn``, locks that are taken and released.
    """

    def __init__(
        self, *, leases: int, pods: int = 0, rate: float = 0.0, seconds: float = 0.0, churn: bool = False
    ) -> None:
        self.rate, self.seconds = rate, seconds
        self.churn = churn
        self.sent = 0
        self.go = asyncio.Event()
        self.done = asyncio.Event()
        self._leases = [_lease(number) for number in range(leases)]
        self._pods = [_pod(number) for number in range(pods)]
        self._halves = [
            tuple(json.dumps({"type": "MODIFIED", "object": one}, separators=(",", ":")).split(_MARK))
            for one in self._leases
        ]

    async def serve(self) -> tuple[asyncio.Server, str]:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def close(self, server: asyncio.Server) -> None:
        server.close()
        mine = asyncio.current_task()
        clients = [task for task in asyncio.all_tasks() if task is not mine]
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                if found:
                    await reader.readexactly(int(found[1]))
                await self._answer(head.split(b" ")[1].decode(), writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        plural = parts.path.rpartition("/")[2]
        if "watch" in query:
            await self._watch(plural, float(query.get("timeoutSeconds", 1e9)), writer)
            return
        if parts.path in _DISCOVERY:
            body = _discovered(parts.path)
        elif plural in {"leases", "pods"}:
            everything = self._leases if plural == "leases" else self._pods
            begin, size = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(everything) or 1
            more = str(begin + size) if begin + size < len(everything) else ""
            body = {"kind": "List", "items": everything[begin : begin + size]}
            body["metadata"] = {"resourceVersion": "1000", "continue": more}
        else:
            body = {"kind": "Status", "status": "Success"}
        data = json.dumps(body).replace(_MARK, "2026-01-01T00:00:00.000000Z").encode()
        writer.write(f"{_HEAD}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()

    async def _watch(self, plural: str, seconds: float, writer: asyncio.StreamWriter) -> None:
        until = time.monotonic() + seconds
        writer.write(f"{_HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        await writer.drain()
        if plural == "leases" and self.rate:
            await self._renew(writer, until)
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1.0))
            if writer.is_closing():
                return
        mark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1001"}}}
        writer.write(_chunk(json.dumps(mark, separators=(",", ":")) + "\n") + b"0\r\n\r\n")
        await writer.drain()

    async def _renew(self, writer: asyncio.StreamWriter, until: float) -> None:
        """Send renewals, spread evenly, until the watch or the measurement is over."""
        await self.go.wait()
        begun, already = time.monotonic(), self.sent
        while not self.done.is_set() and (now := time.monotonic()) < until:
            wanted = min(already + int((now - begun) * self.rate), int(self.rate * self.seconds))
            stamp = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
            lines = []
            while self.sent < wanted:
                before, between, after = self._halves[self.sent // 2 if self.churn else self.sent % len(self._halves)]
                if self.churn:
                    before = before.replace("MODIFIED", "DELETED" if self.sent % 2 else "ADDED").replace(_OLD, _NEW)
                self.sent += 1
                lines.append(f"{before}{1000 + self.sent}{between}{stamp}{after}\n")
            if lines:
                writer.write(_chunk("".join(lines)))
                await writer.drain()
            if self.sent >= self.rate * self.seconds:
                self.done.set()
            await asyncio.sleep(TICK)


def _chunk(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def _discovered(path: str) -> dict[str, Any]:
    body: dict[str, Any] = _DISCOVERY[path]
    if "resources" not in body:
        return body
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {
        "resources": [
            {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": verbs}
            for plural, kind in body["resources"]
        ]
    }


def _lease(number: int) -> dict[str, Any]:
    name = f"job-{number}"
    field = {"f:holderIdentity": {}, "f:leaseDurationSeconds": {}, "f:acquireTime": {}, "f:renewTime": {}}
    return {
        "kind": "Lease",
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {
            "name": lease_name(APP, name),
            "namespace": NAMESPACE,
            "uid": f"00000000-0000-4000-8000-{number:012x}",
            "resourceVersion": _MARK,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": APP},
            "annotations": {
                "tasklock.dev/name": name,
                "tasklock.dev/pod": f"worker-{number}",
                "tasklock.dev/pod-uid": f"10000000-0000-4000-8000-{number:012x}",
                "tasklock.dev/container": "worker",
                "tasklock.dev/token": "999",
            },
            "managedFields": [
                {
                    "manager": "tasklock",
                    "operation": "Update",
                    "apiVersion": "coordination.k8s.io/v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {
                        "f:metadata": {"f:annotations": {".": {}, "f:tasklock.dev/name": {}}, "f:labels": {".": {}}},
                        "f:spec": field,
                    },
                }
            ],
        },
        "spec": {
            "holderIdentity": f"worker-{number}_0123abcd",
            "leaseDurationSeconds": 3600,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": _MARK,
        },
    }


def _pod(number: int) -> dict[str, Any]:
    """Make a Pod of some 10 kB."""
    environment = [{"name": f"VARIABLE_{index}", "value": "x" * 60} for index in range(60)]
    started = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    return {
        "metadata": {
            "name": f"worker-{number}",
            "namespace": NAMESPACE,
            "uid": f"10000000-0000-4000-8000-{number:012x}",
            "resourceVersion": str(number + 1),
            "labels": {"app": "worker"},
            "annotations": {"example.com/config": "x" * 1500},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:field-{index}": {} for index in range(60)}}],
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "worker", "image": "example/worker", "env": environment}],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "worker", "ready": True, "restartCount": 0, "image": "w", "imageID": "", "state": started}
            ],
        },
    }
