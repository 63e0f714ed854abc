from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_service_monitor_keeps_the_namespace_of_the_lock(chart: Chart) -> None:
    found = chart.one(
        "ServiceMonitor",
        serviceMonitor={"enabled": True, "namespace": "mon", "labels": {"a": "b"}, "interval": "30s"},
    )
    assert found["metadata"]["namespace"] == "mon"
    assert found["metadata"]["labels"]["a"] == "b"
    (endpoint,) = found["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s", "honorLabels": True}
    service = chart.one("Service")
    assert service["metadata"]["labels"].items() >= found["spec"]["selector"]["matchLabels"].items()
    assert found["spec"]["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    assert found["spec"]["jobLabel"] in service["metadata"]["labels"]


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"enabled": "yes", "interval": "often", "scrapeTimeout": "1 s", "labels": {"a": "b c"}}
    assert chart.refused_values(serviceMonitor=wrong) == {
        "/serviceMonitor/enabled",
        "/serviceMonitor/interval",
        "/serviceMonitor/scrapeTimeout",
        "/serviceMonitor/labels/a",
    }
