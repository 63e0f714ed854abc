from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_network_policy_lets_out_to_the_api_server_and_dns_only(chart: Chart) -> None:
    found = chart.one("NetworkPolicy", networkPolicy={"enabled": True})["spec"]
    assert found["podSelector"] == chart.one("Deployment")["spec"]["selector"]
    assert found["policyTypes"] == ["Ingress", "Egress"]
    assert found["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    ports = [[(port["port"], port["protocol"]) for port in rule["ports"]] for rule in found["egress"]]
    assert ports == [[(443, "TCP"), (6443, "TCP")], [(53, "UDP"), (53, "TCP")]]
    assert not any("to" in rule for rule in found["egress"])


def test_the_network_policy_can_be_narrower_and_knows_the_proxy(chart: Chart) -> None:
    peer = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    block = [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    more = {"to": block, "ports": [{"port": 8443, "protocol": "TCP"}]}
    found = chart.one(
        "NetworkPolicy",
        networkPolicy={"enabled": True, "ingressFrom": peer, "apiServer": block, "extraEgress": [more]},
        forceRelease={"enabled": True, "proxy": {"container": {"name": "proxy"}}},
    )["spec"]
    (ingress,) = found["ingress"]
    assert ingress["from"] == peer
    assert [port["port"] for port in ingress["ports"]] == ["http", 4180]
    assert found["egress"][0]["to"] == block
    assert found["egress"][2] == more


def test_values_that_make_no_sense_are_refused(chart: Chart) -> None:
    wrong: Any = {"enabled": 1, "ingressFrom": "all", "apiServer": ["10.0.0.1"], "extraEgress": [1]}
    assert chart.refused_values(networkPolicy=wrong) == {
        "/networkPolicy/enabled",
        "/networkPolicy/ingressFrom",
        "/networkPolicy/apiServer/0",
        "/networkPolicy/extraEgress/0",
    }
