"""What an operator hears of: Pods, and Leases whose names lead from their locks' names; right, or almost."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from fuzz.strategies import JSON, LEASES, TEXT, TIMES, almost
from tasklock.errors import InvalidLockError
from tasklock.naming import lease_name

LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
VERSIONS = st.sampled_from([*["7"] * 8, "8", "10", "", "v7", "9" * 5000])
REASONS = st.sampled_from([*["Error"] * 8, "ContainerStatusUnknown"])
EARLY, LATE = (
    st.one_of(*[st.integers(first, last).map(lambda second: f"2026-01-01T10:00:{second:02}Z")] * 8, TIMES)
    for first, last in ((0, 4), (0, 9))
)
RECORD = st.fixed_dictionaries({"startedAt": EARLY, "finishedAt": LATE, "reason": REASONS})
ENDED = st.fixed_dictionaries({"terminated": RECORD})
RUNS = st.fixed_dictionaries({"running": st.fixed_dictionaries({"startedAt": LATE})})
STATUS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["worker", "worker", "worker", "proxy"]),
        "state": st.one_of(ENDED, ENDED, RUNS, st.just({"waiting": {}})),
        "lastState": st.just({}) | ENDED,
    }
)
PODS = almost(
    st.fixed_dictionaries(
        {
            "metadata": st.fixed_dictionaries(
                {
                    "uid": st.just("pod-1"),
                    "namespace": st.sampled_from([*["team"] * 8, "other"]),
                    "resourceVersion": VERSIONS,
                }
            ),
            "status": st.fixed_dictionaries(
                {
                    "phase": st.sampled_from(["Running", "Failed", "Succeeded"]),
                    "containerStatuses": st.lists(STATUS, min_size=1, max_size=2),
                },
                optional=dict.fromkeys(LISTS[1:], st.lists(STATUS, max_size=2)),
            ),
        }
    )
)

LABEL = "app.kubernetes.io/managed-by"
SUFFIXES = st.sampled_from(
    [
        *[""] * 8,
        ".q.0123abcd",
        ".q.0123ABCD",
        ".q.0123abc",
        ".s.0",
        ".s.12",
        ".s.012",
        ".s.12345678901",
        ".s.\u0663",
        "x",
    ]
)
NOTES = ("token", "pod", "pod-uid", "container", "process", "note")


@st.composite
def written(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXT) -> dict[str, Any]:
    """Draw a Lease whose name follows from its app and its lock's name, or leads on from there."""
    app, name = (
        draw(st.sampled_from(["app", "app", "app-1", "App"])),
        draw(st.sampled_from(["report", "a.s.1"]) | texts),
    )
    try:
        lease = lease_name(app, name)
    except InvalidLockError:
        lease = f"{app}.{name}"
    notes = draw(st.fixed_dictionaries({}, optional={f"tasklock.dev/{key}": texts for key in NOTES}))
    return {
        "metadata": {
            "name": lease + draw(SUFFIXES),
            "namespace": draw(st.sampled_from([*["team"] * 16, "Team", "-", "a b", "\ud800"])),
            "uid": draw(st.sampled_from([*["uid-1"] * 16, "uid-2", "a b", "\ud800", "u" * 101])),
            "resourceVersion": draw(st.sampled_from(["5", "6", "10"])),
            "labels": {LABEL: "tasklock", "tasklock.dev/app": app},
            "annotations": {"tasklock.dev/name": name, **notes},
        },
        "spec": {
            "holderIdentity": draw(texts),
            "leaseDurationSeconds": draw(st.sampled_from([1, 30, 0, 2**31])),
            "acquireTime": draw(TIMES),
            "renewTime": draw(TIMES),
        },
    }


OURS = almost(written())
ANY = st.one_of(OURS, OURS, LEASES, st.dictionaries(TEXT, JSON, max_size=3))


def inside(value: Any, key: str) -> dict[str, Any]:
    """Return an object in an object; an empty one where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def many(times: int) -> settings:
    """Have so many times as many examples, of what takes next to no time."""
    fuzz = settings.get_profile("fuzz")
    return settings(fuzz, max_examples=times * fuzz.max_examples)
