"""What an API server counts of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane


def counted(plane: ControlPlane, metric: str, **labels: str) -> int:
    """Return the sum of a metric over all series that carry ``labels``."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    lines = plane.kubectl("get", "--raw", "/metrics").splitlines()
    return sum(
        int(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(f"{metric}{{") and all(one in line for one in wanted)
    )
