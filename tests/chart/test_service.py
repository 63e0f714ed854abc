from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chart.rendered import env

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_service_is_as_asked(chart: Chart) -> None:
    found = chart.one("Service", service={"type": "NodePort", "port": 80, "annotations": {"a": "b"}})
    assert found["spec"]["type"] == "NodePort"
    assert found["spec"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
    ]
    assert found["metadata"]["annotations"] == {"a": "b"}
    assert env(chart.container(service={"port": 80}))["TASKLOCK_OPERATOR_LISTEN"] == "0.0.0.0:8080"


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"type": "ExternalName", "port": 0, "annotations": {"a": 1}}
    assert chart.refused_values(service=wrong) == {"/service/type", "/service/port", "/service/annotations/a"}
