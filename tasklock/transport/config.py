"""Where the API server is and how to speak to it: in-cluster, else kubeconfig; read by the official client.

``kubernetes`` is imported here, at the first connection and not before. It understands contexts, exec plugins, client
certificates and token files. What it raises comes out as a LockApiError with one sentence.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tasklock.errors import InvalidLockError, LockApiError
from tasklock.naming import check_namespace, shortened
from tasklock.transport.discreet import no_quotes, said_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse

    import urllib3

NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
CONNECTIONS: Final = 128  # kept open for reuse at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the caller said about the cluster; None means: find out."""

    kubeconfig: str | os.PathLike[str] | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Connection:
    """A loaded configuration: the server's address, a pool of connections, the namespace, and who we are to it.

    ``prefix`` stands before each path: that of the address, which some gateways have. Watches have a pool of their own:
    one would otherwise take the idle connection that the race for the lock needs a moment later. ``options`` and
    ``proxy`` say the same for a client that is not urllib3: certificates, host names, and which way to go.
    """

    host: str
    prefix: str
    namespace: str
    pool: urllib3.HTTPConnectionPool = field(repr=False)
    watches: urllib3.HTTPConnectionPool = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)  # these may hold passwords
    proxy: str | None = field(repr=False)
    proxy_headers: Mapping[str, str] | None = field(repr=False)
    _configuration: Any = field(repr=False)

    def close(self) -> None:
        """Close what is idle."""
        self.pool.close()
        self.watches.close()

    def credentials(self) -> dict[str, str]:
        """Return the headers that authenticate us; refreshes what has expired, which may run an exec plugin."""
        try:
            with no_quotes():
                settings = self._configuration.auth_settings().values()
        except Exception as error:  # noqa: BLE001 - an exec plugin, a token file, …: all foreign
            raise _unusable(error) from None
        return {
            str(setting["key"]): str(setting["value"]).strip()
            for setting in settings
            if setting.get("in") == "header" and setting.get("value")
        }


_NEEDED: Final = (
    "kubernetes",
    "kubernetes.client.rest",
    "kubernetes.config.incluster_config",
    "kubernetes.config.kube_config",
    "tasklock.transport.punctual",
    "email.utils",
)
_importing = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child would wait for ever for a module that another thread was importing
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )


def preload() -> None:
    """Import what the first connection needs: slow, and not to be interrupted by an exception from outside, or a fork.

    The official client whole before its parts: of those, threads that begin at once see half.
    """
    with _importing:
        for module in _NEEDED:
            import_module(module)


def connect(source: Source) -> Connection:
    """Load the configuration. Raises LockApiError where there is none, or none that can be used."""
    preload()
    from kubernetes.client import Configuration  # noqa: PLC0415 - slow to import: at the first connection only
    from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415
    from kubernetes.config.incluster_config import load_incluster_config  # noqa: PLC0415
    from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, load_kube_config  # noqa: PLC0415

    from tasklock.transport.punctual import PunctualResponse, PunctualStream  # noqa: PLC0415 - loads http.client

    configuration = Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    explicit = source.kubeconfig is not None or source.context is not None
    in_cluster = not explicit and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    try:
        if in_cluster:
            load_incluster_config(client_configuration=configuration)
            ambient = _in_cluster_namespace()
        else:
            path = _kubeconfig(source, KUBE_CONFIG_DEFAULT_LOCATION)
            context = source.context or _current_context(path)
            with no_quotes():
                load_kube_config(
                    config_file=path,
                    context=context,
                    client_configuration=configuration,
                    persist_config=False,
                )
            ambient = _context_namespace(path, context)
        host = str(configuration.host).rstrip("/")
        manager = _manager(RESTClientObject(configuration).pool_manager, PunctualResponse)
        pool = manager.connection_from_url(host)
        watches = _manager(RESTClientObject(configuration).pool_manager, PunctualStream).connection_from_url(host)
    except LockApiError:
        raise
    except Exception as error:  # noqa: BLE001 - ConfigException, YAML, TLS files, an exec plugin, …: all foreign
        raise _unusable(error, source) from None
    namespace = source.namespace or os.environ.get("TASKLOCK_NAMESPACE") or ambient or "default"
    try:
        check_namespace(namespace)
    except InvalidLockError as error:
        msg = f"the namespace of TASKLOCK_NAMESPACE, or of the kubeconfig's context, cannot be used: {error}"
        raise LockApiError(msg, reason="BadConfiguration") from None
    absolute = manager.proxy is not None and host.startswith("http:")  # how a plain proxy wants to be asked
    prefix = host if absolute else urlsplit(host).path
    return Connection(
        host=host,
        prefix=prefix,
        namespace=namespace,
        pool=pool,
        watches=watches,
        options=manager.connection_pool_kw,
        proxy=str(configuration.proxy) if manager.proxy is not None else None,
        proxy_headers=manager.proxy_headers or None if manager.proxy is not None else None,
        _configuration=configuration,
    )


