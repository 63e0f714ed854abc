"""One resource in one namespace, or in all, and how well it is seen."""

from __future__ import annotations

import time
from typing import Final

from tasklock_operator.trouble import Trouble

SETTLE_SECONDS: Final = 1.0


class Place:
    """One resource, in one namespace or in all: how it is seen."""

    def __init__(self, resource: str, namespace: str | None) -> None:
        self.resource = resource
        self.namespace = namespace
        self.name = f"{resource}/{namespace}" if namespace else resource
        where = f"in namespace {namespace}" if namespace else "in the whole cluster"
        self.trouble = Trouble(f"list and watch {resource} {where}")
        self.heard = time.monotonic()  # the last sign of life
        self.listed = False
        self.page: int | None = None  # objects at a time, where they are so large that kopf asks for too many
        self.asked = 0.0  # the clock before the list was sent
        self.uids: set[str] = set()
        self.opened = float("-inf")
        self.brief = 0  # watches in a row that ended at once

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self.heard

    @property
    def unsettled(self) -> bool:
        """Whether it is out of sight, or has been so lately that the news may still be on their way."""
        return bool(self.trouble) or time.monotonic() - self.trouble.ended < SETTLE_SECONDS
