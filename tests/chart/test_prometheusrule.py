from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from chart.generate import CHART

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_rules_are_those_of_the_files_and_your_own(chart: Chart) -> None:
    own = {"name": "own", "rules": [{"alert": "A", "expr": "1"}]}
    files = sorted((CHART / "rules").glob("*.yaml"))
    found = chart.one("PrometheusRule", prometheusRule={"enabled": True, "additionalGroups": [own]})
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert groups
    assert found["spec"]["groups"] == [*groups, own]
    changed = {"heldSeconds": 60, "reapsInHalfAnHour": 50, "watchAgeSeconds": 30, "apiErrorsPerSecond": 0.5}
    found = chart.one("PrometheusRule", prometheusRule={"enabled": True, "thresholds": changed})
    limits = [rule["expr"] for rule in found["spec"]["groups"][0]["rules"]]
    assert limits == ["vector(60)", "vector(50)", "vector(30)", "vector(0.5)"]
    assert found["spec"]["groups"][1:] == groups[1:]


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {
        "enabled": 1,
        "additionalGroups": [{"name": "a"}],
        "thresholds": {"heldSeconds": 0, "apiErrorsPerSecond": "1"},
    }
    assert chart.refused_values(prometheusRule=wrong) == {
        "/prometheusRule/enabled",
        "/prometheusRule/additionalGroups/0",
        "/prometheusRule/thresholds/heldSeconds",
        "/prometheusRule/thresholds/apiErrorsPerSecond",
    }
