"""What a killed pool process held is freed by the process that replaces it.

``revoke(terminate=True, signal="SIGKILL")`` and the kernel's OOM killer leave a process no time to free its lock, a
hard time limit a tenth of a second. On the same machine that lock is taken over by whoever needs it next; workers
elsewhere would have to wait for its ttl.
"""

from __future__ import annotations

import logging
import threading
from functools import cache
from weakref import WeakSet

from celery import Celery, current_app, signals

from tasklock.client import LockClient
from tasklock.errors import LockApiError
from tasklock.naming import app_of, shortened

_log = logging.getLogger("tasklock")


class _Known:
    """Whose locks there are to free, and whether a pool process that starts now replaces another."""

    def __init__(self) -> None:
        self.clients: WeakSet[LockClient] = WeakSet()
        self.by_default = False  # some task's locks are those of the Celery app
        self.is_up = False


_known = _Known()


def client_of(app: Celery) -> LockClient:
    """Return the client of tasks that were given none: the ambient cluster, and an app named as the Celery app is."""
    return _client(app_of(app.main or "celery"))


@cache
def _client(app: str) -> LockClient:
    return LockClient(app)


def remember(client: LockClient | None) -> None:
    """Note that there are tasks with the locks of ``client``, or of the Celery app's own."""
    if client is None:
        _known.by_default = True
    else:
        _known.clients.add(client)


def _free(clients: set[LockClient]) -> None:
    for client in clients:
        try:
            freed = client.flush_stale()
        except LockApiError as error:
            _log.warning("what a killed process may have held was not freed: %s", error)
        else:
            if freed:
                _log.warning("freed what dead processes held: %s", ", ".join(map(shortened, sorted(freed))))


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _note_start(**_: object) -> None:
    _known.is_up = True  # inherited by every process forked from now on


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _look_around(**_: object) -> None:
    clients = set(_known.clients) | ({client_of(current_app)} if _known.by_default else set())
    clients = {client for client in clients if client.takeover}
    if _known.is_up and clients:
        threading.Thread(target=_free, args=(clients,), name="tasklock-free", daemon=True).start()
