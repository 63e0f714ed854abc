"""The clock that leases are counted on, which never jumps and counts the time of a suspended machine; and chance."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from random import SystemRandom

from tasklock.protocol.effects import Time

if hasattr(time, "CLOCK_BOOTTIME"):

    def clock() -> float:
        """Return seconds since boot, suspension included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - not Linux
    clock = time.monotonic


chance = SystemRandom().random  # without a state that a fork copies, or that a program means to have seeded


def read() -> Time:
    """Return both clocks."""
    return Time(clock(), datetime.now(UTC))
