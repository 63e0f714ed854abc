from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chart.generate import CHART

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_dashboard_is_that_of_the_file(chart: Chart) -> None:
    found = chart.one("ConfigMap", dashboard={"enabled": True, "annotations": {"grafana_folder": "locks"}})
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "locks"}
    files = {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
    assert files
    assert {name: json.loads(text) for name, text in found["data"].items()} == {
        name: json.loads(text) for name, text in files.items()
    }


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"enabled": 1, "labels": {"a": 1}, "annotations": ["a"]}
    assert chart.refused_values(dashboard=wrong) == {
        "/dashboard/enabled",
        "/dashboard/labels/a",
        "/dashboard/annotations",
    }