def same_place(connection: Connection, place: tuple[str, str] | None) -> tuple[str, str]:
    """Return the cluster and namespace of ``connection``: those that a client was given first are its for ever.

    Raises LockApiError where ``place``, that of an earlier connection, is another.
    """
    found = (connection.host, connection.namespace)
    if found != (place or found):
        msg = (
            f"the configuration now names {shortened(found)}, but this client's locks are in "
            f"{shortened(place)}: make a new LockClient for the other place"
        )
        raise LockApiError(msg, reason="BadConfiguration")
    return found


class _Idle:
    """Idle connections, the newest first, for urllib3 in place of its ``queue.LifoQueue``.

    A deque's append and pop are one step each, where Ctrl-C in the middle of a queue's method can leave its lock taken
    for ever, and with it every later request.
    """

    def __init__(self, maxsize: int) -> None:
        self._connections: deque[object] = deque()
        self._maxsize = maxsize

    def get(self, block: bool = False, timeout: float | None = None) -> object:  # noqa: ARG002, FBT001, FBT002 - a queue's signature
        if not self._connections:
            raise Empty
        try:
            return self._connections.pop()
        except IndexError:
            raise Empty from None

    def put(self, connection: object, block: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - a queue's signature
        if connection is None:  # urllib3 fills a new pool with places
            return
        if len(self._connections) >= self._maxsize:
            raise Full
        self._connections.append(connection)

    def qsize(self) -> int:
        return len(self._connections)


class _OneWrite:
    """A connection that sends a request's headers and body at once: one packet, and one record of TLS."""

    _parts: list[bytes] | None = None  # of a request that is being put together

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as urllib3 has it
        parts: list[bytes] = []
        self._parts = parts
        try:
            super().request(*args, **options)  # type: ignore[misc]
        finally:
            self._parts = None
        self.send(b"".join(parts))

    def send(self, data: bytes) -> None:
        if self._parts is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._parts.append(data)


def _manager(manager: Any, answers: type[HTTPResponse]) -> Any:  # noqa: ANN401 - a PoolManager, or one for a proxy
    """Have the pools of ``manager`` keep idle connections in an _Idle, write once, and give answers of this kind."""
    kinds = {}
    for scheme, kind in manager.pool_classes_by_scheme.items():
        connection = type(kind.ConnectionCls.__name__, (_OneWrite, kind.ConnectionCls), {"response_class": answers})
        kinds[scheme] = type(kind.__name__, (kind,), {"QueueCls": _Idle, "ConnectionCls": connection})
    manager.pool_classes_by_scheme = kinds
    return manager


def _kubeconfig(source: Source, default: str) -> str:
    """Return the path (or the list of paths) of the kubeconfig, which must be there."""
    if source.kubeconfig is not None:
        path = os.fspath(source.kubeconfig)
        paths = [path]
    else:
        path = os.environ.get("KUBECONFIG") or default
        paths = path.split(os.pathsep)
    if not any(Path(one).expanduser().is_file() for one in paths if one):
        msg = (
            f"no Kubernetes configuration: this is no pod with a service account, and there is no kubeconfig at "
            f"{shortened(path, limit=200)}: set KUBECONFIG, pass kubeconfig= (--kubeconfig), or run inside the cluster"
        )
        raise LockApiError(msg, reason="NoConfiguration")
    return os.pathsep.join(os.path.expanduser(one) for one in paths if one)  # noqa: PTH111 - a string is wanted


def _current_context(path: str) -> str | None:
    """Return the first current-context in a list of files, as kubectl does; the official client takes the last."""
    import yaml  # noqa: PLC0415 - imported with the configuration

    files = path.split(os.pathsep)
    for file in files if len(files) > 1 else ():
        if Path(file).is_file():
            config = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            context = config.get("current-context") if isinstance(config, dict) else None
            if context:
                return str(context)
    return None


def _context_namespace(path: str, context: str | None) -> str | None:
    from kubernetes.config.kube_config import list_kube_config_contexts  # noqa: PLC0415

    contexts, current = list_kube_config_contexts(config_file=path)
    chosen = next((one for one in contexts if one["name"] == context), None) if context else current
    namespace = (chosen or {}).get("context", {}).get("namespace")
    return namespace if isinstance(namespace, str) else None


def _in_cluster_namespace() -> str | None:
    try:
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _unusable(error: Exception, source: Source = Source()) -> LockApiError:
    where = f"{shortened(str(source.kubeconfig), limit=200)}: " if source.kubeconfig is not None else ""
    look = "kubectl config get-contexts" if source.context is not None else "kubectl config view"
    return LockApiError(
        f"the Kubernetes configuration cannot be used ({where}{said_of(error)}): compare with what `{look}` shows",
        reason="BadConfiguration",
    )
