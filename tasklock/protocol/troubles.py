"""From an answer that is no help to an error that says what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasklock.errors import LockApiError, LockForbiddenError, LockTimeoutError, TaskLockedException
from tasklock.lease import Lease, describe
from tasklock.naming import shortened
from tasklock.protocol.effects import FORBIDDEN, NOT_FOUND, OK, SERVER_ERROR, TOO_MANY_REQUESTS, UNAUTHORIZED

if TYPE_CHECKING:
    from datetime import datetime

    from tasklock.protocol.effects import Reply, Verb

_POLICIES = ("ValidatingAdmissionPolicy", "admission webhook")
_LIMIT = 400  # characters of the server's words in a sentence of ours


def api_error(reply: Reply, verb: Verb, name: str | None, *, everywhere: bool = False) -> LockApiError:
    """Return the error for a reply to ``verb`` on behalf of lock ``name``, or of a list (of the whole cluster)."""
    lock = f"lock {shortened(name)}" if name is not None else "listing the locks"
    said = shortened(reply.message, limit=_LIMIT)
    if reply.status == 0:
        return LockApiError(f"{lock}: {reply.error}", reason="Unreachable")
    if reply.body is None or (reply.status == NOT_FOUND and not reply.reason):
        return LockApiError(
            f"{lock}: the server answered {reply.status} with something that is no Kubernetes object ({said}): "
            f"check that the configured address is a Kubernetes API server and not a proxy or another service",
            status=reply.status,
            reason="NotKubernetes",
        )
    if reply.status == FORBIDDEN and reply.caused_by("NamespaceTerminating"):
        return LockApiError(
            f"{lock}: its namespace is being deleted, and takes no new Leases: use another one with namespace= or "
            f"TASKLOCK_NAMESPACE",
            status=reply.status,
            reason="NamespaceTerminating",
        )
    if reply.status == FORBIDDEN and any(sign in reply.message for sign in _POLICIES):
        return LockForbiddenError(
            f"{lock}: a policy of the cluster refuses to {verb} its Lease, and says {said}",
            verb=verb,
            reason=reply.reason or "Forbidden",
        )
    if reply.status == FORBIDDEN:
        what = (
            "in the whole cluster: bind a ClusterRole that allows it, or look at one namespace"
            if everywhere
            else "here: bind the Role tasklock-client, which allows get, list, watch, create, patch and delete on "
            "leases.coordination.k8s.io"
        )
        return LockForbiddenError(
            f"{lock}: may not {verb} leases {what}; the API server said {said}",
            verb=verb,
            reason=reply.reason or "Forbidden",
        )
    if reply.status == UNAUTHORIZED:
        hint = (
            "the API server does not accept these credentials (401), even after they were loaded again: log in "
            "again, or check the service account token or the kubeconfig's user"
        )
    elif reply.status == NOT_FOUND:
        hint = (
            f"the API server said {said}: create the namespace, or name another one with namespace= (-n) "
            f"or TASKLOCK_NAMESPACE"
        )
    elif reply.status == TOO_MANY_REQUESTS or reply.status >= SERVER_ERROR:
        hint = f"the API server is overloaded or unwell ({reply.status}: {said}): try again later"
    elif reply.status < OK + 100:
        hint = f"the server answered {verb} with {reply.status} and no Lease: check that it is a Kubernetes API server"
    else:
        hint = f"the API server refused to {verb} its Lease ({reply.status}: {said})"
    return LockApiError(f"{lock}: {hint}", status=reply.status, reason=reply.reason)


def too_late(name: str, *, timeout: float) -> TaskLockedException:
    """Return the error for a lock that was ours, but only once the time to wait for it had passed."""
    kind = LockTimeoutError if timeout else TaskLockedException
    return kind(
        f"lock {shortened(name)} could not be had in time, though nobody else was seen to hold it: this process or the "
        f"API server was too slow; try again, or wait for longer",
        name=name,
    )


def locked(
    name: str, lease: Lease | None, *, timeout: float, date: datetime | None, here: str | None = None
) -> TaskLockedException:
    """Return the error that says who holds lock ``name``, in vain waited for ``timeout`` seconds.

    ``here`` is the asking process, as Leases name it.
    """
    waited = f" after waiting {timeout:.3g} s" if timeout else ""
    by = f" by {describe(lease)}" if lease else ""
    own = " (by this very process: a lock is not re-entrant)" if here and lease and lease.process == here else ""
    kind = LockTimeoutError if timeout else TaskLockedException
    return kind(
        f"lock {shortened(name)} is held{by}{waited}{own}",
        name=name,
        holder=lease.holder if lease else None,
        since=lease.acquired if lease else None,
        pod=lease.pod if lease else None,
        ttl=lease.ttl if lease else None,
        stale=lease.looks_stale(date) if lease else False,
    )
