"""An API that answers from a script and fails on any request that nobody expected."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tasklock.naming import lease_name
from tasklock.protocol.effects import Reply, Send
from tasklock.transport.clock import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Stream:
    """A watch that tells these lines, in these batches, and ends."""

    def __init__(self, *batches: list[bytes]) -> None:
        self._batches = deque(batches)
        self.closed = False

    async def lines(self) -> list[bytes]:
        return self._batches.popleft() if self._batches else []

    def close(self) -> None:
        self.closed = True


class Api:
    """Answers requests in turn; ``asked`` are (method, path) of those that came."""

    def __init__(self, *script: Reply | Stream | Callable[[], Reply]) -> None:
        self._script = deque(script)
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Any] = []

    def _next(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((method, path))
        self.bodies.append(body)
        assert self._script, f"nobody expected {method} {path}"
        answer = self._script.popleft()
        return answer() if callable(answer) else answer

    async def request(self, method: str, path: str, body: Any = None, **_: object) -> Reply:
        reply: Reply = self._next(method, path, body)
        return reply

    async def send(self, request: Send, *, namespace: str | None = None) -> Reply:
        reply: Reply = self._next(request.method, f"{namespace}/{request.lease}", request.body)
        return reply

    async def open(self, path: str, **_: object) -> tuple[Reply, Stream | None]:
        answer = self._next("WATCH", path)
        return (answer, None) if isinstance(answer, Reply) else (ok(), answer)


class Counting:
    """Metrics that only remember."""

    def __init__(self) -> None:
        self.reaps: list[tuple[str, str, str]] = []
        self.errors: list[tuple[str, int]] = []

    def reaped(self, app: str, namespace: str, reason: str, delay: float) -> None:
        assert delay >= 0
        self.reaps.append((app, namespace, reason))

    def api_error(self, verb: str, status: int) -> None:
        self.errors.append((verb, status))


def ok(body: Any = None) -> Reply:
    return Reply(status=200, body=body if body is not None else {"kind": "Status"}, received=clock())


def status(code: int, reason: str, message: str = "", **more: Any) -> Reply:
    body = {"kind": "Status", "reason": reason, "message": message or reason, "code": code, **more}
    return Reply(status=code, body=body, received=clock())


def unanswered(*, maybe_done: bool = True) -> Reply:
    return Reply(status=0, maybe_done=maybe_done, error="no answer from the API server: check the network")


def listing(uids: Iterable[str], more: str = "") -> Reply:
    items = [{"metadata": {"uid": uid, "managedFields": [{}]}, "spec": {"containers": [{}]}} for uid in uids]
    return ok({"items": items, "metadata": {"resourceVersion": "7", "continue": more}})


def lease(
    name: str = "job", *, uid: str = "u-1", version: str = "7", ttl: int = 1, **annotations: str
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": lease_name("app", name),
            "namespace": "ns",
            "uid": uid,
            "resourceVersion": version,
            "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "app"},
            "annotations": {"tasklock.dev/name": name, **{f"tasklock.dev/{k}": v for k, v in annotations.items()}},
        },
        "spec": {"leaseDurationSeconds": ttl, "holderIdentity": "who_1"},
    }
