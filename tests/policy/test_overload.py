"""The FlowSchema: locks keep working while the API server sheds what ordinary workloads ask for.

The overload costs nothing: an admission webhook that is slow to answer holds the few seats of an API server that
has hardly any, so requests queue until they are turned away.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import pytest
import trustme

from cluster.control_plane import ControlPlane
from contract.place import wait_until
from policy.village import Village, create, install, lock
from tasklock import LockClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.build import Binaries

QUEUED: Final = 2.0  # seconds in a queue after which the API server turns a request away: a quarter of its timeout
SLOW: Final = 4.0  # seconds that the webhook takes
CROWD: Final = 40  # requests at a time, for a dozen seats


@contextmanager
def slow_webhook(village: Village, over: threading.Event) -> Iterator[None]:
    """Have every ConfigMap wait for ``over``, as long as a webhook may take."""

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            over.wait(SLOW)
            self.send_error(503)  # ignored, by the webhook's failurePolicy

        def log_message(self, *_: object) -> None: ...

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # the API server has hung up
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
        hook = {
            "name": "slow.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": bundle},
            "failurePolicy": "Ignore",
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
            ],
            "sideEffects": "None",
            "timeoutSeconds": 10,
        }
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        made = village.control_plane.rest.request("POST", path, {"metadata": {"name": "slow"}, "webhooks": [hook]})
        assert made.status == 201, made
        try:
            yield
        finally:
            over.set()
            server.shutdown()


@pytest.fixture
def small(binaries: Binaries, helm: Path) -> Iterator[Village]:
    """Give an API server of twelve seats; the account ``known`` is a lock client by the chart, ``unknown`` by hand."""
    control_plane = ControlPlane(binaries)
    control_plane.more_api_args = (
        "--max-requests-inflight=8",
        "--max-mutating-requests-inflight=4",
        f"--request-timeout={4 * QUEUED:.0f}s",
    )
    with control_plane:
        village = Village(control_plane)
        control_plane.kubectl("create", "namespace", village.namespace)
        bindings = [{"namespace": village.namespace, "subjects": [{"name": "known"}]}]
        install(helm, control_plane, {"flowSchema": {"enabled": True}, "client": {"bindings": bindings}})
        village.bind("known", "tasklock-client")
        village.bind("unknown", "tasklock-client")
        village.bind("crowd", "cluster-admin")  # without its controller, `edit` is empty
        yield village


@pytest.mark.slow
def test_locks_work_while_other_requests_are_shed(small: Village) -> None:
    over = threading.Event()
    crowd = small.control_plane.service_account_rest(small.namespace, "crowd")
    unknown, known = (small.person(name, "tasklock-client") for name in ("unknown", "known"))
    config = small.control_plane.service_account_kubeconfig(small.namespace, "known")
    schema = small.control_plane.rest.request("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/tasklock")
    ours = schema.body["metadata"]["uid"]
    wait_until(lambda: known.rest.request("GET", known.path).headers["x-kubernetes-pf-flowschema-uid"] == ours)

    def ask() -> list[int]:
        answers: list[int] = []
        path = f"/api/v1/namespaces/{small.namespace}/configmaps"
        while not over.is_set():
            answers.append(crowd.request("POST", path, {"metadata": {"generateName": "slow-"}}).status)
        return answers

    def work() -> float:
        """Return how long the slowest of several acquisitions took; renew the last one for longer than its ttl."""
        slowest = 0.0
        for seconds in (0.0, 0.0, 0.0, 4.0):
            start = time.monotonic()
            with client.lock_task("works") as hold:
                slowest = max(slowest, time.monotonic() - start)
                time.sleep(seconds)
                hold.ensure_held()
        return slowest

    with (
        slow_webhook(small, over),
        ThreadPoolExecutor(CROWD) as pool,
        LockClient("v", kubeconfig=config, ttl=3) as client,
    ):
        assert not client.is_locked("works")  # what is slow at first is not the API server
        asked = [pool.submit(ask) for _ in range(CROWD)]
        try:
            wait_until(lambda: create(unknown, lock("probe", None), query="dryRun=All").status == 429)
            assert work() < QUEUED
        finally:
            over.set()
        statuses = [status for one in asked for status in one.result(30)]
    assert statuses.count(429) > CROWD, statuses
