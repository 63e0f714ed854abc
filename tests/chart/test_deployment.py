from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chart.rendered import env

if TYPE_CHECKING:
    from chart.rendered import Chart

PROXY = {"name": "proxy", "image": "proxy:1"}


def pod(chart: Chart, **values: Any) -> Any:
    return chart.one("Deployment", **values)["spec"]["template"]["spec"]


def test_the_environment_is_what_the_operator_reads(chart: Chart) -> None:
    assert env(chart.container()) == {
        "TASKLOCK_OPERATOR_LISTEN": "0.0.0.0:8080",
        "TASKLOCK_OPERATOR_PODS": "true",
        "TASKLOCK_OPERATOR_EVENTS": "true",
        "TASKLOCK_OPERATOR_LOCK_METRICS": "false",
        "TASKLOCK_OPERATOR_LOG_LEVEL": "info",
        "TASKLOCK_OPERATOR_LOG_FORMAT": "plain",
    }
    operator = {
        "namespaces": ["b", "a"],
        "pods": {"watch": False, "selector": "x=y"},
        "events": False,
        "lockMetrics": True,
        "log": {"level": "debug", "format": "json"},
    }
    assert env(chart.container(operator=operator)) == {
        "TASKLOCK_OPERATOR_LISTEN": "0.0.0.0:8080",
        "TASKLOCK_OPERATOR_NAMESPACES": "a,b",
        "TASKLOCK_OPERATOR_PODS": "false",
        "TASKLOCK_OPERATOR_POD_SELECTOR": "x=y",
        "TASKLOCK_OPERATOR_EVENTS": "false",
        "TASKLOCK_OPERATOR_LOCK_METRICS": "true",
        "TASKLOCK_OPERATOR_LOG_LEVEL": "debug",
        "TASKLOCK_OPERATOR_LOG_FORMAT": "json",
    }


def test_it_is_as_restricted_as_a_pod_can_be(chart: Chart) -> None:
    """The API server is asked in test_real.py; this is what it cannot ask for."""
    found = pod(chart)
    assert found["securityContext"]["runAsUser"] == 65532
    assert found["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert "volumes" not in found
    assert not {"hostNetwork", "hostPID", "hostIPC"} & found.keys()
    assert found["automountServiceAccountToken"] is True
    assert found["enableServiceLinks"] is False


def test_it_is_probed_where_the_operator_answers(chart: Chart) -> None:
    container = chart.container(livenessProbe={"failureThreshold": 9})
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["livenessProbe"]["failureThreshold"] == 9
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]


def test_a_new_pod_is_there_before_the_old_one_goes(chart: Chart) -> None:
    strategy = chart.one("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.mark.parametrize(
    ("image", "written"),
    [
        ({}, "registry.example/tasklock-operator:0.1.0"),
        ({"tag": "1.2"}, "registry.example/tasklock-operator:1.2"),
        ({"repository": "localhost:5000/a/b"}, "localhost:5000/a/b:0.1.0"),
        ({"digest": "sha256:" + "0" * 64}, "registry.example/tasklock-operator@sha256:" + "0" * 64),
        ({"tag": "1.2", "digest": "sha256:" + "0" * 64}, "registry.example/tasklock-operator:1.2@sha256:" + "0" * 64),
    ],
)
def test_the_image_is_named_by_tag_or_digest_or_both(chart: Chart, image: dict[str, str], written: str) -> None:
    assert chart.container(image=image)["image"] == written


def test_what_is_not_asked_for_is_left_out_and_not_null(chart: Chart) -> None:
    found = pod(chart)
    optional = {
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "affinity": {"nodeAffinity": {}},
        "tolerations": [{"operator": "Exists"}],
        "extraVolumes": [{"name": "v", "emptyDir": {}}],
    }
    assert not found.keys() & optional.keys()
    assert "volumeMounts" not in found["containers"][0]
    full = pod(
        chart, **optional, extraVolumeMounts=[{"name": "v", "mountPath": "/v"}], extraEnv=[{"name": "A", "value": "b"}]
    )
    for name, value in optional.items():
        assert full["volumes" if name == "extraVolumes" else name] == value
    assert full["containers"][0]["volumeMounts"] == [{"name": "v", "mountPath": "/v"}]
    assert env(full["containers"][0])["A"] == "b"
    assert not _nulls(chart.objects())
    emptied = {"podSecurityContext": None, "securityContext": None, "resources": None, "strategy": None}
    assert not _nulls(chart.objects(**emptied))


