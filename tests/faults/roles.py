"""A Role that is taken away for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from contract.place import WORKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.control_plane import ControlPlane


@contextmanager
def without_role(control_plane: ControlPlane, namespace: str) -> Iterator[None]:
    """Have the workers of a namespace lack their Role for as long as the block lasts."""
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    name = f"for-{WORKER}"
    bound = control_plane.rest.request("GET", f"{bindings}/{name}").body
    assert control_plane.rest.request("DELETE", f"{bindings}/{name}").status == 200
    try:
        yield
    finally:
        reply = control_plane.rest.request("POST", bindings, {**bound, "metadata": {"name": name}})
        assert reply.status == 201, reply
