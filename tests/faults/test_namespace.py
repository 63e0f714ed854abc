"""Namespaces that are missing, forbidden, or on their way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.place import wait_until
from tasklock import LockApiError, LockForbiddenError

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane
    from contract.place import Place
    from tasklock import LockClient


def test_a_missing_namespace_is_an_error_that_says_to_create_it(place: Place) -> None:
    admin = place.client(kubeconfig=place.admin_kubeconfig, namespace="no-such-namespace")
    for timeout in (0, 30, None):
        with pytest.raises(LockApiError, match=r"create the namespace, or name another one") as missing:
            admin.lock_task("report").acquire(timeout)
        assert (missing.value.status, missing.value.reason) == (404, "NotFound")
        assert "no-such-namespace" in str(missing.value)
    assert admin.locks() == []
    assert admin.flush_locks() == set()
    assert not admin.is_locked("report")
    assert not admin.clear("report")


def test_the_namespace_of_others_is_forbidden(place: Place) -> None:
    client = place.client(namespace="default")
    with pytest.raises(LockForbiddenError, match="may not create leases"):
        client.lock_task("report").acquire()
    with pytest.raises(LockForbiddenError, match="may not get leases"):
        client.is_locked("report")


def test_a_namespace_that_is_being_deleted_takes_no_new_locks_and_says_so(
    control_plane: ControlPlane,
    place: Place,
    client: LockClient,
) -> None:
    """It is no verb that is missing then. What is held can still be renewed and released."""
    hold = client.lock_task("held", ttl=3).acquire()
    assert control_plane.rest.request("DELETE", f"/api/v1/namespaces/{place.namespace}").status == 200
    before = place.lease("held")["spec"]["renewTime"]

    def error() -> LockApiError:
        with pytest.raises(LockApiError) as refused:
            client.lock_task("report").acquire()
        return refused.value

    refused = error()
    assert not isinstance(refused, LockForbiddenError)
    assert "is being deleted" in str(refused)
    assert refused.status == 403
    wait_until(lambda: place.lease("held")["spec"]["renewTime"] > before)
    hold.release()
