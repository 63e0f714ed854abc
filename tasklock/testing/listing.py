"""What a list or watch asks for: selectors, versions, pages; checked as the real server does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .options import OPTIONS_GROUP, number, unsupported
from .selectors import parse_fields, parse_labels
from .status import Cause, StatusError, bad_request, expired, go_quote, internal, invalid, too_large_version
from .writes import parse_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .selectors import Requirement, Term


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """What a list or watch asks for; the versions and the page are as sent."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Term, ...] = ()
    limit: int = 0
    version: str = ""
    match: str = ""
    page: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool = False
    timeout: float | None = None


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Query parameters of a list or watch. Raises StatusError 400, 422."""
    timeout, limit = number(query.get("timeoutSeconds") or "0"), number(query.get("limit") or "0")
    labels, fields = parse_labels(query.get("labelSelector", "")), parse_fields(query.get("fieldSelector", ""))
    options = ListOptions(
        labels=labels,
        fields=fields,
        limit=max(0, limit),
        version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        page=query.get("continue", ""),
        watch=_flag(query, "watch"),
        bookmarks=_flag(query, "allowWatchBookmarks"),
        initial_events=_flag(query, "sendInitialEvents"),
        timeout=float(timeout) if timeout > 0 else None,
    )
    causes = _match_causes(options, asked_initial_events="sendInitialEvents" in query)
    if causes:
        raise invalid(OPTIONS_GROUP, "ListOptions", "", causes)
    return options


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which part of which version to list: `revision` None is the present, `after` is where the last page ended."""

    revision: int | None = None
    after: tuple[str, str] | None = None


def page(options: ListOptions, *, current: int, compacted: int) -> Page:
    """Read a list's versions. Raises StatusError 400, 410, 504."""
    if options.page:
        revision, after = _read_continue(options.page)
        if revision < compacted:
            message = "The provided continue parameter is too old to display a consistent list result."
            raise expired(message)
        return Page(revision=revision, after=after)
    try:
        revision = version_number(options.version) or 0
    except StatusError as error:
        message = f"invalid resource version: {error.message}"
        raise bad_request(message) from None
    if revision > current:
        raise too_large_version(revision, current)
    exact = options.match == "Exact" or (options.limit and not options.match)
    return Page(revision=revision if exact and revision else None)


def version_number(text: str) -> int | None:
    """Read a resourceVersion in a query; None where there is none. Raises StatusError 500."""
    number = parse_version(text) if text else None
    if text and number is None:
        quoted = go_quote(text)
        message = f"resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax"
        raise internal(message)
    return number


def write_continue(revision: int, after: tuple[str, str]) -> str:
    """Make the token with which the next page begins after the object (namespace, name)."""
    return f"{revision}:{after[0]}:{after[1]}".encode().hex()


def _read_continue(token: str) -> tuple[int, tuple[str, str]]:
    try:
        revision, namespace, name = bytes.fromhex(token).decode().split(":")
        return int(revision), (namespace, name)
    except ValueError:
        message = "invalid continue token: continue key is not valid: it is none of this server's"
        raise bad_request(message) from None


def _match_causes(options: ListOptions, *, asked_initial_events: bool) -> list[Cause]:
    """Find what is wrong with the combination of version parameters."""
    match, version, watch = options.match, options.version, options.watch
    forbidden = (
        (
            asked_initial_events and match != "NotOlderThan",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            watch and match and not asked_initial_events,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            match and not version and not watch,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            match == "Exact" and version == "0",
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
    )
    for applies, why in forbidden:
        if applies:
            return [Cause(reason="FieldValueForbidden", message=f"Forbidden: {why}", field="resourceVersionMatch")]
    if match in {"", "Exact", "NotOlderThan"}:
        return []
    return [unsupported("resourceVersionMatch", go_quote(match), ("Exact", "NotOlderThan", ""))]


def _flag(query: Mapping[str, str], name: str) -> bool:
    return name in query and query[name].lower() not in {"false", "0"}
