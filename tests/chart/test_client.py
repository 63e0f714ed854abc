from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chart.rendered import named

if TYPE_CHECKING:
    from chart.rendered import Chart

CLIENT = ["get", "list", "watch", "create", "patch", "delete"]
BINDINGS = {
    "bindings": [
        {"namespace": "jobs", "subjects": [{"name": "worker"}, {"name": "other", "namespace": "elsewhere"}]},
        {"namespace": "more", "subjects": [{"kind": "User", "name": "joe"}, {"kind": "Group", "name": "team"}]},
    ],
}


def test_the_client_role_is_bound_where_and_to_whom_it_is_said(chart: Chart) -> None:
    role = named(chart.all("ClusterRole"))["/tasklock-client"]
    assert role["rules"] == [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": CLIENT}]
    bindings = named(chart.all("RoleBinding", client=BINDINGS))
    group = "rbac.authorization.k8s.io"
    assert {place: one["subjects"] for place, one in bindings.items()} == {
        "jobs/tasklock-client": [
            {"kind": "ServiceAccount", "name": "worker", "namespace": "jobs"},
            {"kind": "ServiceAccount", "name": "other", "namespace": "elsewhere"},
        ],
        "more/tasklock-client": [
            {"kind": "User", "name": "joe", "apiGroup": group},
            {"kind": "Group", "name": "team", "apiGroup": group},
        ],
    }
    for binding in bindings.values():
        assert binding["roleRef"] == {"apiGroup": group, "kind": "ClusterRole", "name": "tasklock-client"}


def test_a_binding_needs_the_role(chart: Chart) -> None:
    client = {**BINDINGS, "clusterRole": {"create": False}}
    assert "client.bindings needs client.clusterRole.create" in chart.refusal(client=client)


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    one = {"subjects": [{"name": "a"}]}
    wrong: Any = {
        "clusterRole": {"create": 1},
        "bindings": [{"namespace": "jobs", "subjects": []}, one, {"namespace": "*", **one}],
        "boundElsewhere": [{"name": "a"}, {"kind": "Robot", "name": "a", "namespace": "b"}],
    }
    assert chart.refused_values(client=wrong) == {
        "/client/clusterRole/create",
        "/client/bindings/0/subjects",
        "/client/bindings/1",
        "/client/bindings/2/namespace",
        "/client/boundElsewhere/0",
        "/client/boundElsewhere/1/kind",
    }
