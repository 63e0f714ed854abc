"""A LockClient: one app's locks in one namespace, and what it takes to reach them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from tasklock.lease import DEFAULT_TTL, LockInfo
from tasklock.lock import TaskLock
from tasklock.naming import DEFAULT_APP, check_app, check_namespace, check_ttl
from tasklock.protocol.release import flush, flush_stale, force, listing
from tasklock.session import Session
from tasklock.transport.config import Source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from tasklock.hold import Hold


class LockClient:
    """The locks of one app in one namespace. Safe to share between threads; usable in a forked child.

    Nothing is read or sent before the first use of a lock.
    """

    def __init__(  # noqa: PLR0913 - keyword-only options
        self,
        app: str = DEFAULT_APP,
        *,
        namespace: str | None = None,
        ttl: int = DEFAULT_TTL,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        takeover: bool = True,
        watch_holds: bool = False,
        announce_process: bool = True,
    ) -> None:
        """Name the app and, where the ambient configuration is not wanted, the cluster.

        Args:
            app: a DNS-1123 label; locks of the same name in different apps are different locks.
            namespace: else TASKLOCK_NAMESPACE, else the pod's or the kubeconfig context's, else ``default``.
            ttl: whole seconds from 1 to 86,400: after which a lock frees itself that nobody renews.
            kubeconfig: a path; without it and ``context``: in-cluster, else KUBECONFIG, else ~/.kube/config.
            context: of the kubeconfig.
            takeover: whether to end a stale lock of somebody else when it is in the way.
            watch_holds: watch each held lock, to learn within milliseconds of its deletion (one watch per hold).
            announce_process: name this process in its Leases, so that neighbours on the machine see its death.

        Raises InvalidLockError for a value that no lock can have.

        """
        check_app(app)
        self.app = app
        self.ttl = check_ttl(ttl)
        check_namespace(namespace)
        self.takeover = takeover
        source = Source(kubeconfig=kubeconfig, context=context, namespace=namespace)
        self.session = Session(source, watch_holds=watch_holds, announce_process=announce_process)

    @property
    def namespace(self) -> str:
        """The namespace of the locks. Raises LockApiError where there is no usable configuration."""
        return self.session.api.connection().namespace

    def lock_task(  # noqa: PLR0913 - keyword-only options
        self,
        name: str,
        *,
        ttl: int | None = None,
        timeout: float | None = 0,
        takeover: bool | None = None,
        note: str | None = None,
        on_lost: Callable[[Hold], object] | None = None,
    ) -> TaskLock:
        """Return lock ``name``, to be used as a context manager or decorator; the options are TaskLock's.

        Raises InvalidLockError for a value that no lock can have.
        """
        return TaskLock(self, name, ttl=ttl, timeout=timeout, takeover=takeover, note=note, on_lost=on_lost)

    def is_locked(self, name: str) -> bool:
        """Tell whether trying once to acquire lock ``name`` now would raise TaskLockedException.

        Raises InvalidLockError and LockApiError as ``TaskLock.acquire`` does.
        """
        return self.session.is_locked(self.app, name, takeover=self.takeover)

    def clear(self, name: str) -> bool:
        """Force lock ``name`` free, whoever holds it; return whether it was held.

        Raises InvalidLockError where the Lease of that name is no lock of ours, LockApiError where the API fails.
        """
        return self.session.run(force(self.app, name))

    def flush_locks(self, *names: str) -> set[str]:
        """Force the named locks free, or all of the app's; return the names of those that were held.

        Raises InvalidLockError and LockApiError as ``clear`` does.
        """
        if not names:
            return self.session.run(flush(self.app))
        return {name for name in names if self.clear(name)}

    def flush_stale(self, *, recent: bool = False) -> set[str]:
        """Free the app's locks whose holders are dead; return their names.

        At once where the holder was a process of this machine; where nobody renews after 1.1 times the ttl without any
        change, and blocks for that long. With ``recent`` all locks are watched for that, else those that look stale:
        nobody has renewed them for twice their ttl by the API server's clock. Raises LockApiError where the API fails.
        """
        return self.session.run(flush_stale(self.app, recent=recent))

    def locks(self, *, all_apps: bool = False, all_namespaces: bool = False) -> list[LockInfo]:
        """Return the app's locks that exist now, longest held first; or those of every app, or every namespace.

        Raises LockApiError where the API fails (``all_namespaces`` needs the verb ``list`` in the whole cluster).
        """
        leases, date = self.session.run(listing(None if all_apps else self.app, everywhere=all_namespaces))
        now = date or datetime.now(UTC)
        found = [LockInfo.of(lease, now=now) for lease in leases]
        return sorted(found, key=lambda info: (-(info.age or 0.0), info.namespace, info.lease))

    def close(self) -> None:
        """Look once more for what abandoned attempts may have created, and close idle connections.

        A program that ends right after an attempt was cut short (Ctrl-C) should: else that Lease may stay for its ttl.
        """
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LockClient app={self.app}>"
