"""The demo plays the kubelet: each worker is the container of a Pod, whose status tells when its process has died.

A real kubelet looks once a second; this one tells at once. It speaks to the embedded server only.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from pathlib import Path

CONTAINER: Final = "worker"
PODS: Final = "/api/v1/namespaces/default/pods"
EVENTS: Final = "/apis/events.k8s.io/v1/namespaces/default/events"


class Kubelet:
    """Makes the Pods of the demo's workers on the API server at ``server``; keeps their tokens in ``folder``."""

    def __init__(self, server: str, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._started: dict[str, str] = {}

    def run(self, name: str) -> Path:
        """Make a running Pod; return the file with its service account token, by which its process knows who it is."""
        body = {"metadata": {"name": name}, "spec": {"containers": [{"name": CONTAINER, "image": "demo"}]}}
        uid = self._send("POST", PODS, body)["metadata"]["uid"]
        self._started[name] = _now()
        self._report(name, "Running", {"running": {"startedAt": self._started[name]}})
        claims = {"kubernetes.io": {"pod": {"name": name, "uid": uid}}}
        token = self._folder / f"{name}.token"
        token.write_text(f"demo.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.unsigned")
        return token

    def died(self, name: str) -> None:
        """Report that the process of a Pod was killed."""
        terminated = {"startedAt": self._started[name], "finishedAt": _now(), "exitCode": 137, "reason": "Error"}
        self._report(name, "Failed", {"terminated": terminated})

    def reaped(self, lease: str) -> str | None:
        """Return what the operator's Event says of why it freed ``lease``; None where it did not."""
        for event in self._send("GET", EVENTS)["items"]:
            regarding = event.get("regarding") or {}
            if event.get("reason") == "LockReaped" and (regarding.get("kind"), regarding.get("name")) == (
                "Lease",
                lease,
            ):
                return str(event.get("note", ""))
        return None

    def _report(self, name: str, phase: str, state: dict[str, Any]) -> None:
        container = {
            "name": CONTAINER,
            "state": state,
            "ready": False,
            "restartCount": 0,
            "image": "demo",
            "imageID": "",
        }
        status = {"phase": phase, "containerStatuses": [container]}
        self._send("PATCH", f"{PODS}/{name}/status", {"status": status})

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = json.dumps(body).encode() if body is not None else None
        request = Request(self._server + path, data, {"Content-Type": kind}, method=method)  # noqa: S310 - our own server
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
