"""A few seconds of it, and that its measure can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from soak.soak import Size, Soak

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.control_plane import ControlPlane


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_left_of_a_few_bad_seconds(
    control_plane: ControlPlane,
    toxiproxy: Path,
    porcupine: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    programs = {"toxiproxy": toxiproxy, "porcupine": porcupine}
    with Soak(control_plane, programs, tmp_path, seed=1, workers=3) as soak:
        report = soak.run(0, [soak.network, soak.kill, soak.operator], rest=0.2)
    record_property("report", str(report))
    assert report.failures == []


def test_growth_is_a_leak_and_the_same_size_is_none() -> None:
    early = Size(memory=50, threads=5, files=10)
    assert not early.leaks(Size(memory=55, threads=6, files=11))
    assert early.leaks(Size(memory=80, threads=5, files=10))
    assert early.leaks(Size(memory=50, threads=9, files=10))
    assert early.leaks(Size(memory=50, threads=5, files=20))
