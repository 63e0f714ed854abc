"""What every transport shares: paths, headers, answers, the lines of a watch, and the sentences of what goes wrong."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from tasklock.naming import shortened
from tasklock.protocol.effects import Event, Reply
from tasklock.transport.clock import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasklock.protocol.effects import Watch

MAX_REPLY: Final = 16 * 2**20  # bytes; a page of 500 Leases is far below
MAX_LINE: Final = 4 * 2**20  # bytes of one watch event
DEEPEST: Final = 100  # objects and lists in one another that are read
CHUNK: Final = 2**18  # bytes read at once
CREDENTIALS_FOR: Final = 1.0  # seconds
USER_AGENT: Final = "tasklock"
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"

_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]')

Query = tuple[tuple[str, str], ...]


def leases_path(namespace: str | None, lease: str | None = None, query: Query = ()) -> str:
    """Return the path of one Lease, or of a collection: of one namespace, or, with None, of all."""
    path = "/apis/coordination.k8s.io/v1"
    if namespace is not None:
        path += f"/namespaces/{quote(namespace, safe='')}"
    path += "/leases"
    if lease:
        path += "/" + quote(lease, safe="", errors="replace")
    return f"{path}?{urlencode(query, errors='replace')}" if query else path


def watch_path(namespace: str, watch: Watch) -> str:
    """Return the path that opens ``watch``."""
    query = (
        ("watch", "1"),
        ("fieldSelector", f"metadata.name={watch.lease}"),
        ("resourceVersion", watch.version),
        ("timeoutSeconds", str(max(1, round(watch.seconds)))),
    )
    return leases_path(namespace, None, query)


def content_type(method: str) -> str:
    """Say what the body of a request is."""
    return MERGE_PATCH if method == "PATCH" else JSON


def read_reply(status: int, data: bytes | bytearray, headers: Mapping[str, str], *, sent: float, dated: bool) -> Reply:
    """Return an answer that was read whole; ``dated`` asks for the server's time, which costs a little."""
    try:
        parsed = parse(data)
    except ValueError:
        parsed = None
    return Reply(
        status=status,
        body=parsed if isinstance(parsed, dict) else None,
        sent=sent,
        received=clock(),
        retry_after=_seconds(headers.get("Retry-After")),
        date=_date(headers.get("Date")) if dated else None,
        error="" if isinstance(parsed, dict) else data[:200].decode(errors="replace"),
    )


def parse(data: bytes | bytearray) -> Any:  # noqa: ANN401 - JSON
    """Read JSON, however deep it nests: ``managedFields`` of anybody's object may do so by thousands.

    Raises ValueError for what is no JSON.
    """
    try:
        return json.loads(data)
    except RecursionError:
        return json.loads(shallow(data))


def shallow(data: bytes | bytearray) -> bytes:
    """Return JSON with null in place of what nests deeper than any object of an API that we read."""
    kept: list[bytes] = []
    depth = begin = 0
    for token in _NESTING.finditer(data):
        sign = token[0][:1]
        if sign in b"{[":
            depth += 1
            if depth == DEEPEST + 1:
                kept += [bytes(data[begin : token.start()]), b"null"]
        elif sign in b"}]":
            depth -= 1
            if depth == DEEPEST:
                begin = token.end()
    return b"".join([*kept, bytes(data[begin:])])


def unreadable(size: int, *, sent: float, limit: int = MAX_REPLY) -> Reply:
    """Return what stands for an answer that dripped in for too long, or grew too large to be one."""
    why = "no whole reply in time" if size <= limit else f"a reply of more than {limit:,} bytes"
    hint = "check that the address is that of a Kubernetes API server, and the network"
    error = f"{why} from the API server: {hint}"
    return Reply(status=0, sent=sent, received=clock(), error=error, oversized=size > limit)


def no_answer(host: str, why: str, hint: str, *, sent: float, maybe_done: bool = True) -> Reply:
    """Return what stands for an answer that never came."""
    error = f"no answer from the API server at {shortened(host)}: {why}: {hint}"
    return Reply(status=0, sent=sent, received=clock(), maybe_done=maybe_done, error=error)


PLAIN: Final = ("it does not speak TLS", "check the address and the port, and whether it begins with https or http")
UNVERIFIED: Final = ("its certificate cannot be verified", "check the certificate authority in the kubeconfig")
SLOW: Final = ("no answer in time", "check the network, and that the API server is not overloaded")


def unreachable(detail: str) -> tuple[str, str]:
    """Say that no connection came about, and why."""
    return shortened(detail, limit=200), "check that the cluster is up and the address is right"


def broken(error: Exception) -> tuple[str, str]:
    """Say that a connection broke; of a foreign error only its name is told."""
    return f"the connection broke ({type(error).__name__})", "check the network and the API server"


def speaks_plain(error: Exception) -> bool:
    """Whether a TLS error means that the other side speaks no TLS."""
    return any(sign in str(error) for sign in ("WRONG_VERSION_NUMBER", "record layer failure", "HTTP_REQUEST"))


def event_of(line: bytes) -> Event | None:
    """Read one line of a watch; ENDED for an ERROR (410 and others), None for what tells nothing.

    Raises ValueError, KeyError or TypeError for a line that is none of a watch.
    """
    told = parse(line)
    if told["type"] in {"ADDED", "MODIFIED", "DELETED"} and isinstance(told["object"], dict):
        return Event(told["type"], told["object"], clock())
    return None if told["type"] == "BOOKMARK" else Event("ENDED", at=clock())


def _seconds(header: str | None) -> float | None:
    """Read ``Retry-After``: whole seconds, at most a minute of them."""
    return min(float(header), 60.0) if header and header.isascii() and header.isdigit() else None


def _date(header: str | None) -> datetime | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import

    try:
        moment = parsedate_to_datetime(header) if header else None
        return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
