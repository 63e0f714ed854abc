"""The operator without kopf: what the handlers call, and what runs beside them."""

from __future__ import annotations

import asyncio
import logging
import resource
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from tasklock.protocol.effects import CONFLICT, NOT_FOUND
from tasklock.protocol.release import deletion
from tasklock.transport.aio import AsyncApi
from tasklock.transport.clock import clock
from tasklock.transport.config import Source
from tasklock_operator.ages import held_for
from tasklock_operator.book import Book
from tasklock_operator.health import Health
from tasklock_operator.link import Link
from tasklock_operator.listen import listen
from tasklock_operator.metrics import Metrics
from tasklock_operator.place import Place
from tasklock_operator.reaper import Reaper, lingers
from tasklock_operator.reports import Reports
from tasklock_operator.status import make_app
from tasklock_operator.trouble import Trouble

if TYPE_CHECKING:
    from aiohttp import web

    from tasklock_operator.book import Entry
    from tasklock_operator.link import Event
    from tasklock_operator.settings import Listen, Settings

_log = logging.getLogger("tasklock_operator")


class App:
    """One operator: its book, its link to the API server, its tasks and its pages."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is read or sent before ``start``."""
        self.settings = settings
        self.book = Book()
        self.api = AsyncApi(Source(namespace="default"))
        resources = ["leases", "pods"] if settings.pods else ["leases"]
        self.places = [Place(kind, where) for kind in resources for where in settings.namespaces or (None,)]
        discovery = Trouble("ask the API server what it serves")
        self.health = Health(self.places, discovery)
        self.metrics = Metrics(self.book, self.health, per_lock=settings.lock_metrics)
        self.link = Link(self.api, self.places, discovery=discovery, relisted=self._relisted, seen=self._seen)
        self.link.metrics = self.metrics
        self.reports = Reports(self.api, self.metrics, enabled=settings.events, busy=self._busy)
        self.reaper = Reaper(
            self.book, self.api, self.metrics, blind=self.health.blind, reaped=self.reports.reaped, ended=self._ended
        )
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Read the configuration, listen, and start to reap. Raises LockApiError and OSError."""
        await self.api.connection()
        _allow_many_files()
        settings = self.settings
        pages = make_app(self.book, self.metrics, self.health, clock=clock)
        await self._listen(pages, settings.listen)
        if settings.proxy_listen is not None:
            pages = make_app(
                self.book,
                self.metrics,
                self.health,
                clock=clock,
                release=self.release,
                user_header=settings.proxy_user_header,
            )
            await self._listen(pages, settings.proxy_listen)
        self.health.tasks = [
            asyncio.create_task(self.reaper.run(), name="reaper"),
            asyncio.create_task(self.reports.run(), name="reports"),
        ]
        for task in self.health.tasks:
            task.add_done_callback(_mourn)
        where = ", ".join(settings.namespaces) or "the whole cluster"
        what = "leases and pods" if settings.pods else "leases"
        _log.info("tasklock-operator %s looks after %s of %s", version("tasklock"), what, where)

    async def stop(self) -> None:
        """End the tasks, the pages and the connections; a second call does nothing."""
        self.link.stop()
        for task in self.health.tasks:
            task.cancel()
        await asyncio.gather(*self.health.tasks, return_exceptions=True)
        while self._runners:
            await self._runners.pop().cleanup()
        await self.api.close()

    def lease(self, event: Event) -> None:
        """Take notice of what a list or a watch told of a Lease."""
        now, obj = clock(), event["object"]
        if event["type"] == "DELETED":
            entry = self.book.lease_gone(obj, now)
            if entry is not None and not self.reaper.gone(entry):
                self._ended(entry)
        else:
            self.book.lease_seen(obj, now)
            self.reaper.look()
        self._handled(event, now)

    def pod(self, event: Event) -> None:
        """Take notice of what a list or a watch told of a Pod."""
        now, obj = clock(), event["object"]
        if event["type"] == "DELETED":
            self.book.pod_gone(obj, now)
        else:
            self.book.pod_seen(obj, now)
        self.reaper.look()
        self._handled(event, now)

    async def release(self, entry: Entry, user: str) -> Literal["gone", "changed", "failed"]:
        """Free a lock by a person's order, whoever holds it now."""
        reply = await self.api.send(deletion(entry.lease, uid=entry.uid), namespace=entry.namespace)
        if reply.deleted and lingers(reply):
            _log.warning("%s/%s is deleted, but not gone: it has finalizers", entry.namespace, entry.lease)
            return "failed"
        if reply.deleted or (reply.status == NOT_FOUND and reply.reason):
            return "gone"
        if reply.status == CONFLICT and reply.reason:
            return "changed"
        self.metrics.api_error("delete", reply.status)
        _log.warning("could not free %s/%s for %s: %s", entry.namespace, entry.lease, ascii(user)[:80], reply.status)
        return "failed"

    def _busy(self) -> bool:
        return self.reaper.busy()

    def _ended(self, entry: Entry) -> None:
        if entry.queue is None:
            held = held_for(entry, now=clock(), wall=datetime.now(UTC))
            self.metrics.released(entry.app, entry.namespace, held)

    def _relisted(self, place: Place) -> None:
        """Drop what a fresh list does not hold."""
        resource: Literal["leases", "pods"] = "leases" if place.resource == "leases" else "pods"
        for entry in self.book.relisted(resource, place.namespace, place.uids, place.asked):
            if not self.reaper.gone(entry):
                self._ended(entry)

    def _seen(self, resource: str, event: Event) -> None:
        (self.lease if resource == "leases" else self.pod)(event)

    def _handled(self, event: Event, now: float) -> None:
        at = event.get("at")
        if at is not None:
            self.metrics.handled(max(0.0, now - at))

    async def _listen(self, pages: web.Application, where: Listen) -> None:
        self._runners.append(await listen(pages, where))
        _log.info("listening on http://%s", where)


def _allow_many_files() -> None:
    """Raise the limit of open files as far as we may: connections to the page must not keep the probes out."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _mourn(task: asyncio.Task[None]) -> None:
    """Log why a task has ended that should never; the liveness probe asks for a restart."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the task %s has ended by an error of its own", task.get_name(), exc_info=error)
