"""Visits the pages as a browser, a script or a proxy would; the server listens on loopback and ends with the visit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from status.crowd import NOW, WALL
from tasklock.protocol.effects import Time
from tasklock_operator.metrics import Metrics
from tasklock_operator.status import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from status.crowd import Fakes


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str


def app_of(fakes: Fakes, **options: Any) -> web.Application:
    """Make the application with its clocks standing still."""
    metrics = Metrics(fakes, fakes, clocks=lambda: Time(NOW, WALL))
    return make_app(fakes, metrics, fakes, clock=lambda: NOW, wall=lambda: WALL, **options)


def visit(app: web.Application, path: str, method: str = "GET", **options: Any) -> Reply:
    """Send one request; redirects are not followed."""

    async def go() -> Reply:
        async with (
            TestClient(TestServer(app)) as client,
            client.request(method, path, allow_redirects=False, **options) as reply,
        ):
            return Reply(reply.status, reply.headers, await reply.text())

    return asyncio.run(go())


async def until(true: Callable[[], object]) -> None:
    """Wait for it, at most ten seconds."""
    for _ in range(1_000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true")


class Reader(HTMLParser):
    """What a browser makes of a page: its elements, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._skip = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._skip += tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        self._skip -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]
