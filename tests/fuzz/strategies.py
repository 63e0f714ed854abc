"""JSON that looks more or less like what an API server says: Leases, lists of them, Status objects, watch events."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "report"
LEASE = "app.report"
HOSTILE = st.sampled_from(
    [
        "\x1b[2J\x1b]0;title\x07",
        "\u202ereversed",
        "a\nb\r\nc",
        "\ud800",
        "\x00",
        "{{7*7}}[red]x[/red]",
        "9" * 5000,
        "\u0663\u00b2",
        "x" * 70_000,
        "..",
        "</script>",
    ]
)
TEXT = st.text(max_size=20) | HOSTILE
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMES = st.sampled_from(
    ["2026-01-01T00:00:00.000000Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01", "\x1b"]
)


def like(known: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each as it should be or anything else."""
    return st.fixed_dictionaries({}, optional={key: value | JSON for key, value in known.items()})


ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, 7, "", "text", [], {}, [None], [{}], {"a": {}}, "\ud800"])
PLACES = st.sampled_from([0, 0, 0, 1, 1, 2])


@st.composite
def almost(draw: st.DrawFn, right: st.SearchStrategy[Any]) -> Any:
    """Draw what is right but for a place or two, where something else is, or nothing."""
    whole = deepcopy(draw(right))
    for _ in range(draw(PLACES)):
        at = whole
        while at:
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            if isinstance(at[key], (dict, list)) and at[key] and draw(st.integers(0, 7)):
                at = at[key]
            elif draw(st.booleans()):
                at[key] = deepcopy(draw(ODD))
                break
            else:
                del at[key]
                break
    return whole


def mostly(value: object) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(value), st.just(value), st.just(value), TEXT)


LEASES = like(
    {
        "metadata": like(
            {
                "name": mostly(LEASE),
                "namespace": mostly("default"),
                "uid": TEXT,
                "resourceVersion": mostly("5"),
                "labels": st.fixed_dictionaries(
                    {"app.kubernetes.io/managed-by": mostly("tasklock"), "tasklock.dev/app": mostly("app")}
                ),
                "annotations": st.fixed_dictionaries(
                    {"tasklock.dev/name": mostly(NAME)},
                    optional={f"tasklock.dev/{key}": TEXT for key in ("token", "pod", "process", "note", "container")},
                ),
                "managedFields": st.lists(like({"time": TIMES}), max_size=2),
            }
        ),
        "spec": like(
            {
                "holderIdentity": mostly("other_99999999") | st.just("me_00000001"),
                "leaseDurationSeconds": st.sampled_from([1, 30, 0, -1, 2**31, True]),
                "acquireTime": TIMES,
                "renewTime": TIMES,
            }
        ),
    }
)
STATUSES = like(
    {
        "kind": st.just("Status"),
        "reason": st.sampled_from(["AlreadyExists", "Forbidden", "Conflict", "NotFound", "Invalid"]),
        "message": TEXT,
        "code": st.integers(),
        "details": like(
            {"causes": st.lists(like({"field": mostly("metadata.uid"), "reason": TEXT}), max_size=2), "uid": TEXT}
        ),
    }
)
LISTS = like(
    {"items": st.lists(LEASES | JSON, max_size=2), "metadata": like({"resourceVersion": TEXT, "continue": TEXT})}
)
BODIES = LEASES | LISTS | STATUSES | JSON
CODES = st.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 408, 409, 410, 418, 422, 429, 500, 503, 504, 999])
EVENTS = like({"type": st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]), "object": LEASES})
NESTED = b"[" * 100_000


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


RAW = st.one_of(
    BODIES.map(encoded), st.binary(max_size=200), st.sampled_from([NESTED, b'{"a":' * 50_000, b"\xef\xbb\xbf{}"])
)
