"""A client of the service that refuses a late writer: the token goes along in a header.

python http_client.py http://127.0.0.1:8000
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
from counter import LateWriteError, arguments, increment

HEADER = "Fencing-Token"
TOO_LATE = 412


class HttpCounter:
    """The counter behind an HTTP service."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/counters/visits"

    def begin(self, token: int) -> int:
        """Have the service raise its token to ours, then answer the value."""
        return int(self._send("POST", "/begin", token=token)["value"])

    def write(self, value: int, token: int) -> None:
        """Write, unless the service has seen a larger token."""
        self._send("PUT", json={"value": value}, token=token)

    def read_unfenced(self) -> int:
        """Read without a token."""
        return int(self._send("GET")["value"])

    def write_unfenced(self, value: int) -> None:
        """Write without a token, which this service refuses."""
        self._send("PUT", json={"value": value})

    def _send(self, method: str, path: str = "", *, json: object = None, token: int | None = None) -> Any:  # noqa: ANN401 - JSON
        return asyncio.run(self._sent(method, path, json, {} if token is None else {HEADER: str(token)}))

    async def _sent(self, method: str, path: str, json: object, headers: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self._url + path, json=json, headers=headers) as response,
        ):
            if response.status == TOO_LATE:
                raise LateWriteError((await response.text()).strip())
            response.raise_for_status()
            return await response.json() if response.content_type == "application/json" else None


if __name__ == "__main__":
    parser = arguments("Increment a counter behind an HTTP service.")
    parser.add_argument("url")
    options = parser.parse_args()
    sys.exit(increment(HttpCounter(options.url), options))
