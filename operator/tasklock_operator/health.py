"""Whether it is ready, and whether a restart would help.

A restart does not bring back an API server or a missing Role: while the link knows why it sees nothing, it is alive. It
does help where the reaper's task has ended, or where a watch is silent for longer than bookmarks and the watch's own
end allow, with no reason known. A stuck event loop answers no probe at all, which says it as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from tasklock_operator.place import Place
    from tasklock_operator.trouble import Trouble

SILENT_SECONDS: Final = 120.0  # a watch is renewed every 25 s, and given up after 35 s without a byte


class Health:
    """Answers the probes."""

    def __init__(self, places: Sequence[Place], discovery: Trouble) -> None:
        """Take what can be seen, and the trouble of finding out whether it can be."""
        self._places = places
        self._discovery = discovery
        self.tasks: list[asyncio.Task[None]] = []  # those that never end

    def ready(self) -> tuple[bool, str]:
        """Tell whether the first lists have come; else, in a sentence, what is missing."""
        if ended := self._ended():
            return False, ended
        for place in self._places:
            if not place.listed:
                trouble = place.trouble or self._discovery
                why = f"cannot {trouble.what}" if trouble else f"waiting for the first list of {place.name}"
                return False, why
        return True, "ready"

    def alive(self) -> tuple[bool, str]:
        """Tell whether all goes on; else, in a sentence, what a restart would mend."""
        if ended := self._ended():
            return False, ended
        for place in self._places:
            if place.age > SILENT_SECONDS and not (place.trouble or self._discovery):
                return False, f"nothing was heard of {place.name} for {place.age:.0f} s, for no known reason"
        return True, "alive"

    def _ended(self) -> str:
        """Say which task has ended that never should; empty if none has."""
        return next((f"the task {task.get_name()} has ended" for task in self.tasks if task.done()), "")

    def watch_age(self) -> dict[str, float]:
        """Return the seconds since the last sign of life of each watch."""
        return {place.name: place.age for place in self._places}

    def blind(self, namespace: str) -> bool:
        """Tell whether the Leases of a namespace are out of sight, or have been until a moment ago."""
        return any(
            place.resource == "leases" and place.namespace in {None, namespace} and place.unsettled
            for place in self._places
        )
