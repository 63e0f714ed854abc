"""The server over plain HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from cluster.rest import MERGE_PATCH, Rest
from contract.place import wait_until
from tasklock.testing import ApiServer, Fault
from tasklock.testing.kinds import LEASES

if TYPE_CHECKING:
    from tasklock.testing.store import Store

LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def body(name: str = "a", **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


def connect(api: ApiServer) -> http.client.HTTPConnection:
    parts = urlsplit(api.url)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)


def put_lease(store: Store, name: str = "a") -> None:
    store.create(LEASES, "default", body(name))


def test_it_is_for_tests_and_demos_only() -> None:
    assert "for tests and demos only" in str(ApiServer.__doc__)


def test_a_lease_can_be_created_read_patched_listed_and_deleted(api: ApiServer) -> None:
    rest = Rest(api.url)
    assert rest.request("POST", LEASE_PATH, body(holderIdentity="x")).status == 201
    assert rest.request("PATCH", f"{LEASE_PATH}/a", {"spec": {"leaseTransitions": 1}}, MERGE_PATCH).status == 200
    found = rest.request("GET", LEASE_PATH).body
    assert (found["kind"], [item["spec"] for item in found["items"]]) == (
        "LeaseList",
        [{"holderIdentity": "x", "leaseTransitions": 1}],
    )
    gone = rest.request("DELETE", f"{LEASE_PATH}/a").body
    assert (gone["status"], gone["details"]["uid"]) == ("Success", found["items"][0]["metadata"]["uid"])
    assert rest.request("GET", f"{LEASE_PATH}/a").status == 404


def test_requests_are_recorded_in_order(api: ApiServer) -> None:
    rest = Rest(api.url)
    rest.request("POST", f"{LEASE_PATH}?dryRun=All", body())
    rest.request("GET", f"{LEASE_PATH}/a")
    assert [(seen.method, seen.path) for seen in api.requests] == [
        ("POST", f"{LEASE_PATH}?dryRun=All"),
        ("GET", f"{LEASE_PATH}/a"),
    ]


def test_a_watch_delivers_each_event_as_it_happens(api: ApiServer) -> None:
    rest = Rest(api.url)
    version = rest.request("GET", LEASE_PATH).body["metadata"]["resourceVersion"]
    with rest.watch(f"{LEASE_PATH}?resourceVersion={version}&fieldSelector=metadata.name%3Da") as events:
        api.call(put_lease)
        assert next(events)["type"] == "ADDED"
        api.call(lambda store: put_lease(store, "b"))
        api.call(lambda store: store.delete(LEASES, "default", "a"))
        assert next(events)["type"] == "DELETED"


def test_a_watch_ends_after_its_timeout_with_a_bookmark_if_asked(api: ApiServer) -> None:
    began = time.monotonic()
    with Rest(api.url).watch(f"{LEASE_PATH}?timeoutSeconds=1&allowWatchBookmarks=true") as events:
        [last] = list(events)
    assert last["type"] == "BOOKMARK"
    assert last["object"]["metadata"]["resourceVersion"] == str(api.call(lambda store: store.revision))
    assert 0.9 < time.monotonic() - began < 5


def test_a_watch_can_begin_with_all_objects_and_a_bookmark(api: ApiServer) -> None:
    api.call(put_lease)
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with Rest(api.url).watch(f"{LEASE_PATH}?{query}") as events:
        assert next(events)["type"] == "ADDED"
        assert next(events)["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_watch_from_a_forgotten_version_gets_an_error_event_410(api: ApiServer) -> None:
    api.call(put_lease)
    api.call(lambda store: store.compact())
    with Rest(api.url).watch(f"{LEASE_PATH}?resourceVersion=1") as events:
        [error] = list(events)
    assert error["type"] == "ERROR"
    assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")


def test_a_list_comes_in_pages_of_one_version(api: ApiServer) -> None:
    rest = Rest(api.url)
    for name in "abc":
        api.call(lambda store, name=name: put_lease(store, name))
    first = rest.request("GET", f"{LEASE_PATH}?limit=2").body
    api.call(lambda store: put_lease(store, "d"))
    second = rest.request("GET", f"{LEASE_PATH}?limit=2&continue={first['metadata']['continue']}").body
    names = [item["metadata"]["name"] for page in (first, second) for item in page["items"]]
    assert (names, first["metadata"]["remainingItemCount"]) == (["a", "b", "c"], 1)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("method", "path", "content", "media_type", "status"),
    [
        ("POST", LEASE_PATH, b"{", "application/json", 400),
        ("POST", LEASE_PATH, b"{}", "text/plain", 415),
        ("POST", LEASE_PATH, b"k8s\x00", "application/vnd.kubernetes.protobuf", 415),
        ("POST", "/api/v1/namespaces", b"k8s\x00", "application/vnd.kubernetes.protobuf", 400),
        ("POST", "/api/v1/namespaces", b"k8s\x00\x0a\x7f", "application/vnd.kubernetes.protobuf", 400),
        ("PATCH", f"{LEASE_PATH}/a", b"{}", "application/json", 415),
        ("PATCH", f"{LEASE_PATH}/a", b"{}", "application/apply-patch+yaml", 415),
        ("POST", LEASE_PATH, b" " * (3 * 1024 * 1024 + 1), "application/json", 413),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/default/things", None, None, 404),
        ("GET", "/apis/none/v1", None, None, 404),
        ("POST", f"{LEASE_PATH}/a", b"{}", "application/json", 405),
        ("PUT", LEASE_PATH, b"{}", "application/json", 405),
        ("GET", f"{LEASE_PATH}?labelSelector=a%20b", None, None, 400),
        ("GET", f"{LEASE_PATH}?resourceVersion=99999", None, None, 504),
    ],
)
def test_what_cannot_be_served_is_a_status(  # noqa: PLR0913, PLR0917 - a table
    api: ApiServer, method: str, path: str, content: bytes | None, media_type: str | None, status: int
) -> None:
    reply = Rest(api.url).request(method, path, content, media_type)
    assert (reply.status, reply.body["kind"], reply.body["code"]) == (status, "Status", status)


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz?verbose"])
def test_it_is_healthy(api: ApiServer, path: str) -> None:
    with urllib.request.urlopen(api.url + path) as response:
        assert response.read() == b"ok"


@pytest.mark.parametrize("path", ["/version", "/api", "/api/v1", "/apis", "/apis/events.k8s.io", "/openapi/v3"])
def test_it_says_what_it_serves(api: ApiServer, path: str) -> None:
    assert Rest(api.url).request("GET", path).status == 200


def test_without_the_token_all_is_unauthorized() -> None:
    with ApiServer(token="secret") as api:
        refused = Rest(api.url, token="wrong").request("GET", LEASE_PATH)
        assert (refused.status, refused.body["reason"]) == (401, "Unauthorized")
        assert Rest(api.url).request("GET", LEASE_PATH).status == 401
        assert Rest.from_kubeconfig(api.kubeconfig).request("GET", LEASE_PATH).status == 200


def test_tls_is_verified_by_the_ca_in_the_kubeconfig() -> None:
    with ApiServer(tls=True) as api:
        assert api.url.startswith("https://")
        assert Rest.from_kubeconfig(api.kubeconfig).request("GET", LEASE_PATH).status == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(api.url, context=ssl.create_default_context())


def test_the_namespace_is_in_the_kubeconfig_and_exists() -> None:
    with ApiServer(namespace="team") as api:
        config = json.loads(Path(api.kubeconfig).read_text())
        assert config["contexts"][0]["context"]["namespace"] == "team"
        assert Rest(api.url).request("POST", LEASE_PATH.replace("default", "team"), body()).status == 201
        folder = Path(api.kubeconfig).parent
    assert not folder.exists()


def test_an_outage_keeps_the_port_and_the_objects(api: ApiServer) -> None:
    api.call(put_lease)
    url = api.url
    with Rest(api.url).watch(LEASE_PATH) as events:
        next(events)
        api.stop()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            next(events)
    with pytest.raises(ConnectionError):
        Rest(url).request("GET", "/readyz")
    api.call(lambda store: put_lease(store, "meanwhile"))
    api.start()
    assert api.url == url
    assert len(Rest(url).request("GET", LEASE_PATH).body["items"]) == 2


def test_a_cut_watch_looks_like_a_lost_connection(api: ApiServer) -> None:
    api.call(put_lease)
    with Rest(api.url).watch(LEASE_PATH) as events:
        next(events)
        api.drop_watches()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            next(events)


def test_a_port_in_use_is_an_error(api: ApiServer) -> None:
    with pytest.raises(OSError, match="in use"):
        ApiServer(port=int(api.url.rpartition(":")[2])).start()


def test_what_a_call_raises_is_raised_to_the_caller(api: ApiServer) -> None:
    with pytest.raises(ZeroDivisionError):
        api.call(lambda _store: 1 // 0)


def test_latency_delays_every_answer() -> None:
    with ApiServer(latency=0.2) as api:
        began = time.monotonic()
        Rest(api.url).request("GET", LEASE_PATH)
        assert time.monotonic() - began >= 0.2


def test_one_connection_serves_many_requests(api: ApiServer) -> None:
    connection = connect(api)
    for _ in range(3):
        connection.request("GET", LEASE_PATH)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
    connection.close()


def test_two_hundred_watchers_hear_of_an_event_within_a_second(api: ApiServer) -> None:
    """Milliseconds on an idle machine; the bound is for a busy one."""

    async def watch_all() -> float:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"{api.url}{LEASE_PATH}?watch=1&resourceVersion={api.call(lambda store: store.revision)}"
            responses = await asyncio.gather(*(session.get(url) for _ in range(200)))
            began = time.perf_counter()
            threading.Thread(target=api.call, args=(put_lease,)).start()
            lines = await asyncio.gather(*(response.content.readline() for response in responses))
            assert {json.loads(line)["type"] for line in lines} == {"ADDED"}
            for response in responses:
                response.close()
            return time.perf_counter() - began

    assert asyncio.run(watch_all()) < 5


def fault_once(fault: Fault) -> Any:
    faults = [fault]
    return lambda method, _path: faults.pop() if method == "POST" and faults else None


@pytest.mark.parametrize(("when", "written"), [("before", False), ("after", True)])
def test_a_dropped_connection_leaves_open_what_happened(when: str, *, written: bool) -> None:
    with ApiServer(fault=fault_once(Fault(drop=when))) as api:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            Rest(api.url).request("POST", LEASE_PATH, body())
        assert (Rest(api.url).request("GET", f"{LEASE_PATH}/a").status == 200) is written


def test_a_given_answer_never_reaches_the_store() -> None:
    fault = Fault(status=429, headers={"Retry-After": "7"}, body='{"kind":"Status"}')
    with ApiServer(fault=fault_once(fault)) as api:
        reply = Rest(api.url).request("POST", LEASE_PATH, body())
        assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "7", {"kind": "Status"})
        assert Rest(api.url).request("GET", f"{LEASE_PATH}/a").status == 404


def test_an_answer_can_be_html() -> None:
    fault = Fault(status=503, headers={"Content-Type": "text/html"}, body="<html>busy</html>")
    with ApiServer(fault=fault_once(fault)) as api:
        reply = Rest(api.url).request("POST", LEASE_PATH, body())
        assert (reply.status, reply.headers["content-type"], reply.body) == (503, "text/html", None)


def test_a_reply_can_be_cut_in_the_middle() -> None:
    with ApiServer(fault=fault_once(Fault(cut=10))) as api:
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            Rest(api.url).request("POST", LEASE_PATH, body())
        assert Rest(api.url).request("GET", f"{LEASE_PATH}/a").status == 200


def test_a_watch_can_be_cut_in_the_middle_of_an_event() -> None:
    with ApiServer(fault=lambda _method, path: Fault(cut=20) if "watch" in path else None) as api:
        api.call(put_lease)
        with (
            Rest(api.url).watch(LEASE_PATH) as events,
            pytest.raises((ConnectionError, ValueError, http.client.HTTPException)),
        ):
            next(events)


@pytest.mark.parametrize("fault", [Fault(delay_before=2), Fault(delay_after=2)])
def test_a_delay_is_before_or_after_the_write(fault: Fault) -> None:
    with ApiServer(fault=fault_once(fault)) as api:
        thread = threading.Thread(target=Rest(api.url).request, args=("POST", LEASE_PATH, body()))
        thread.start()
        wait_until(lambda: api.requests)
        time.sleep(0.1)
        status = Rest(api.url).request("GET", f"{LEASE_PATH}/a").status
        assert thread.is_alive()
        assert (status == 200) is bool(fault.delay_after)
        thread.join()
        assert Rest(api.url).request("GET", f"{LEASE_PATH}/a").status == 200


def test_a_fault_drops_before_or_after_only() -> None:
    with pytest.raises(ValueError, match="before"):
        Fault(drop="during")


def test_the_package_names_what_it_exports() -> None:
    import tasklock.testing as package  # noqa: PLC0415

    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018
