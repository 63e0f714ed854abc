"""Force-release from the page. Only behind an authenticating proxy, only by a visitor's own click, only what was seen.

A POST is believed when the proxy names its user, when the browser says that it comes from our own page, and it frees
the very grant whose uid the page showed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from aiohttp import hdrs, web

from tasklock.naming import shortened
from tasklock_operator.page import Notice
from tasklock_operator.query import Query, QueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasklock_operator.entry import Entry
    from tasklock_operator.metrics import Locks

Released = Literal["gone", "changed", "failed"]
Release = Callable[["Entry", str], Awaitable[Released]]  # DELETEs the Entry's very uid, for the user of that name

_NO_USER: Final = "the proxy in front of this page must name the user, once, in the header {}"
_FOREIGN: Final = (
    "this did not come from the operator's own page. If it did: let the proxy pass on the header Host, "
    "or set X-Forwarded-Host"
)

FLASH: Final = "tasklock-flash"
_MAX_USER: Final = 200
_COOKIE = re.compile(r"(gone|changed|failed|free)\.([a-z0-9.-]{1,253})")
_SAID: Final = {
    "gone": ("good", "Released {}."),
    "free": ("good", "{} was free already."),
    "changed": ("warn", "{} was not released: somebody else has taken it since you looked."),
    "failed": ("bad", "{} could not be released. The operator's log says why."),
}
_log = logging.getLogger(__name__)


class Releasing:
    """Answers ``POST /release``."""

    def __init__(self, book: Locks, release: Release, user_header: str) -> None:
        self._book, self._release, self.user_header = book, release, user_header

    def user(self, request: web.Request) -> str | None:
        """Return who the proxy says is asking; None where it does not say, or says two things."""
        given = [value.strip() for value in request.headers.getall(self.user_header, [])]
        return given[0] if len(given) == 1 and given[0] and len(given[0]) <= _MAX_USER else None

    async def post(self, request: web.Request) -> web.Response:
        """Free what the form names, and send the visitor back to where he was."""
        user = self.user(request)
        if user is None:
            raise _refused(_NO_USER.format(self.user_header))
        if not same_origin(request.headers):
            raise _refused(_FOREIGN)
        charset = (request.charset or "utf-8").lower()
        if request.content_type != "application/x-www-form-urlencoded" or charset != "utf-8":
            raise web.HTTPUnsupportedMediaType(text="only a form of the operator's page is taken here\n")
        try:
            form = await request.post()
        except UnicodeDecodeError:
            raise web.HTTPBadRequest(text="the form must be UTF-8\n") from None
        namespace, lease, uid, back = (_field(form, name) for name in ("namespace", "lease", "uid", "back"))
        if not (namespace and lease and uid):
            raise web.HTTPBadRequest(text="namespace, lease and uid must be given\n")
        outcome = await self._free(namespace, lease, uid, user)
        reply = web.Response(status=303, headers={hdrs.LOCATION: "./" + _back(back)})
        if _COOKIE.fullmatch(cookie := f"{outcome}.{lease}"):
            reply.set_cookie(FLASH, cookie, max_age=30, httponly=True, samesite="Strict")
        return reply

    async def _free(self, namespace: str, lease: str, uid: str, user: str) -> str:
        wanted = (namespace, lease, uid)
        entry = next((e for e in self._book.locks() if (e.namespace, e.lease, e.uid) == wanted), None)
        who, where = shortened(user), f"{shortened(namespace)}/{shortened(lease)} (uid {shortened(uid)})"
        if entry is None:
            _log.info("%s asked to release %s, which is not held any more", who, where)
            return "free"
        outcome = await self._release(entry, user)
        level = logging.ERROR if outcome == "failed" else logging.WARNING
        held = f"lock {shortened(entry.name)} of app {entry.app}, held by {shortened(entry.holder)}"
        _log.log(level, "%s force-released %s, %s: %s", who, where, held, outcome)
        return outcome


def same_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from a page of this very origin: all that the browser says of it must say so."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get(hdrs.ORIGIN)
    if site is None and origin is None:
        return False
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return True
    hosts = {headers.get(hdrs.HOST, ""), headers.get("X-Forwarded-Host", "").partition(",")[0].strip()} - {""}
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.casefold() in {host.casefold() for host in hosts}


def flash_of(request: web.Request) -> Notice | None:
    """Return what the visitor is to be told of the release before."""
    found = _COOKIE.fullmatch(request.cookies.get(FLASH, ""))
    if found is None:
        return None
    kind, sentence = _SAID[found[1]]
    return Notice(kind=kind, text=sentence.format(found[2]))


def _field(form: Mapping[str, object], name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _back(link: str) -> str:
    """Return the visitor's own query string again, read and rewritten: nothing else gets into the Location."""
    try:
        query = Query.parse(dict(parse_qsl(link.removeprefix("?"))))
    except (QueryError, ValueError):
        return "?"
    return query.link(offset=query.offset)


def _refused(why: str) -> web.HTTPForbidden:
    return web.HTTPForbidden(text=f"Not released: {why}.\n")
