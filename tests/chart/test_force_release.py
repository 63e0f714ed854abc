from __future__ import annotations

from typing import TYPE_CHECKING

from chart.rendered import named

if TYPE_CHECKING:
    from chart.rendered import Chart

FORCE = ["get", "list", "watch", "delete", "forcerelease"]


def test_force_release_comes_with_the_policy_and_is_part_of_admin(chart: Chart) -> None:
    role = named(chart.all("ClusterRole", ownershipPolicy={"enabled": True}))["/tasklock-force-release"]
    assert role["rules"] == [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": FORCE}]
    aggregate = "rbac.authorization.k8s.io/aggregate-to-admin"
    assert role["metadata"]["labels"][aggregate] == "true"
    apart = {"enabled": True, "forceRelease": {"aggregateToAdmin": False}}
    role = named(chart.all("ClusterRole", ownershipPolicy=apart))["/tasklock-force-release"]
    assert aggregate not in role["metadata"]["labels"]


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong = {"forceRelease": {"aggregateToAdmin": "no"}}
    assert chart.refused_values(ownershipPolicy=wrong) == {"/ownershipPolicy/forceRelease/aggregateToAdmin"}
