"""The alerts and the dashboard of the chart: parsed, tried, and about metrics that exist.

promtool is in Debian's package ``prometheus``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from status.crowd import Fakes, lock
from tasklock_operator.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts/tasklock/rules/tasklock.yaml"
DASHBOARD = ROOT / "charts/tasklock/dashboards/tasklock.json"
TRIALS = (Path(__file__).with_name("alerts.yaml"), Path(__file__).with_name("alerts_daily.yaml"))


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found:
        return found
    why = "promtool is missing: install Debian's package prometheus"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yield every expression of the dashboard, its variables filled in as Grafana does."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "2m").replace("$namespace", ".*").replace("$app", ".*")


@pytest.fixture(scope="session")
def exported() -> set[str]:
    """Return the name of every series that the operator exports once something of all has happened."""
    fakes = Fakes([lock()])
    metrics = Metrics(fakes, fakes)
    metrics.api_error("list", 500)
    body, _ = asyncio.run(metrics.page(""))
    return {sample.name for family in text_string_to_metric_families(body.decode()) for sample in family.samples}


def named_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:tasklock|process)_[a-z_]+\b", expression))


def test_promtool_finds_the_rules_right(promtool: str) -> None:
    done = run(promtool, "check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    done = run(promtool, "test", "rules", *TRIALS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_threshold_that_is_replaced_is_the_one_that_counts(promtool: str, tmp_path: Path) -> None:
    """The chart replaces the text; the trials then miss the alerts, so they did try them."""
    text = RULES.read_text()
    for given in ("vector(3600)", "vector(5)", "vector(120)", "vector(0.05)"):
        assert text.count(given) == 1
        text = text.replace(given, "vector(1e9)")
    (tmp_path / "rules.yaml").write_text(text)
    trials = tmp_path / "trials.yaml"
    trials.write_text(TRIALS[0].read_text().replace("../../charts/tasklock/rules/tasklock.yaml", "rules.yaml"))
    done = run(promtool, "test", "rules", trials)
    missed = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert done.returncode != 0
    assert missed == {
        "TasklockHeldTooLong",
        "TasklockReapsRising",
        "TasklockOperatorBlind",
        "TasklockOperatorApiErrors",
    }


def test_every_alert_is_tried_both_ways() -> None:
    tried: dict[str, set[bool]] = {}
    for group in (group for path in TRIALS for group in yaml.safe_load(path.read_text())["tests"]):
        for trial in group["alert_rule_test"]:
            tried.setdefault(trial["alertname"], set()).add(bool(trial["exp_alerts"]))
    assert tried == {alert["alert"]: {True, False} for alert in alerts()}


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    sections = {line.lstrip("# ") for line in (ROOT / "docs/operations.md").read_text().splitlines() if line[:1] == "#"}
    for alert in alerts():
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description", "runbook"} == set(alert["annotations"])
        document, _, section = alert["annotations"]["runbook"].partition(", section: ")
        assert document == "docs/operations.md"
        assert section in sections


def test_rules_and_dashboard_speak_of_series_that_the_operator_exports(exported: set[str]) -> None:
    for expression in [*(rule["expr"] for rule in rules()), *expressions()]:
        assert named_in(expression) <= exported, expression


def test_the_dashboard_shows_every_series_that_the_operator_exports(exported: set[str]) -> None:
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in set().union(*map(named_in, expressions()))}
    known = {re.sub("_(bucket|count|sum)$", "", name) for name in exported if name.startswith("tasklock")}
    assert known <= shown


def test_promtool_parses_every_expression_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    wrapped = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    assert len(wrapped) > 20
    path = tmp_path / "dashboard.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": wrapped}]}))
    done = run(promtool, "check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_works_with_any_data_source_and_has_no_two_panels_in_one_place() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert (board["uid"], board["schemaVersion"], "id" in board) == ("tasklock", 39, False)
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace", "app"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels():
        assert {d["datasource"]["uid"] for d in (panel, *panel["targets"])} == {"${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_helm_can_carry_both_as_they_are() -> None:
    """Nothing of Helm's own in them, and small enough for a ConfigMap."""
    for path in (RULES, DASHBOARD):
        text = path.read_text()
        assert not re.search(r"\{\{-?\s*\.|\{\{-|-\}\}", text)
        assert len(text) < 500_000
