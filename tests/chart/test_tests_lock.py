from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_test_pod_has_the_client_role_and_leaves_nothing(chart: Chart) -> None:
    hooks = [found for found in chart.objects() if "helm.sh/hook" in found["metadata"].get("annotations", {})]
    pod, binding, account = sorted(hooks, key=lambda found: str(found["kind"]))
    for found in hooks:
        policy = found["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        assert set(policy.split(",")) == {"before-hook-creation", "hook-succeeded", "hook-failed"}
    assert binding["roleRef"]["name"] == "tasklock-client"
    assert binding["subjects"][0]["name"] == account["metadata"]["name"] == pod["spec"]["serviceAccountName"]
    assert pod["spec"]["containers"][0]["image"] == chart.container()["image"]
    assert not any("helm.sh/hook" in str(found["metadata"]) for found in chart.objects(helmTest={"enabled": False}))


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"enabled": 1, "image": "a"}
    assert chart.refused_values(helmTest=wrong) == {"/helmTest", "/helmTest/enabled"}
