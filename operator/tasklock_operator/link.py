"""What kopf takes for its HTTP session: lists and watches over the library's own transport.

kopf gives up a 403 after nine attempts, prints each failed one, and ends with any error that a watch brings. So it
never sees one: whatever fails is told once and tried again here, for as long as it takes. On the way this shows what
kopf does not tell its handlers: which objects a fresh list holds (those that vanished in a gap get no DELETED), when
each line arrived, and that a silent watch is still alive (bookmarks). kopf may only GET: it never writes.

An event costs kopf half a millisecond, and so does each object of a list. So what is listed, and whatever happens to
Leases, goes to the book from here, in the order in which it came: kopf gets empty lists, and now and then a bookmark
that says how far the watch has come. What happens to Pods takes the long way through its handlers: of each only what is
read there, for kopf would end with anything that it does not understand. After a line that nobody can read, kopf lists
again.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs

import aiohttp

from tasklock.protocol.effects import GONE, NOT_FOUND, OK
from tasklock.transport.clock import clock
from tasklock_operator.lines import EXPIRED, bookmark, for_kopf, read_line, texts
from tasklock_operator.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from tasklock.lease import Json
    from tasklock.protocol.effects import Reply
    from tasklock.transport.aio import AsyncApi, Stream
    from tasklock_operator.metrics import Metrics
    from tasklock_operator.place import Place

SERVER: Final = "https://kubernetes"  # a name for kopf: the transport knows the way
MAX_PAGE: Final = 16 * 2**20  # bytes; larger ones are asked for in smaller pieces
SMALLER: Final = 8  # times
ANSWER_SECONDS: Final = 30.0
OPEN_SECONDS: Final = 15.0
BOOKMARK_SECONDS: Final = 5.0
WATCH_SECONDS: Final = 25.0  # before a watch ends, the API server tells how far it is: the next goes on from there
BRIEF: Final = 1.0  # seconds; a watch that lives no longer is not opened again at once

Event = Mapping[str, Any]  # kopf's raw event: type (None where it was listed), object, and of a watch: at

_PATH = re.compile(r"/(?:api/v1|apis/coordination\.k8s\.io/v1)/(?:namespaces/([^/?]+)/)?(leases|pods)")
_LIMIT = re.compile(r"(?<=[?&]limit=)\d+")
_HINT = "bind the operator's Role to its service account (the chart does)"


class Link:
    """An aiohttp session, as far as kopf uses one."""

    closed = False

    def __init__(
        self,
        api: AsyncApi,
        places: Iterable[Place],
        *,
        discovery: Trouble,
        relisted: Callable[[Place], None],
        seen: Callable[[str, Event], None],
    ) -> None:
        """Take what it works with.

        ``seen`` is called for each object that is listed and each change of a Lease; ``relisted`` once a fresh list is
        complete.
        """
        self.headers: dict[str, str] = {}
        self.metrics: Metrics | None = None
        self._api = api
        self._places = {(place.resource, place.namespace): place for place in places}
        self._silences = {place: Trouble(f"hear of {place.name}") for place in self._places.values()}
        self._last: dict[Place, Watching] = {}  # which kopf was given, until it asks for another
        self._relisted = relisted
        self._seen = seen
        self._asking: set[asyncio.Task[Any] | None] = set()
        self._discovery = discovery

    async def request(self, *, method: str, url: str, **_: object) -> Answer | Watching:
        """Answer a request of kopf's; never with an error that would change if it were asked again."""
        if method.upper() != "GET":
            msg = f"kopf tried to {method} {url}: this operator never writes through it"
            raise PermissionError(msg)
        path = url.removeprefix(SERVER)
        task = asyncio.current_task()
        self._asking.add(task)
        try:
            return await self._answer(path)
        finally:
            self._asking.discard(task)

    def stop(self) -> None:
        """Cancel whoever still waits for an answer: kopf leaves tasks behind when it ends, and then waits for them."""
        for task in self._asking:
            if task is not None:
                task.cancel()

    async def _answer(self, path: str) -> Answer | Watching:
        bare, __, query = path.partition("?")
        found = _PATH.fullmatch(bare)
        place = self._places.get((found[2], found[1])) if found else None
        if place is None:
            return await self._discover(path)
        asked: dict[str, list[str]] = parse_qs(query)
        if "watch" in asked:
            return await self._watch(place, path)
        return await self._list(place, path, first="continue" not in asked)

    async def close(self) -> None:
        """Do nothing: the transport's owner closes it."""

    async def _discover(self, path: str) -> Answer:
        while True:
            reply = await self._api.request("GET", path, timeout=ANSWER_SECONDS)
            if reply.status in {OK, NOT_FOUND} and reply.body is not None:
                if self._discovery:
                    self._discovery.over()
                    for place in self._places.values():
                        place.heard = time.monotonic()
                return Answer(reply.status, reply.body)
            await self._failed(reply, self._discovery, "get")

    async def _list(self, place: Place, path: str, *, first: bool) -> Answer:
        """Return one page. The last one completes the list."""
        while True:
            asked = clock()
            if place.page is not None:
                path = _LIMIT.sub(str(place.page), path)
            reply = await self._api.request("GET", path, timeout=ANSWER_SECONDS, limit=MAX_PAGE)
            if reply.oversized and (limit := _LIMIT.search(path)) and int(limit[0]) > 1:
                place.page = max(1, int(limit[0]) // SMALLER)
                continue
            items, metadata = (reply.body or {}).get("items"), (reply.body or {}).get("metadata")
            if reply.status == OK and isinstance(items, list) and isinstance(metadata, dict):
                break
            if reply.status == GONE and not first:  # the pages have grown too old to go on
                raise StartAgainError
            await self._failed(reply, place.trouble, "list")
        if first:
            place.asked, place.uids = asked, set()
        place.heard = time.monotonic()
        for item in items:
            if uid := _uid(item):
                place.uids.add(uid)
                self._seen(place.resource, {"type": None, "object": item})
        going_on = texts(metadata, ("resourceVersion", "continue"))
        if "continue" not in going_on:
            self._relisted(place)
            place.listed, place.uids = True, set()
        return Answer(OK, {"items": [], "metadata": going_on})

    async def _watch(self, place: Place, path: str) -> Watching:
        silence, last = self._silences[place], self._last.pop(place, None)
        given_up = last is not None and not last.ended  # by kopf, whose clock began before that watch was open
        if given_up and place.age >= WATCH_SECONDS:
            silence.met_as("silent", f"its watch brought nothing for {place.age:.0f} s")
        if time.monotonic() - place.opened < BRIEF:  # it ended as soon as it began
            place.brief += 1
            await asyncio.sleep(min(5.0, 0.05 * 2 ** min(place.brief, 10)))
        else:
            place.brief = 0
        while True:
            place.opened = time.monotonic()
            reply, stream = await self._api.open(path, timeout=OPEN_SECONDS)
            if stream is not None:
                place.trouble.over()
                place.heard = time.monotonic()
                self._last[place] = Watching(place, stream, self._seen, silence=silence)
                return self._last[place]
            if reply.status == GONE:
                return Watching(place, None, self._seen)
            await self._failed(reply, place.trouble, "watch")

    async def _failed(self, reply: Reply, trouble: Trouble, verb: str) -> None:
        if self.metrics is not None:
            self.metrics.api_error(verb, reply.status)
        trouble.met(reply, hint=_HINT)
        await asyncio.sleep(max(trouble.pause, reply.retry_after or 0.0))


class StartAgainError(aiohttp.ClientPayloadError):
    """Raised when a list has to be begun anew: the one error after which kopf just does that, without a word."""


class Answer:
    """An answer that was read whole."""

    closed = True

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self._body = body

    async def json(self) -> Json:
        """Return the body."""
        return self._body

    def raise_for_status(self) -> None:
        """Raise what aiohttp would: kopf makes its own error of it."""
        raise aiohttp.ClientResponseError(None, (), status=self.status)  # type: ignore[arg-type] # kopf reads none of it

    def close(self) -> None:
        """Do nothing: it is over."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Watching:
    """A watch under way; without a stream, one whose resourceVersion is too old."""

    status = OK

    def __init__(
        self,
        place: Place,
        stream: Stream | None,
        seen: Callable[[str, Event], None],
        *,
        silence: Trouble | None = None,
    ) -> None:
        self.headers: dict[str, str] = {}
        self.content = self
        self._place = place
        self._stream = stream
        self._seen = seen
        self._silence = silence
        self._short = place.resource == "leases"
        self.closed = False
        self.ended = False  # by the API server, or by what it said

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """Yield whole lines, each with the time when it came; whatever error ends the watch, kopf lists again."""
        if self._stream is None:
            yield EXPIRED
            return
        told, version = time.monotonic(), ""  # when kopf was told how far it came, and how far it came since
        while lines := await self._stream.lines():
            self._place.heard = time.monotonic()
            at, passed = clock(), []
            for line in lines:
                event = read_line(line)
                if event is None:
                    passed.append(EXPIRED)
                    break
                if self._silence:
                    self._silence.over()
                told_of = texts(event["object"].get("metadata"))
                if self._short and event["type"] != "BOOKMARK":
                    self._seen("leases", {**event, "at": at})
                    version = told_of.get("resourceVersion", version)
                else:
                    passed.append(for_kopf(event, told_of, at))
                    version = "" if "resourceVersion" in told_of else version
            if version and not passed and self._place.heard - told >= BOOKMARK_SECONDS:
                passed.append(bookmark(version))
                told, version = self._place.heard, ""
            self.ended = passed[-1:] == [EXPIRED]
            if passed:
                yield b"".join(passed)
            if self.ended:
                return
        self.ended = True
        if version:  # where the next watch goes on
            yield bookmark(version)

    def close(self) -> None:
        """End the watch."""
        self.closed = True
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _uid(item: Any) -> str:  # noqa: ANN401 - foreign JSON
    metadata = item.get("metadata") if isinstance(item, dict) else None
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    return uid if isinstance(uid, str) else ""
