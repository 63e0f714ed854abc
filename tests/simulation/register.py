"""What a lock protects: a number that is read, thought about, and written back plus one."""

from __future__ import annotations


class Register:
    """A store that may check fencing tokens.

    It refuses a token smaller than the largest that it has *seen*, in a read as well as in a write: a holder whose read
    did not show its token could be overtaken by a paused one between its read and its write.
    """

    def __init__(self, *, fenced: bool) -> None:
        self.fenced = fenced
        self.value = 0
        self.accepted = 0
        self.refused = 0
        self._newest = 0

    def read(self, token: int) -> int | None:
        return self.value if self._admits(token) else None

    def write(self, token: int, value: int) -> bool:
        if self._admits(token):
            self.value = value
            self.accepted += 1
            return True
        return False

    def _admits(self, token: int) -> bool:
        if self.fenced and token < self._newest:
            self.refused += 1
            return False
        self._newest = max(self._newest, token)
        return True

    @property
    def lost(self) -> int:
        """How many accepted writes are not in the value."""
        return self.accepted - self.value
