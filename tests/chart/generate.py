"""Write what is made from the chart: its schema, its README, and ``manifests/operator``.

Run it after a change to the chart: ``uv run python tests/chart/generate.py``. A test fails while one of them is old.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest has it: tests/

from chart.render import manifests
from chart.schema import schema_of
from cluster.build import ensure_program

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "tasklock"
OPERATOR: Final = ROOT / "manifests" / "operator"


def readme(helm_docs: Path, chart: Path = CHART) -> str:
    """Return the chart's README, as helm-docs writes it."""
    command = [
        helm_docs,
        "--chart-search-root",
        chart,
        "--dry-run",
        "--log-level",
        "warning",
        "--sort-values-order",
        "file",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip() + "\n"


def main() -> None:
    (CHART / "values.schema.json").write_text(schema_of(CHART / "values.yaml"))
    (CHART / "README.md").write_text(readme(ensure_program("helm-docs")))
    OPERATOR.mkdir(exist_ok=True)
    files = manifests(ensure_program("helm"), CHART)
    for old in OPERATOR.glob("*.yaml"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (OPERATOR / name).write_text(text)


if __name__ == "__main__":
    main()
