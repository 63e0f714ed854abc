"""An aiohttp session that goes the way the configuration says: addresses, certificates, proxies, sockets."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

import aiohttp
from yarl import URL

from tasklock.errors import LockApiError
from tasklock.transport.config import Connection, Source, connect

KEEP_ALIVE: Final = (10, 5, 3)  # seconds idle, seconds between probes, probes: a dead peer is found in 25 s
KEPT_FOR: Final = 60.0  # seconds that an idle connection is kept


class Line:
    """A connection's aiohttp session, and how each of its requests has to go."""

    def __init__(self, connection: Connection, context: ssl.SSLContext | None) -> None:
        """Open a session; nothing is sent yet."""
        self.connection = connection
        self._way: dict[str, Any] = {"ssl": True if context is None else context, "proxy": connection.proxy}
        if connection.proxy_headers:
            self._way["proxy_headers"] = connection.proxy_headers
        if name := connection.options.get("server_hostname"):
            self._way["server_hostname"] = name
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_FOR, socket_factory=_kept_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # we ask for no compression; what comes compressed all the same may be a bomb
            headers={"Accept-Encoding": "identity"},
        )

    async def request(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], *, connect: float
    ) -> aiohttp.ClientResponse:
        """Send one request; ``connect`` is how many seconds the connection may take."""
        return await self.session.request(
            method,
            URL(self.connection.host + path, encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
            **self._way,
        )


def load(source: Source) -> tuple[Connection, ssl.SSLContext | None]:
    """Read the configuration and the certificates it names. Raises LockApiError."""
    connection = connect(source)
    if "_socks_options" in connection.options:
        msg = "the Kubernetes configuration names a SOCKS proxy, which cannot be used here: set an http or https proxy"
        raise LockApiError(msg, reason="BadConfiguration")
    try:
        return connection, _tls(connection)
    except (OSError, ValueError) as error:
        msg = f"the certificates of the Kubernetes configuration cannot be used ({type(error).__name__}): check them"
        raise LockApiError(msg, reason="BadConfiguration") from None


def _tls(connection: Connection) -> ssl.SSLContext | None:
    """Return the TLS settings that urllib3 would make of the same options."""
    from urllib3.util.ssl_ import create_urllib3_context  # noqa: PLC0415 - imported with the configuration

    if not connection.host.startswith("https:"):
        return None
    options = connection.options
    context: ssl.SSLContext = create_urllib3_context(cert_reqs=options.get("cert_reqs"))
    file, data = options.get("ca_certs"), options.get("ca_cert_data")
    if file or data:
        context.load_verify_locations(cafile=file, cadata=data)
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs()
    if options.get("cert_file"):
        context.load_cert_chain(options["cert_file"], options.get("key_file"))
    if options.get("assert_hostname") is False:
        context.check_hostname = False
    return context


def _kept_alive(address: Any) -> socket.socket:  # noqa: ANN401 - what getaddrinfo gives
    """Open a socket whose peer the kernel asks now and then whether it is still there."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEP_ALIVE, strict=True):
            if hasattr(socket, name):  # Linux
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        made.close()
        raise
    return made
