"""The operator's web pages: who holds what, for people (``/``), scripts (``/locks``), Prometheus and the kubelet.

Read-only, unless ``release`` is given: that is for a listener which only an authenticating proxy can reach.
What is shown was written by clients, and what comes in may come from anybody.
"""

from __future__ import annotations

import asyncio
import json
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import hdrs, web

from tasklock.cli.text import duration
from tasklock_operator.metrics import Locks, Watches
from tasklock_operator.page import POLICY, Frame, Notice, render
from tasklock_operator.picture import Picture, picture
from tasklock_operator.query import Query, QueryError
from tasklock_operator.release import FLASH, Release, Releasing, flash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasklock_operator.entry import Entry
    from tasklock_operator.metrics import Metrics
    from tasklock_operator.picture import Lock

OLD: Final = 60.0  # seconds without a sign of life: watches that work are renewed more often than that
MAX_FORM: Final = 16_384  # bytes
MAX_UNDER_WAY: Final = 4  # pages and answers that are being written, or wait for that
MAX_WAITERS: Final = 100  # tickets of one lock that /locks names ...
MAX_QUEUES: Final = 2_000  # ... and of all together

_SECURE: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, a form's POST says Origin: null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.SERVER: "tasklock-operator",
}
_COMPRESSED: Final = 4_096  # bytes from which it is worth it


class Wellbeing(Watches, Protocol):
    """How the operator is; its Health."""

    def ready(self) -> tuple[bool, str]: ...  # noqa: D102 - as in health.py
    def alive(self) -> tuple[bool, str]: ...  # noqa: D102 - as in health.py


def make_app(  # noqa: PLR0913 - three to show, two clocks, and two that go together
    book: Locks,
    metrics: Metrics,
    health: Wellbeing,
    *,
    clock: Callable[[], float],
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    release: Release | None = None,
    user_header: str | None = None,
) -> web.Application:
    """Return the application for one listener.

    ``clock`` is the operator's monotonic clock. ``release`` turns force-release on, for users whom an authenticating
    proxy names in ``user_header``: give it to no listener that anything but that proxy can reach.
    """
    if (release is None) != (not user_header):
        msg = "release and user_header go together: nobody may release a lock without a name"
        raise ValueError(msg)
    releasing = Releasing(book, release, user_header) if release and user_header else None
    site = _Site(book, metrics, health, clock, wall, releasing)
    app = web.Application(client_max_size=MAX_FORM)
    app.on_response_prepare.append(_secure)
    app.on_cleanup.append(site.close)
    app.router.add_get("/", site.page)
    app.router.add_get("/locks", site.locks)
    app.router.add_get("/metrics", site.metrics)
    app.router.add_get("/healthz", site.healthz)
    app.router.add_get("/readyz", site.readyz)
    if releasing:
        app.router.add_post("/release", releasing.post)
    return app


