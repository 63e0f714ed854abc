"""What a forked child has to forget: locks that another thread held, sockets and holds that are the parent's."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that has to start afresh in a forked child."""

    def after_fork(self) -> None:
        """Start afresh: called in the child, right after the fork."""


_known: WeakSet[Forkable] = WeakSet()


def survive_fork(thing: Forkable) -> None:
    """Have ``thing.after_fork()`` called in every forked child, for as long as it lives."""
    _known.add(thing)


def _start_afresh() -> None:
    for thing in list(_known):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
