from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_service_account_has_no_token_of_its_own(chart: Chart) -> None:
    account = chart.one("ServiceAccount", serviceAccount={"name": "ops", "annotations": {"a": "b"}})
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["name"] == "ops"
    assert account["metadata"]["annotations"] == {"a": "b"}
    assert "annotations" not in chart.one("ServiceAccount")["metadata"]


def test_a_service_account_of_somebody_else_is_bound_instead(chart: Chart) -> None:
    values = {"serviceAccount": {"create": False, "name": "theirs"}}
    assert chart.all("ServiceAccount", **values) == []
    assert chart.one("ClusterRoleBinding", **values)["subjects"] == [
        {"kind": "ServiceAccount", "name": "theirs", "namespace": "tasklock-system"}
    ]
    assert chart.one("Deployment", **values)["spec"]["template"]["spec"]["serviceAccountName"] == "theirs"


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"create": "no", "name": 1, "annotations": {"a": 1}}
    assert chart.refused_values(serviceAccount=wrong) == {
        "/serviceAccount/create",
        "/serviceAccount/name",
        "/serviceAccount/annotations/a",
    }
