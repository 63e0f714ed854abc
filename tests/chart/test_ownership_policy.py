"""What the policy says; what it does is shown in tests/policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chart.rendered import Chart

BINDINGS = {
    "bindings": [{"namespace": "jobs", "subjects": [{"name": "worker"}, {"kind": "Group", "name": "team"}]}],
    "boundElsewhere": [{"kind": "User", "name": "joe"}],
}


def test_the_ownership_policy_knows_the_lock_clients_and_the_operator(chart: Chart) -> None:
    values: Any = {"ownershipPolicy": {"enabled": True}, "client": BINDINGS, "serviceAccount": {"name": "ops"}}
    policy = chart.one("ValidatingAdmissionPolicy", **values)["spec"]
    (condition,) = policy["matchConditions"]
    assert 'request.userInfo.username in ["system:serviceaccount:jobs:worker","joe"]' in condition["expression"]
    assert 'exists(group, group in ["team"])' in condition["expression"]
    trusted = next(one["expression"] for one in policy["variables"] if one["name"] == "trusted")
    assert 'request.userInfo.username == "system:serviceaccount:tasklock-system:ops"' in trusted
    assert policy["failurePolicy"] == "Fail"
    assert {validation["reason"] for validation in policy["validations"]} == {"Forbidden"}
    binding = chart.one("ValidatingAdmissionPolicyBinding", **values)["spec"]
    assert binding == {"policyName": "tasklock-ownership", "validationActions": ["Deny"]}


@pytest.mark.parametrize(
    ("values", "selector"),
    [
        (
            {"operator": {"namespaces": ["b", "a"]}},
            {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}]},
        ),
        (
            {"operator": {"namespaces": ["a"]}, "ownershipPolicy": {"namespaceSelector": {"matchLabels": {"x": "y"}}}},
            {"matchLabels": {"x": "y"}},
        ),
    ],
)
def test_the_ownership_policy_holds_where_the_operator_is(chart: Chart, values: Any, selector: Any) -> None:
    values = {**values, "ownershipPolicy": {"enabled": True, **values.get("ownershipPolicy", {})}}
    binding = chart.one("ValidatingAdmissionPolicyBinding", **values)["spec"]
    assert binding["matchResources"] == {"namespaceSelector": selector}


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"enabled": "yes", "validationActions": ["Refuse"], "exemptUsers": [""], "namespaceSelector": "all"}
    assert chart.refused_values(ownershipPolicy=wrong) == {
        "/ownershipPolicy/enabled",
        "/ownershipPolicy/validationActions/0",
        "/ownershipPolicy/exemptUsers/0",
        "/ownershipPolicy/namespaceSelector",
    }
