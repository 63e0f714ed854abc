"""Requests of any kind to the embedded API server: it answers each as an API server does, and lives on."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.strategies import LEASES, NESTED, RAW, TEXT, encoded
from tasklock import LockClient
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a failing request
LEASES_PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
PATHS = st.sampled_from(
    [LEASES_PATH, f"{LEASES_PATH}/x", "/apis", "/api/v1/namespaces", "/version", "/", "*"]
) | TEXT.map(lambda text: f"{LEASES_PATH}/{quote(text[:300], errors='replace')}")
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "limit",
            "continue",
            "resourceVersion",
            "labelSelector",
            "fieldSelector",
            "dryRun",
            "fieldManager",
            "force",
            "resourceVersionMatch",
            "timeoutSeconds",
            "propagationPolicy",
        ]
    ),
    TEXT.map(lambda text: text[:300]) | st.sampled_from(["1", "-1", "All", "a in (b", "metadata.name=x", "0", "x=y,"]),
    max_size=3,
)
KINDS = st.sampled_from(
    [
        "application/json",
        "application/merge-patch+json",
        "application/json-patch+json",
        "text/plain",
        "",
        "a/b; charset=x",
        "application/apply-patch+yaml",
        "application/vnd.kubernetes.protobuf",
        "application/strategic-merge-patch+json",
    ]
)
PATCHES = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
        optional={
            "path": TEXT | st.sampled_from(["/spec", "/metadata/labels/a", "/-", ""]),
            "from": TEXT,
            "value": TEXT,
        },
    ),
    max_size=3,
).map(encoded)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with ApiServer() as api:
        yield api


@settings(max_examples=80)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]),
    path=PATHS,
    query=QUERIES,
    kind=KINDS,
    body=RAW | LEASES.map(encoded) | PATCHES | st.just(NESTED),
)
def test_a_request_of_any_kind_is_answered_as_the_askers_error(  # noqa: PLR0913, PLR0917 - parts of a request
    api: ApiServer, method: str, path: str, query: dict[str, str], kind: str, body: bytes
) -> None:
    text = "&".join(f"{key}={quote(value, errors='replace')}" for key, value in query.items())
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=20)
    connection.request(method, f"{path}?{text}", body=body, headers={"Content-Type": kind} if kind else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    too_new = response.status == 504 and "resourceVersion" in query  # as a real one answers a version of the future
    assert 200 <= response.status < 500 or too_new, (response.status, method, path, query, kind, body[:200])


def test_it_lives_on(api: ApiServer) -> None:
    with LockClient(kubeconfig=api.kubeconfig) as client, client.lock_task("still-there") as hold:
        hold.ensure_held()
