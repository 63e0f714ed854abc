"""What a program counts of itself, as Prometheus would read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane


def total(text: str, metric: str, **labels: str) -> float:
    """Return the sum of a metric over all series that carry ``labels``."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    series = re.findall(rf"^{metric}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for found, value in series if all(one in found for one in wanted))


def counted(plane: ControlPlane, metric: str, **labels: str) -> int:
    """Return the same of an API server, which counts whole things."""
    return int(total(plane.kubectl("get", "--raw", "/metrics"), metric, **labels))
