"""`ApiServer`: the store behind real HTTP, in a thread of this process.

**For tests and demos only**: no authentication worth the name, no authorisation, no persistence.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from aiohttp import web

from .http import Handler
from .kinds import NAMESPACES
from .kubeconfig import throwaway_tls, write_kubeconfig
from .store import NAMESPACES_AT_START, Store

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from .faults import Fault

T = TypeVar("T")

_START_TIMEOUT = 10.0


class Recorded(NamedTuple):
    """One request as it arrived; `path` carries the query, if any."""

    method: str
    path: str


class ApiServer:
    """A Kubernetes API server **for tests and demos only**: Leases in full; Events, Pods, Namespaces as stored objects.

    It listens on 127.0.0.1, admits everybody (unless `token` is set: then that one bearer token), authorises
    everything, and forgets all at exit. No controller runs: nothing is garbage collected, no Pod ever starts.

    tls: serve HTTPS with a throw-away CA (needs trustme), named in the kubeconfig.
    latency: seconds by which every answer, and every watch's start, is late.
    port: 0 takes a free one; it stays the same over `stop()` and `start()`.
    namespace: the one named in the kubeconfig's context; it is created.
    fault: asked before each request; what it returns goes wrong (see `Fault`).
    """

    def __init__(  # noqa: PLR0913 - independent settings, keyword-only
        self,
        *,
        tls: bool = False,
        token: str | None = None,
        latency: float = 0.0,
        port: int = 0,
        namespace: str = "default",
        fault: Callable[[str, str], Fault | None] | None = None,
    ) -> None:
        self.token = token
        self.latency = latency
        self.namespace = namespace
        self.fault = fault
        self.requests: list[Recorded] = []
        self._port = port
        self._tls = tls
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ssl: ssl.SSLContext | None = None
        self._ca_file: Path | None = None
        self._store = Store(clock=lambda: datetime.now(UTC), uids=lambda: str(uuid.uuid4()))
        if namespace not in NAMESPACES_AT_START:
            self._store.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing: asyncio.Event | None = None
        self._handler: Handler | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, or https."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def kubeconfig(self) -> str:
        """The path of a kubeconfig file for this server, which kubectl takes too; it goes with the server."""
        return str(Path(self._temporary()) / "kubeconfig")

    @property
    def ca_file(self) -> str | None:
        """The path of the CA's certificate, with `tls=True`."""
        return str(self._ca_file) if self._ca_file else None

    def start(self) -> None:
        """Serve, on the same port and with the same objects as before. Harmless when it already does."""
        with self._lock:
            if self._thread is not None:
                return
            if self._tls and self._ssl is None:
                self._ssl, self._ca_file = throwaway_tls(Path(self._temporary()))
            ready: Future[int] = Future()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="tasklock-api-server", daemon=True)
            self._thread.start()
            try:
                self._port = ready.result(timeout=_START_TIMEOUT)
            except BaseException:
                self._thread = None
                raise
            write_kubeconfig(
                Path(self.kubeconfig),
                url=self.url,
                namespace=self.namespace,
                token=self.token,
                ca_file=self._ca_file,
            )

    def stop(self) -> None:
        """Stop serving and cut all connections, as in an outage. The objects stay. Harmless when stopped."""
        with self._lock:
            if self._thread is None or self._loop is None or self._closing is None:
                return
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
            self._thread = None
            self._loop = None

    def close(self) -> None:
        """Stop, and remove the kubeconfig."""
        self.stop()
        with self._lock:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def call(self, function: Callable[[Store], T]) -> T:
        """Run `function(store)` between two requests and return its result: the safe way to look into the store.

        Writes made there reach all watchers. Also works while the server is stopped.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is None or thread is threading.current_thread():
            return function(self._store)
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function(self._store))
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result()

    def drop_watches(self) -> None:
        """Cut every watch's connection, as a load balancer or a restart does."""
        handler = self._handler
        if handler is not None:
            self.call(lambda _store: handler.drop_watches())

    def _temporary(self) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tasklock-api-")
        return self._folder.name

    def _run(self, ready: Future[int]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001 - the starter raises it
            if not ready.done():
                ready.set_exception(error)

    async def _serve(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._handler = handler = Handler(self, self._store, Recorded)
        server = web.Server(handler, access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(
            runner,
            "127.0.0.1",
            self._port,
            ssl_context=self._ssl,
            reuse_address=True,
            backlog=1024,
        )
        try:
            await site.start()
            ready.set_result(runner.addresses[0][1])
            await self._closing.wait()
        finally:
            handler.drop_watches()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(runner.cleanup(), 5)
