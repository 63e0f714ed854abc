"""The program: how it starts and ends, and what it says of a configuration that cannot be used."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from bad_input.servers import kubeconfig as write_kubeconfig
from cluster.rest import Rest
from reaping.running import Grounds, Operator, free_port, running, terminated, wait_until
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with ApiServer() as api:
        yield api


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TASKLOCK", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "tasklock_operator", *arguments],
        env=clean | settings,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_documents_every_variable() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("NAMESPACES", "PODS", "POD_SELECTOR", "EVENTS", "LISTEN", "PROXY_LISTEN", "LOG_LEVEL", "LOCK_METRICS"):
        assert f"TASKLOCK_OPERATOR_{name} " in done.stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"TASKLOCK_OPERATOR_LISTEN": "nowhere"}, ("TASKLOCK_OPERATOR_LISTEN is 'nowhere'", "for example")),
        ({"KUBECONFIG": "/no/such/file"}, ("no Kubernetes configuration", "/no/such/file")),
    ],
    ids=["a bad variable", "no kubeconfig"],
)
def test_a_configuration_that_cannot_be_used_is_one_sentence_and_exit_2(
    settings: dict[str, str], words: tuple[str, ...]
) -> None:
    done = run(**{"KUBECONFIG": "/no/such/file", "TASKLOCK_OPERATOR_LISTEN": "127.0.0.1:0"} | settings)
    assert done.returncode == 2
    assert done.stderr.startswith("tasklock-operator: ")
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)


def test_a_port_that_is_taken_is_told(api: ApiServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(KUBECONFIG=str(api.kubeconfig), TASKLOCK_OPERATOR_LISTEN=listen)
    assert done.returncode == 2
    assert listen in done.stderr
    assert "Traceback" not in done.stderr


def test_it_runs_on_the_embedded_server_and_ends_in_order(api: ApiServer, tmp_path: Path) -> None:
    """Logs as JSON; the page with force-release on the proxy's port alone."""
    grounds = Grounds(Rest(api.url), "default")
    proxy = free_port()
    settings = {"log_format": "json", "proxy_listen": f"127.0.0.1:{proxy}", "pod_selector": "app=worker"}
    api.requests.clear()
    with Operator(api.kubeconfig, tmp_path, **settings) as operator:
        operator.ready()
        grounds.hold("gone", ttl=1)
        pod = grounds.pod("worker")
        grounds.hold("held", ttl=600, of=pod)
        wait_until(lambda: not grounds.held("gone"))
        wait_until(grounds.events)
        assert [lock["name"] for lock in operator.locks()] == ["held"]
        with socket.create_connection(("127.0.0.1", operator.port)):  # somebody who never asks
            assert operator.end(within=15) == 0
    asked = [unquote(one.path) for one in api.requests]
    for path, selector in (("1/leases?", "app.kubernetes.io/managed-by=tasklock"), ("1/pods?", "app=worker")):
        found = [one for one in asked if path in one]
        assert len(found) >= 2
        assert all(selector in one for one in found), "it selects on the server, in lists and in watches"
    lines = [json.loads(line) for line in operator.said().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert any(f"127.0.0.1:{proxy}" in line["message"] for line in lines)
    assert not [line for line in lines if line["level"] not in {"info", "debug"}]
    grounds.release("held")


def test_a_token_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    with ApiServer(token="one") as api:
        kubeconfig = write_kubeconfig(tmp_path, api.url, user={"tokenFile": str(file)})
        with Operator(kubeconfig, tmp_path) as operator:
            operator.ready()
            file.write_text("two")
            api.token = "two"
            grounds = Grounds(Rest(api.url, token="two"), "default")
            grounds.hold("after", ttl=1)
            wait_until(lambda: not grounds.held("after"))
            wait_until(grounds.events)
            assert not operator.complaints()


CANARY = "c4n4ry0f4t0k3n"


def test_the_token_that_it_reaps_by_is_in_no_event_log_line_metric_page_or_title(tmp_path: Path) -> None:
    """Nor in what it says, at its most talkative, once that token is refused."""
    paths = ("/", "/locks", "/metrics", "/healthz", "/readyz", "/?limit=none")
    with ApiServer(token=CANARY) as api:
        grounds = Grounds(Rest(api.url, token=CANARY), "default")
        kubeconfig = write_kubeconfig(tmp_path, api.url, user={"token": CANARY})
        with Operator(kubeconfig, tmp_path, log_level="debug", lock_metrics="true") as operator:
            operator.ready()
            titles = Path(f"/proc/{operator.process.pid}")
            grounds.hold("held", ttl=600)
            grounds.hold("expired", ttl=1)
            grounds.hold("dead", ttl=600, of=grounds.pod("worker"))
            grounds.report("worker", {"name": "worker", "state": running(5), "lastState": terminated(-60, 5)})
            wait_until(lambda: len(grounds.events("Lease")) == 2)
            wait_until(lambda: grounds.events("Pod"))
            said = {path: operator.get(path)[1] for path in paths}
            said |= {f"Event {event['metadata']['name']}": json.dumps(event) for event in grounds.events()}
            said |= {name: titles.joinpath(name).read_text() for name in ("cmdline", "environ", "comm")}
            api.token = "another"
            api.drop_watches()
            wait_until(lambda: "the credentials are not accepted" in operator.said())
            assert operator.end() == 0
            said["log"] = operator.said()
    assert said["log"].count(" freed default/reaping.") == 2
    assert " debug " in said["log"]
    assert all(said.values())
    assert not [where for where, text in said.items() if CANARY in text]


def test_an_api_server_that_is_away_from_the_start_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    kubeconfig = write_kubeconfig(tmp_path, f"http://127.0.0.1:{port}")
    with Operator(kubeconfig, tmp_path) as operator, Operator(kubeconfig, tmp_path) as impatient:
        for one in (operator, impatient):
            wait_until(lambda one=one: "cannot ask the API server" in one.said(), within=20)
            assert one.get("/healthz")[0] == 200
            assert one.get("/readyz")[0] == 503
        assert impatient.end(within=15) == 0, "it can be ended in order all the same"
        with ApiServer(port=port) as api:
            operator.ready()
            grounds = Grounds(Rest(api.url), "default")
            grounds.hold("gone", ttl=1)
            wait_until(lambda: not grounds.held("gone"))
            assert len(operator.complaints()) == 1
    assert impatient.said().splitlines()[-1].endswith("stopped")


def test_it_runs_under_kopf_run_too(api: ApiServer, tmp_path: Path) -> None:
    grounds = Grounds(Rest(api.url), "default", app="kopf-run")
    command = (sys.executable, "-m", "kopf", "run", "-n", "default", "-m", "tasklock_operator.handlers")
    with Operator(api.kubeconfig, tmp_path, command=command, namespaces="default") as operator:
        operator.ready()
        grounds.hold("gone", ttl=1)
        wait_until(lambda: not grounds.held("gone"))
        assert operator.end(within=15) == 0
    assert "Traceback" not in operator.said()


def test_kopf_run_for_other_namespaces_than_configured_is_refused(api: ApiServer, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "kopf", "run", "-A", "-m", "tasklock_operator.handlers")
    with Operator(api.kubeconfig, tmp_path, command=command, namespaces="default") as operator:
        assert operator.process.wait(30) == 1
    assert "TASKLOCK_OPERATOR_NAMESPACES says default: use -n" in operator.said()
