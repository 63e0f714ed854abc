"""The pages on a loopback port, and who visits them with a real browser."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web

from status.crowd import Fakes
from status.visit import app_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from tasklock_operator.entry import Entry

USER = "X-Forwarded-User"
WIDTHS = {"desk": 1280, "tablet": 768, "phone": 375}


class Site:
    """The pages on a loopback port, served from a thread."""

    def __init__(self) -> None:
        self.fakes = Fakes()
        self.released: list[tuple[str, str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._runners: list[web.AppRunner] = []
        self.url = self._serve()
        self.proxied = self._serve(release=self._release, user_header=USER)

    def _serve(self, **options: Any) -> str:
        async def go() -> str:
            runner = web.AppRunner(app_of(self.fakes, **options), access_log=None)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/"

        return asyncio.run_coroutine_threadsafe(go(), self._loop).result(10)

    async def _release(self, entry: Entry, user: str) -> Any:
        self.released.append((entry.uid, user))
        self.fakes.entries = [one for one in self.fakes.entries if one.uid != entry.uid]
        return "gone"

    def close(self) -> None:
        async def go() -> None:
            for runner in self._runners:
                await runner.cleanup()

        asyncio.run_coroutine_threadsafe(go(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Visitor:
    """Opens pages, and minds what the browser complains of."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def open(self, url: str, *, width: str = "desk", scheme: Any = "light", **options: Any) -> Page:
        context = self._browser.new_context(
            color_scheme=scheme, viewport={"width": WIDTHS[width], "height": 800}, **options
        )
        context.set_default_timeout(30_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        page.goto(url)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        assert not self.complaints
