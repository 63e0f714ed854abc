"""Faults that a test can play on one request: see `Fault`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with a request. "Before" and "after" mean the moment at which the store commits.

    delay_before, delay_after: seconds to wait; with `delay_after` the write has happened, its reply is late.
    status, headers, body: answer this instead; the store never sees the request.
    drop: "before" closes the connection and nothing happened; "after" closes it though it did.
    cut: send only so many bytes of the reply's body (of a watch: of all its events), then close the connection.
    """

    delay_before: float = 0.0
    delay_after: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    drop: str = ""
    cut: int | None = None

    def __post_init__(self) -> None:
        if self.drop not in {"", "before", "after"}:
            msg = f'drop is "before" or "after", not {self.drop!r}'
            raise ValueError(msg)
