"""Which (namespace, app) pairs have metrics of their own: no more than a Prometheus bears, whatever clients write."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pair = tuple[str, str]

OTHER: Final = "_other"  # no namespace and no app can be called that: no DNS label has an underscore
MAX_PAIRS: Final = 500  # at 18 lines each
MAX_APPS: Final = 100  # of one namespace, so that one tenant cannot use up what is there for all
IDLE: Final = 3_600.0  # seconds; pairs that were not used for that long go when room is needed
LOOK_EVERY: Final = 60.0  # seconds between two searches for such pairs


class Pairs:
    """The pairs that are counted apart; what is beyond the bounds is counted under ``_other``.

    ``added`` and ``dropped`` are told of each pair that comes and goes: a cluster whose namespaces come and go for
    years keeps its newest ones counted apart.
    """

    def __init__(self, added: Callable[[Pair], None], dropped: Callable[[Pair], None]) -> None:
        self._added, self._dropped = added, dropped
        self._used: dict[Pair, float] = {}  # when last; the least recently used is first
        self._apps: Counter[str] = Counter()
        self._looked = float("-inf")

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._used)

    def __len__(self) -> int:
        return len(self._used)

    def of(self, namespace: str, app: str, now: float) -> Pair:
        """Return the labels to count ``app`` of ``namespace`` under, from ``now`` on."""
        pair = (namespace, app)
        if pair not in self._used:
            pair = self._place(pair, now)
        if pair in self._used:
            del self._used[pair]  # to the end of the queue
            self._used[pair] = now
        return pair

    def _place(self, pair: Pair, now: float) -> Pair:
        namespace, app = pair
        if self._apps[namespace] >= MAX_APPS or len(self._used) >= MAX_PAIRS:
            self._drop_idle(now)
        if self._apps[namespace] >= MAX_APPS and app != OTHER:
            return self.of(namespace, OTHER, now)
        if len(self._used) >= MAX_PAIRS and namespace != OTHER:
            return self.of(OTHER, OTHER, now)
        self._used[pair] = now
        self._apps[namespace] += 1
        self._added(pair)
        return pair

    def _drop_idle(self, now: float) -> None:
        if now < self._looked + LOOK_EVERY:
            return
        self._looked = now
        for pair in [pair for pair, used in self._used.items() if now - used >= IDLE]:
            del self._used[pair]
            self._apps[pair[0]] -= 1
            self._dropped(pair)
        self._apps = +self._apps  # without the namespaces that have none left
