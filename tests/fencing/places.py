"""Where the fenced things are: the policy on the real API server, and the examples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cluster.rest import APPLY, MERGE_PATCH, Reply

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane
    from cluster.rest import Rest

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "fencing"
MANIFESTS: Final = ROOT / "manifests" / "fence"
FENCE: Final = "tasklock.dev/fence"


class Fenced:
    """ConfigMaps and others in a namespace of the real API server, where ``manifests/fence`` is in force."""

    def __init__(self, control_plane: ControlPlane, namespace: str = "default") -> None:
        self.control_plane = control_plane
        self.namespace = namespace
        self.rest: Rest = control_plane.rest
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"

    def __enter__(self) -> Self:
        self.control_plane.kubectl("apply", "-k", str(MANIFESTS))
        deadline = time.monotonic() + 30
        probe = {"metadata": {"name": "probe", "annotations": {FENCE: "no number"}}}
        while self.rest.request("POST", f"{self.path}?dryRun=All", probe).status != 403:
            assert time.monotonic() < deadline, "the policy is not in force"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.control_plane.kubectl("delete", "-k", str(MANIFESTS))

    def at(self, namespace: str) -> Fenced:
        return Fenced(self.control_plane, namespace)

    def create(self, name: str = "thing", **fences: str) -> Reply:
        """Create a ConfigMap; ``fence`` is the annotation, ``fence_x`` is ``tasklock.dev/fence.x``."""
        annotations = {f"tasklock.dev/{key.replace('_', '.')}": value for key, value in fences.items()}
        body = {"metadata": {"name": name, "annotations": annotations}, "data": {"value": "0"}}
        return self.rest.request("POST", self.path, body)

    def patch(self, token: object = None, name: str = "thing", rest: Rest | None = None, **data: str) -> Reply:
        """Merge-PATCH data and, where given, the fence."""
        body: dict[str, Any] = {"data": data}
        if token is not None:
            body["metadata"] = {"annotations": {FENCE: token}}
        return (rest or self.rest).request("PATCH", f"{self.path}/{name}", body, MERGE_PATCH)

    def apply(self, manager: str, token: str | None, name: str = "thing", **data: str) -> Reply:
        """Server-side apply."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        if token is not None:
            body["metadata"]["annotations"] = {FENCE: token}
        query = f"fieldManager={manager}&force=true"
        return self.rest.request("PATCH", f"{self.path}/{name}?{query}", body, APPLY)

    def get(self, name: str = "thing") -> Any:
        return self.rest.request("GET", f"{self.path}/{name}").body

    def fence_of(self, name: str = "thing") -> str | None:
        found: str | None = self.get(name)["metadata"].get("annotations", {}).get(FENCE)
        return found


def refused(reply: Reply, *words: str) -> str:
    """Check that a write was denied with the policy's sentence."""
    assert (reply.status, reply.body["reason"]) == (403, "Forbidden"), reply
    said: str = reply.body["message"]
    assert "tasklock-fence" in said
    for word in words:
        assert word in said, said
    return said


def accepted(reply: Reply) -> None:
    assert reply.status in {200, 201}, reply
