"""What a visitor asks for: which locks, in which order, which part of them. Read from a query string, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = 200  # locks shown at a time ...
MOST: Final = 500  # ... and at most: each costs the operator's only thread some 40 µs
FILTERS: Final = ("lock", "namespace", "app", "holder")
STATES: Final = {"": "any", "held": "held", "overdue": "overdue", "stale": "stale", "waiting": "waited for"}
SORTS: Final = ("age", "left", "lock", "namespace", "app", "holder", "waiting")
OLDEST_FIRST: Final = "-age"


class QueryError(ValueError):
    """Says what is wrong with a query string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One look at the locks.

    Attributes:
        lock, namespace, app, holder: text that must be contained, whatever its case; empty: any.
        state: ``held``, ``overdue``, ``stale``, ``waiting`` (somebody waits for it), or empty.
        sort: what by; with ``-`` in front, the largest first.
        limit, offset: how many, after how many.

    """

    lock: str = ""
    namespace: str = ""
    app: str = ""
    holder: str = ""
    state: str = ""
    sort: str = OLDEST_FIRST
    limit: int = PAGE
    offset: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Query:
        """Read a query string's parameters; raises QueryError with a sentence. Unknown ones are ignored."""
        sort = given.get("sort") or OLDEST_FIRST
        state = given.get("state", "")
        if sort.removeprefix("-") not in SORTS:
            msg = f"sort must be one of {', '.join(SORTS)}, with - in front for descending"
            raise QueryError(msg)
        if state not in STATES:
            msg = f"state must be one of {', '.join(name for name in STATES if name)}, or empty"
            raise QueryError(msg)
        return cls(
            **{name: given.get(name, "").strip() for name in FILTERS},
            state=state,
            sort=sort,
            limit=max(1, min(_number(given, "limit", PAGE), MOST)),
            offset=_number(given, "offset", 0),
        )

    @property
    def filtered(self) -> bool:
        """It leaves something out."""
        return bool(self.lock or self.namespace or self.app or self.holder or self.state)

    def link(self, **changes: str | int) -> str:
        """Return the relative link to the same look, but for ``changes``; any but another offset begins at the top."""
        other = replace(self, **{"offset": 0, **changes})  # type: ignore[arg-type] # the caller's fields
        default = Query()
        names = (*FILTERS, "state", "sort", "limit", "offset")
        return "?" + urlencode({n: v for n in names if (v := getattr(other, n)) != getattr(default, n)})

    def sorted_by(self, key: str) -> str:
        """Return the link that sorts by ``key``; the other way round where it is sorted by it now."""
        first = f"-{key}" if key in {"age", "waiting"} else key
        second = key if first != key else f"-{key}"
        return self.link(sort=second if self.sort == first else first)

    def direction(self, key: str) -> str:
        """Return what a column's header says of its order: ``ascending``, ``descending``, or nothing."""
        return {key: "ascending", f"-{key}": "descending"}.get(self.sort, "")


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 - a billion locks
        msg = f"{name} must be a whole number"
        raise QueryError(msg)
    return int(text)
