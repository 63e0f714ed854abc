from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chart.rendered import Chart

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def chart(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(helm, tmp_path_factory.mktemp("values"))
