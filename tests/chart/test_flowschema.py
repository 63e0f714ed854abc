"""What the FlowSchema says; what it does is shown in tests/policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chart.rendered import Chart

BINDINGS = {
    "bindings": [{"namespace": "jobs", "subjects": [{"name": "worker"}, {"kind": "Group", "name": "team"}]}],
    "boundElsewhere": [{"kind": "User", "name": "joe"}],
}


def test_the_flow_schema_serves_the_operator_and_the_lock_clients(chart: Chart) -> None:
    values: Any = {"flowSchema": {"enabled": True}, "client": BINDINGS}
    operator, clients = chart.one("FlowSchema", **values)["spec"]["rules"]
    account = {"name": "tasklock", "namespace": "tasklock-system"}
    assert operator["subjects"] == [{"kind": "ServiceAccount", "serviceAccount": account}]
    assert clients["subjects"] == [
        {"kind": "ServiceAccount", "serviceAccount": {"name": "worker", "namespace": "jobs"}},
        {"kind": "Group", "group": {"name": "team"}},
        {"kind": "User", "user": {"name": "joe"}},
    ]
    (rule,) = clients["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == (["coordination.k8s.io"], ["leases"])
    assert len(chart.one("FlowSchema", flowSchema={"enabled": True})["spec"]["rules"]) == 1
    level = chart.one("PriorityLevelConfiguration", **values)
    assert chart.one("FlowSchema", **values)["spec"]["priorityLevelConfiguration"] == {
        "name": level["metadata"]["name"]
    }
    assert level["spec"]["limited"]["lendablePercent"] == 0


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"enabled": 1, "matchingPrecedence": 0, "nominalConcurrencyShares": 0, "lendablePercent": 101}
    assert chart.refused_values(flowSchema=wrong) == {
        "/flowSchema/enabled",
        "/flowSchema/matchingPrecedence",
        "/flowSchema/nominalConcurrencyShares",
        "/flowSchema/lendablePercent",
    }