def test_several_are_spread_by_their_own_labels(chart: Chart) -> None:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    chosen = {"matchLabels": {"a": "b"}}
    spread = {"topologySpreadConstraints": [rule, {**rule, "labelSelector": chosen}], "replicas": 2}
    deployment = chart.one("Deployment", **spread)
    assert deployment["spec"]["replicas"] == 2
    own, other = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert own == {**rule, "labelSelector": deployment["spec"]["selector"]}
    assert other == {**rule, "labelSelector": chosen}


def test_names_and_labels_can_be_replaced(chart: Chart) -> None:
    found = chart.one("Deployment", fullnameOverride="locks", nameOverride="other", commonLabels={"team": "a"})
    assert found["metadata"]["name"] == "locks"
    assert found["metadata"]["labels"]["team"] == "a"
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= found["spec"]["selector"]["matchLabels"].items()
    assert labels["app.kubernetes.io/name"] == "other"
    for one in chart.objects(commonLabels={"team": "a"}):
        assert one["metadata"]["labels"]["team"] == "a", one["kind"]


def test_a_proxy_stands_before_the_page_that_forces(chart: Chart) -> None:
    proxy = {"enabled": True, "port": 9000, "userHeader": "X-User", "proxy": {"container": PROXY, "port": 4180}}
    operator, sidecar = pod(chart, forceRelease=proxy)["containers"]
    assert sidecar == PROXY
    assert env(operator)["TASKLOCK_OPERATOR_PROXY_LISTEN"] == "127.0.0.1:9000"
    assert env(operator)["TASKLOCK_OPERATOR_PROXY_USER_HEADER"] == "X-User"
    ports = chart.one("Service", forceRelease=proxy)["spec"]["ports"]
    assert [(port["port"], port["targetPort"]) for port in ports] == [(8080, "http"), (80, 4180)]


def test_there_is_no_forcing_without_a_proxy(chart: Chart) -> None:
    assert "needs forceRelease.proxy.container" in chart.refusal(forceRelease={"enabled": True})


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {
        "unknown": 1,
        "replicas": "2",
        "revisionHistoryLimit": -1,
        "image": {"repository": "a:b", "tag": "a b", "digest": "sha256:0", "pullPolicy": "Sometimes"},
        "imagePullSecrets": ["name"],
        "operator": {
            "namespaces": ["A_B"],
            "pods": {"watch": "yes", "selector": 1},
            "events": 1,
            "lockMetrics": "no",
            "log": {"level": "loud", "format": "xml"},
        },
        "forceRelease": {"port": 80, "userHeader": "a: b", "proxy": {"port": 0, "servicePort": 65536}},
        "startupProbe": {"periodSeconds": 0},
        "livenessProbe": {"exec": {}},
        "readinessProbe": {"timeoutSeconds": "1s"},
        "terminationGracePeriodSeconds": 0,
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "podLabels": {"a": "not a label!"},
        "podAnnotations": {"a": 1},
        "fullnameOverride": "Not_A_Name",
        "priorityClassName": 1,
        "extraEnv": [{"value": "a"}],
        "extraVolumeMounts": [{"name": "a"}],
    }
    assert chart.refused_values(**wrong) == {
        "",  # unknown
        "/replicas",
        "/revisionHistoryLimit",
        *(f"/image/{name}" for name in wrong["image"]),
        "/imagePullSecrets/0",
        "/operator/namespaces/0",
        "/operator/pods/watch",
        "/operator/pods/selector",
        "/operator/events",
        "/operator/lockMetrics",
        "/operator/log/level",
        "/operator/log/format",
        "/forceRelease/port",
        "/forceRelease/userHeader",
        "/forceRelease/proxy/port",
        "/forceRelease/proxy/servicePort",
        "/startupProbe/periodSeconds",
        "/livenessProbe",
        "/readinessProbe/timeoutSeconds",
        "/terminationGracePeriodSeconds",
        "/topologySpreadConstraints/0",
        "/podLabels/a",
        "/podAnnotations/a",
        "/fullnameOverride",
        "/priorityClassName",
        "/extraEnv/0",
        "/extraVolumeMounts/0",
    }


def test_labels_of_the_charts_own_cannot_be_given_twice(chart: Chart) -> None:
    assert "invalid propertyName 'app.kubernetes.io/name'" in chart.refusal(
        commonLabels={"app.kubernetes.io/name": "x"}
    )


def _nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_nulls(one) for one in value.values())
    if isinstance(value, list):
        return any(_nulls(one) for one in value)
    return value is None
