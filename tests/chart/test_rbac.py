"""Exactly these verbs, in exactly these places: whatever is added to a Role has to be added here as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chart.rendered import named

if TYPE_CHECKING:
    from chart.rendered import Chart

LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch", "delete"]}
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
EVENTS = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}
OPERATOR = {"kind": "ServiceAccount", "name": "tasklock", "namespace": "tasklock-system"}
BINDINGS: Any = {"bindings": [{"namespace": "jobs", "subjects": [{"name": "worker"}]}]}


def test_by_default_the_operator_has_one_cluster_role(chart: Chart) -> None:
    roles = named(chart.all("ClusterRole"))
    assert roles.keys() == {"/tasklock", "/tasklock-client"}
    assert roles["/tasklock"]["rules"] == [LEASES, PODS, EVENTS]
    assert "aggregationRule" not in roles["/tasklock"]
    binding = chart.one("ClusterRoleBinding")
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tasklock"}
    assert binding["subjects"] == [OPERATOR]
    assert chart.all("Role") == chart.all("RoleBinding") == []


def test_with_namespaces_it_has_a_role_in_each_and_none_in_the_cluster(chart: Chart) -> None:
    values = {"operator": {"namespaces": ["b", "a"]}}
    roles, bindings = (named(chart.all(kind, **values)) for kind in ("Role", "RoleBinding"))
    assert roles.keys() == bindings.keys() == {"a/tasklock", "b/tasklock"}
    for place, role in roles.items():
        assert role["rules"] == [LEASES, PODS, EVENTS]
        assert bindings[place]["roleRef"]["kind"] == "Role"
        assert bindings[place]["subjects"] == [OPERATOR]
    assert named(chart.all("ClusterRole", **values)).keys() == {"/tasklock-client"}
    assert chart.all("ClusterRoleBinding", **values) == []


@pytest.mark.parametrize(
    ("operator", "rules"),
    [
        ({"pods": {"watch": False}}, [LEASES, EVENTS]),
        ({"events": False}, [LEASES, PODS]),
        ({"pods": {"watch": False}, "events": False}, [LEASES]),
    ],
)
def test_what_it_does_not_do_it_may_not_do(chart: Chart, operator: Any, rules: Any) -> None:
    assert named(chart.all("ClusterRole", operator=operator))["/tasklock"]["rules"] == rules


def test_roles_can_be_left_to_the_cluster_s_administrator(chart: Chart) -> None:
    values: Any = {"rbac": {"create": False}, "client": {"clusterRole": {"create": False}}}
    for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
        assert chart.all(kind, **values) == []
    values["client"] |= BINDINGS
    assert "client.bindings needs client.clusterRole.create" in chart.refusal(**values)


def test_nothing_else_is_aggregated_and_no_verb_is_a_star(chart: Chart) -> None:
    everything = chart.text(ownershipPolicy={"enabled": True}, client=BINDINGS)
    assert everything.count("rbac.authorization.k8s.io/aggregate-to") == 1
    for role in chart.all("ClusterRole", ownershipPolicy={"enabled": True}, client=BINDINGS):
        for rule in role["rules"]:
            assert "*" not in {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    assert chart.refused_values(rbac={"create": "no"}) == {"/rbac/create"}


def test_names_that_look_like_numbers_stay_names(chart: Chart) -> None:
    values: Any = {
        "fullnameOverride": "123",
        "nameOverride": "1e5",
        "operator": {"namespaces": ["1234"]},
        "serviceAccount": {"name": "99"},
        "client": {"bindings": [{"namespace": "0x7", "subjects": [{"name": "1"}]}]},
        "flowSchema": {"enabled": True},
        "ownershipPolicy": {"enabled": True},
        "fence": {"enabled": True},
    }

    def names(thing: Any) -> Any:
        if isinstance(thing, dict):
            for key, value in thing.items():
                if key in {"name", "namespace", "serviceAccountName", "policyName"} or key.startswith("app.kubernetes"):
                    yield key, value
                yield from names(value)
        elif isinstance(thing, list):
            for value in thing:
                yield from names(value)

    found = list(names(chart.objects(**values)))
    assert ("name", "123") in found
    assert ("namespace", "1234") in found
    assert ("serviceAccountName", "99") in found
    assert [one for one in found if not isinstance(one[1], str | dict)] == []
