"""An HTTP service that refuses a late writer.

    python http_service.py counter.db 8000

``POST /counters/NAME/begin`` raises the counter's token and answers its value; ``PUT /counters/NAME`` writes it. Both
need the header ``Fencing-Token``. A token smaller than the largest seen is answered with 412 and a sentence, none at
all with 428, one that is no number with 400. The tokens lie next to the data: a restart forgets neither.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from aiohttp import web
from counter import LateWriteError
from sql import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sql import SqlCounter

HEADER = "Fencing-Token"
DIGITS = 18  # of a token, at most: fits 64 bits


def token_of(request: web.Request) -> int:
    """Return the request's token. Raises 428 where there is none, 400 where it is no number."""
    text = request.headers.get(HEADER)
    if text is None:
        raise web.HTTPPreconditionRequired(text=f"send {HEADER}: the token of the lock that you hold\n")
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise web.HTTPBadRequest(text=f"{HEADER} must be a number of at most {DIGITS} digits\n")
    return int(text)


def make_app(counter: SqlCounter) -> web.Application:
    """Return the service. One counter is enough for an example; its statements are short enough for the event loop."""

    async def begin(request: web.Request) -> web.Response:
        return web.json_response({"value": counter.begin(token_of(request))})

    async def read(_request: web.Request) -> web.Response:
        return web.json_response({"value": counter.read_unfenced()})

    async def write(request: web.Request) -> web.Response:
        counter.write(int((await request.json())["value"]), token_of(request))
        return web.Response(status=204)

    @web.middleware
    async def refuse_late(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except LateWriteError as error:
            raise web.HTTPPreconditionFailed(text=f"{error}\n") from None

    app = web.Application(middlewares=[refuse_late])
    app.router.add_post("/counters/visits/begin", begin)
    app.router.add_get("/counters/visits", read)
    app.router.add_put("/counters/visits", write)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="a file for SQLite, or a postgresql:// URL")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    web.run_app(make_app(connect(options.database)), host="127.0.0.1", port=options.port)
