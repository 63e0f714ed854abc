"""A control plane of one's own whose etcd can be killed, restarted on the same data, paused, filled and emptied."""

from __future__ import annotations

import base64
import json
import signal
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

from cluster.control_plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.processes import Process

PIECE: Final = "x" * 900_000
MANY: Final = 40


class FragilePlane(ControlPlane):
    """Its etcd takes no more than ``quota`` bytes: soon filled on purpose, and not by some minutes of renewals."""

    quota = 8 << 20

    def kill_etcd(self) -> None:
        self._processes.pop("etcd").end(signal.SIGKILL)

    def start_etcd(self) -> None:
        """Start etcd on the data that is there, and wait until the API server reaches it."""
        self._start_etcd()
        self._processes["etcd"].wait_until(self._answers)
        self._processes["kube-apiserver"].wait_until(self._is_ready)

    @contextmanager
    def etcd_paused(self) -> Iterator[None]:
        """Freeze etcd: the API server accepts requests, and can answer hardly any."""
        with self._paused("etcd"):
            yield
        self._processes["kube-apiserver"].wait_until(self._is_ready)

    def fill(self) -> None:
        """Create ConfigMaps until etcd has no space and refuses every write."""
        path = "/api/v1/namespaces/default/configmaps"
        for number in range(MANY):
            body = {"metadata": {"name": f"filler-{number}"}, "data": {"text": PIECE}}
            reply = self.rest.request("POST", path, body)
            if reply.status != 201:
                assert "database space exceeded" in reply.body["message"], reply
                return
        message = f"{MANY} ConfigMaps fit into {self.quota} bytes"
        raise AssertionError(message)

    def empty(self) -> None:
        """Do what an administrator does about it: delete, compact, defragment, disarm."""
        for number in range(MANY):
            self.rest.request("DELETE", f"/api/v1/namespaces/default/configmaps/filler-{number}")
        key = base64.b64encode(b"/").decode()
        revision = self._ask_etcd("kv/range", key=key)["header"]["revision"]
        self._ask_etcd("kv/compaction", revision=revision, physical=True)
        self._ask_etcd("maintenance/defragment")
        for alarm in self.alarms():
            self._ask_etcd("maintenance/alarm", action="DEACTIVATE", memberID=alarm["memberID"], alarm=alarm["alarm"])

    def alarms(self) -> list[dict[str, str]]:
        """Return what etcd complains of."""
        found: list[dict[str, str]] = self._ask_etcd("maintenance/alarm", action="GET").get("alarms", [])
        return found

    def _start(self, name: str, binary: Path, *args: str) -> Process:
        more = (f"--quota-backend-bytes={self.quota}",) if name == "etcd" else ()
        return super()._start(name, binary, *args, *more)

    def _answers(self) -> bool:
        try:
            self._ask_etcd("maintenance/status")
        except (OSError, HTTPException):
            return False
        return True

    def _ask_etcd(self, what: str, **question: object) -> Any:
        url = f"http://127.0.0.1:{self._etcd_port}/v3/{what}"
        with urllib.request.urlopen(url, json.dumps(question).encode(), timeout=30) as answer:
            return json.loads(answer.read())
