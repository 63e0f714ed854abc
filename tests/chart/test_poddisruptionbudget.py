from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_a_disruption_budget_never_stops_a_drain(chart: Chart) -> None:
    """Whatever is asked for, at least one Pod may go; of one replica, that one."""
    found = chart.one("PodDisruptionBudget", podDisruptionBudget={"enabled": True})["spec"]
    assert found["selector"] == chart.one("Deployment")["spec"]["selector"]
    assert found["maxUnavailable"] == 1
    assert "minAvailable" not in found
    assert found["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for wrong in (0, "0%"):
        refused = chart.refused_values(podDisruptionBudget={"maxUnavailable": wrong})
        assert refused == {"/podDisruptionBudget/maxUnavailable"}
    assert chart.refused_values(podDisruptionBudget={"minAvailable": 1}) == {"/podDisruptionBudget"}
