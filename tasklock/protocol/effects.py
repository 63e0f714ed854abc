"""What the protocol asks of the world, and what comes back.

=================  =====================================  ===========================================
effect             does                                   sends back
=================  =====================================  ===========================================
``Now``            reads the clocks                       ``Time``
``Sleep``          waits until a time of the clock        ``Time``
``Send``           one request about Leases               ``Reply`` (status 0: no answer)
``Watch``          opens a watch, closing any earlier     ``Reply`` (status 200: it is open)
``Next``           waits for the open watch's next event  ``Event``
``IsDead``         asks about a process                   ``bool``, or None: it is no neighbour of ours
=================  =====================================  ===========================================

All times are seconds of one clock that never jumps and counts suspension; a wall clock comes along in ``Time`` for
the timestamps that people read.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from datetime import datetime

    from tasklock.lease import Json

Method = Literal["GET", "POST", "PATCH", "DELETE"]
Verb = Literal["get", "list", "watch", "create", "patch", "delete"]
Kind = Literal["ADDED", "MODIFIED", "DELETED", "QUIET", "ENDED"]

OK, CREATED, ACCEPTED = 200, 201, 202
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 400, 401, 403, 404, 409
REQUEST_TIMEOUT, GONE, UNPROCESSABLE, TOO_MANY_REQUESTS, SERVER_ERROR = 408, 410, 422, 429, 500


@dataclass(frozen=True, slots=True)
class Time:
    """Both clocks at once: ``clock`` in seconds, ``wall`` in UTC."""

    clock: float
    wall: datetime


@dataclass(frozen=True, slots=True)
class Now:
    """Read the clocks."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until ``until`` of the clock."""

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One request about the Leases of the client's namespace, sent at most once.

    ``lease`` names one Lease, or is None for the collection; ``timeout`` is in seconds, for all of it.
    ``everywhere`` asks for the collection of all namespaces.
    """

    method: Method
    lease: str | None = None
    query: tuple[tuple[str, str], ...] = ()
    body: Json | None = None
    timeout: float
    everywhere: bool = False

    @property
    def verb(self) -> Verb:
        """The RBAC verb that this request needs."""
        if self.method == "GET":
            return "get" if self.lease else "list"
        verbs: dict[Method, Verb] = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
        return verbs[self.method]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Open a watch on one Lease from a LIST's resourceVersion, for at most ``seconds``; answer within ``timeout``."""

    lease: str
    version: str
    seconds: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Next:
    """Wait for the next event of the open watch, until ``until`` of the clock."""

    until: float


@dataclass(frozen=True, slots=True)
class IsDead:
    """Ask whether a process, named as ``tasklock.dev/process`` names it, is surely dead; None if we cannot see it."""

    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back of a request.

    Attributes:
        status: the HTTP status; 0 where there was no answer, or half of one.
        body: the JSON object, or None where the answer was something else.
        sent, received: the clock before the request began, and after its answer or failure.
        maybe_done: with status 0, whether the request may have reached the server.
        retry_after: seconds that the server asks us to wait.
        date: the server's ``Date``.
        error: one line that says what happened, without secrets.
        oversized: with status 0, whether that was an answer too large to be read.

    """

    status: int
    body: Json | None = None
    sent: float = 0.0
    received: float = 0.0
    maybe_done: bool = True
    retry_after: float | None = None
    date: datetime | None = None
    error: str = ""
    oversized: bool = False

    @property
    def ambiguous(self) -> bool:
        """Whether a write may have been done though this answer does not say so."""
        return self.status >= SERVER_ERROR or (self.status == 0 and self.maybe_done)

    @property
    def deleted(self) -> bool:
        """Whether this is the API server's word that a DELETE was done, and not just anybody's 200."""
        kind = (self.body or {}).get("kind")
        return self.status in {OK, ACCEPTED} and isinstance(kind, str) and kind in {"Status", "Lease"}

    @property
    def transient(self) -> bool:
        """Whether the same request may fare better in a moment."""
        return self.status in {0, REQUEST_TIMEOUT, TOO_MANY_REQUESTS} or self.status >= SERVER_ERROR

    @property
    def message(self) -> str:
        """What the server said, in its own words (hostile text)."""
        message = (self.body or {}).get("message")
        return message if isinstance(message, str) else self.error

    @property
    def reason(self) -> str:
        """The server's machine-readable reason, or an empty string."""
        reason = (self.body or {}).get("reason")
        return reason if isinstance(reason, str) else ""

    def blames(self, path: str) -> bool:
        """Whether a 422 names the field ``path`` among its causes."""
        return any(cause.get("field") == path for cause in self._causes())

    def caused_by(self, reason: str) -> bool:
        """Whether a refusal gives ``reason`` among its causes."""
        return any(cause.get("reason") == reason for cause in self._causes())

    def _causes(self) -> list[Json]:
        details = (self.body or {}).get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch told: a change, QUIET (nothing until then) or ENDED (closed, broken, or too old to go on)."""

    kind: Kind
    object: Json = field(default_factory=dict)
    at: float = 0.0


Effect = Now | Sleep | Send | Watch | Next | IsDead
T = TypeVar("T")
Steps = Generator[Effect, Any, T]