class _Site:
    def __init__(  # noqa: PLR0913, PLR0917 - what make_app was given
        self,
        book: Locks,
        metrics: Metrics,
        health: Wellbeing,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        releasing: Releasing | None,
    ) -> None:
        self._book, self._metrics, self._health, self._releasing = book, metrics, health, releasing
        self._clock, self._wall = clock, wall
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pages")
        self._under_way = 0

    async def page(self, request: web.Request) -> web.Response:
        query = _query(request)
        whole = request.query.get("part") != "live"
        notices, user = [*self._notices()], None
        if self._releasing:
            user = self._releasing.user(request)
            if user is None:
                said = f"Nothing can be released: the proxy names no user in the header {self._releasing.user_header}."
                notices.append(Notice(kind="warn", text=said))
        frame = Frame(notices=tuple(notices), flash=flash_of(request) if whole and self._releasing else None, user=user)
        look = self._look(query)
        text = await self._aside(lambda: render(look(), query, frame, whole=whole))
        reply = web.Response(text=text, content_type="text/html", charset="utf-8", zlib_executor=self._thread)
        if frame.flash:
            reply.del_cookie(FLASH)
        return reply

    async def locks(self, request: web.Request) -> web.Response:
        query = _query(request)
        ready, said = self._health.ready()
        state = {"ready": ready, "message": said, "watch_age_seconds": self._watch_age()}
        look = self._look(query)
        text = await self._aside(lambda: json.dumps(state | as_json(look(), query)) + "\n")
        return web.Response(text=text, content_type="application/json", zlib_executor=self._thread)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = await self._metrics.page(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        headers = {hdrs.CONTENT_TYPE: content_type}
        return web.Response(body=body, headers=headers, zlib_executor=self._thread)  # not that of the credentials

    async def healthz(self, _: web.Request) -> web.Response:
        return _probe(self._health.alive())

    async def readyz(self, _: web.Request) -> web.Response:
        return _probe(self._health.ready())

    def _look(self, query: Query) -> Callable[[], Picture]:
        """Look at the locks now; return what draws the picture of them."""
        entries, now, wall = self._book.locks(), self._clock(), self._wall()
        return lambda: picture(entries, query, now=now, wall=wall)

    async def _aside(self, work: Callable[[], str]) -> str:
        """Do ``work`` in the one thread there is for it: visitors, however many, must not hold up the operator."""
        if self._under_way >= MAX_UNDER_WAY:
            raise web.HTTPServiceUnavailable(text="too many ask at once: try again\n", headers={hdrs.RETRY_AFTER: "2"})
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._under_way -= 1

    async def close(self, _: web.Application) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _watch_age(self) -> float | None:
        """Return for how many seconds the Leases' watches may have been silent; None where none has begun."""
        ages = [age for name, age in self._health.watch_age().items() if name.startswith("leases")]
        return max(ages) if ages and all(map(math.isfinite, ages)) else None

    def _notices(self) -> list[Notice]:
        ready, said = self._health.ready()
        age = self._watch_age()
        if age is not None and age > OLD:
            text = (
                f"The API server has been silent for {duration(age)}: all this may be that old, and nothing is freed."
            )
            return [Notice(kind="bad", text=text)]
        if not ready:
            return [Notice(kind="warn", text=f"Not ready yet, so this may not be all: {said}")]
        return []


def as_json(seen: Picture, query: Query) -> dict[str, object]:
    """Return what ``/locks`` shows of a picture; the keys are for scripts and stay."""
    left = MAX_QUEUES
    locks = []
    for lock in seen.locks:
        named = lock.waiters[: min(MAX_WAITERS, left)]
        left -= len(named)
        locks.append(_lock(lock, named))
    return {
        "held": seen.held,
        "waiting": seen.waiting,
        "overdue": seen.overdue,
        "stale": seen.stale,
        "matching": seen.matching,
        "offset": query.offset,
        "limit": query.limit,
        "locks": locks,
    }


def _lock(lock: Lock, named: Sequence[Entry]) -> dict[str, object]:
    """Return a lock with the keys of ``tasklock ls -o json`` and some more."""
    entry, held = lock.entry, lock.state != "free"
    return {
        "name": entry.name,
        "namespace": entry.namespace,
        "app": entry.app,
        "lease": lock.lease,
        "uid": entry.uid if held else None,
        "holder": entry.holder if held else None,
        "pod": entry.pod if held else None,
        "container": entry.container if held else None,
        "note": entry.note if held else None,
        "since": _iso(entry) if held else None,
        "age_seconds": round(lock.age, 3) if held else None,
        "expires_in_seconds": round(lock.left, 3) if held else None,
        "ttl_seconds": entry.ttl if held else None,
        "token": entry.token if held else None,
        "stale": lock.state == "stale",
        "state": lock.state,
        "waiting": len(lock.waiters),
        "queue": [{"holder": e.holder, "pod": e.pod, "since": _iso(e)} for e in named],
    }


def _iso(entry: Entry) -> str | None:
    return entry.acquired.isoformat() if entry.acquired else None


def _query(request: web.Request) -> Query:
    try:
        return Query.parse(request.query)
    except QueryError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None


def _probe(state: tuple[bool, str]) -> web.Response:
    good, said = state
    return web.Response(text=f"{said}\n", status=200 if good else 503)


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_SECURE)
    if isinstance(response, web.Response) and (response.content_length or 0) >= _COMPRESSED:
        response.enable_compression()
