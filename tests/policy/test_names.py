"""What the Lease of a lock may be called: as the library would call it, so that nobody occupies another lock's name.

A Lease whose name is not that of the lock that it names is none to the operator, which would never free it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy.village import APP, create, lock, refused
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from policy.village import Village

SHAPE = "is labelled as a lock, so its name must be"
NAMES = (
    "nightly-report",
    "a",
    "7",
    "rates.eur.daily",
    "n" * 170,
    "N" * 171,
    "n" * 171,
    "Import GLS Versanddaten",
    "日本語",
    "deadbeefdeadbeef",
    "ends-in-a-hash-0123456789abcdef",
    "looks.q.0123abcd",
    "looks.s.1",
    "s.0",
    "q.deadbeef",
    "line\nbreak\n",
    "-",
    "ends-",
    "two..dots",
    "x" * 65_536,
)


def renamed(name: str, uid: str, lease: str, app: str = APP) -> Any:
    body = lock(name, uid)
    body["metadata"]["name"] = lease
    body["metadata"]["labels"]["tasklock.dev/app"] = app
    return body


def test_every_name_that_the_library_gives_is_let_in(village: Village) -> None:
    pod = village.pod()
    for name in NAMES:
        for part in ("", ".q.0123abcd", ".s.0", ".s.41"):
            body = renamed(name, pod.uid, lease_name(APP, name) + part)
            reply = create(pod.leases, body, query="dryRun=All")
            assert reply.status == 201, (name[:100], part, reply.body)


@pytest.mark.parametrize(
    ("name", "lease", "app"),
    [
        pytest.param("something-else", "village.nightly-report", APP, id="another lock's name"),
        pytest.param("nightly", "village.nightly-report", APP, id="a longer one"),
        pytest.param("Something else", "village.nightly-report", APP, id="a plain one for what has a hash"),
        pytest.param("else", "village.else-0123456789abcdef", APP, id="a hash for what has none"),
        pytest.param("else", "village.import-gls-0123456789abcdef", APP, id="another lock's hashed name"),
        pytest.param("else", "village.report.q.0123abcd", APP, id="another queue's ticket"),
        pytest.param("else", "village.report.s.1", APP, id="another semaphore's slot"),
        pytest.param("else", "village.else.q.0123abcde", APP, id="a ticket's name that is too long"),
        pytest.param("else", "village.else.q.0123abcg", APP, id="a ticket that is no number"),
        pytest.param("else", "village.else.s.01", APP, id="a slot that is no number"),
        pytest.param("else", "village.else.q.0123abcd.q.0123abcd", APP, id="a ticket of a ticket"),
        pytest.param("report", "village.nightly.report", "village.nightly", id="an app with a dot"),
        pytest.param("Report", "villages.report-0123456789abcdef", APP, id="another app's hashed name"),
        pytest.param("Report", "village.a.b-0123456789abcdef", APP, id="a slug with a dot"),
    ],
)
def test_nobody_occupies_the_name_of_what_it_does_not_name(village: Village, name: str, lease: str, app: str) -> None:
    pod = village.pod()
    refused(create(pod.leases, renamed(name, pod.uid, lease, app), query="dryRun=All"), SHAPE)
