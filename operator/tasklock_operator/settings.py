"""What the environment says: each variable checked once, and what is wrong told in one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args

from tasklock.errors import InvalidLockError
from tasklock.naming import check_namespace, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX: Final = "TASKLOCK_OPERATOR_"

_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["plain", "json"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
T = TypeVar("T")
W = TypeVar("W", bound=str)


class SettingsError(ValueError):
    """Raised when a variable cannot be used; one sentence that says which, and what it may be."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; port 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the operator runs.

    Attributes:
        namespaces: those it looks after; none means the whole cluster.
        pods, pod_selector: whether it watches Pods for confirmed deaths, and which: a label selector, empty for all.
        events: whether it writes Kubernetes Events.
        listen: page, JSON, metrics and probes.
        proxy_listen: the page with force-release, for an authenticating proxy in the same pod; a loopback address.
        proxy_user_header: in which that proxy tells who asks.
        log_level, log_format: how it logs, to stderr.
        lock_metrics: whether there are metrics of each single lock.

    """

    namespaces: tuple[str, ...] = ()
    pods: bool = True
    pod_selector: str = ""
    events: bool = True
    listen: Listen = Listen("0.0.0.0", 8080)  # noqa: S104 - a pod's own network; Prometheus and the kubelet ask here
    proxy_listen: Listen | None = None
    proxy_user_header: str = "X-Forwarded-User"
    log_level: Level = "info"
    log_format: Format = "plain"
    lock_metrics: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the variables ``TASKLOCK_OPERATOR_*``; an empty one counts as missing. Raises SettingsError."""
        read, plain = _Reader(env), cls()
        return cls(
            namespaces=read("NAMESPACES", _namespaces, plain.namespaces),
            pods=read("PODS", _flag, plain.pods),
            pod_selector=read("POD_SELECTOR", _selector, plain.pod_selector),
            events=read("EVENTS", _flag, plain.events),
            listen=read("LISTEN", _listen, plain.listen),
            proxy_listen=read("PROXY_LISTEN", _loopback, plain.proxy_listen),
            proxy_user_header=read("PROXY_USER_HEADER", _header, plain.proxy_user_header),
            log_level=read("LOG_LEVEL", lambda text: _one_of(text, LEVELS), plain.log_level),
            log_format=read("LOG_FORMAT", lambda text: _one_of(text, FORMATS), plain.log_format),
            lock_metrics=read("LOCK_METRICS", _flag, plain.lock_metrics),
        )


VARIABLES: Final = (
    ("NAMESPACES", "the whole cluster", "Namespaces to look after, separated by commas."),
    ("PODS", "true", "Whether to watch Pods, so that the lock of a dead container is freed at once."),
    ("POD_SELECTOR", "all Pods", "Label selector for the Pods to watch, applied by the API server."),
    ("EVENTS", "true", "Whether to write a Kubernetes Event for each lock freed."),
    ("LISTEN", "0.0.0.0:8080", "Where to serve / (page), /locks, /metrics, /healthz and /readyz."),
    ("PROXY_LISTEN", "off", "Loopback address for an authenticating proxy: the page with force-release."),
    ("PROXY_USER_HEADER", "X-Forwarded-User", "The header in which that proxy tells who asks."),
    ("LOG_LEVEL", "info", "One of debug, info, warning, error."),
    ("LOG_FORMAT", "plain", "One of plain, json."),
    ("LOCK_METRICS", "false", "Whether to export metrics of each single lock (unbounded cardinality)."),
)


class _Reader:
    """Reads variables, and names the one that is wrong."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def __call__(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self._env.get(PREFIX + name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except (ValueError, InvalidLockError) as error:
            msg = f"{PREFIX}{name} is {shortened(text)}: {error}"
            raise SettingsError(msg) from None


def _namespaces(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    if "*" in names:
        msg = "leave it empty for the whole cluster"
        raise ValueError(msg)
    found = dict.fromkeys(name for name in names if name)
    for name in found:
        check_namespace(name)
    return tuple(found)


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    msg = "set it to true or false"
    raise ValueError(msg)


def _one_of(text: str, allowed: tuple[W, ...]) -> W:
    for word in allowed:
        if word == text.lower():
            return word
    msg = f"set it to one of {', '.join(allowed)}"
    raise ValueError(msg)


def _selector(text: str) -> str:
    if not text.isprintable():
        msg = "write a label selector as kubectl takes it, app=worker for example"
        raise ValueError(msg)
    return text


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        msg = "write the name of an HTTP header, X-Forwarded-User for example"
        raise ValueError(msg)
    return text


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535 or not _is_host(host):  # noqa: PLR2004 - ports end there
        msg = "write an address and a port, 0.0.0.0:8080 or [::]:8080 for example"
        raise ValueError(msg)
    return Listen(host, int(port))


def _is_host(text: str) -> bool:
    if text == "localhost":
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _loopback(text: str) -> Listen:
    listen = _listen(text)
    if listen.host != "localhost" and not ip_address(listen.host).is_loopback:
        msg = "use a loopback address, 127.0.0.1:8081 for example: whoever reaches it may free any lock"
        raise ValueError(msg)
    return listen
