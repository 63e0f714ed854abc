"""Pods as no kubelet reports them, and as one almost does: they prove what the rule says, and they raise nothing."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.heard import LISTS, PODS, VERSIONS, inside, many
from fuzz.strategies import JSON, TEXT
from status.crowd import lock
from tasklock_operator.evidence import PodEvidence, death_of, evidence_of

if TYPE_CHECKING:
    from tasklock_operator.entry import Entry

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def held(acquired: float | None, container: str | None, version: str, pod_uid: str | None) -> Entry:
    """Make the Lease of a lock that was acquired so many seconds after ten."""
    when = None if acquired is None else TEN + timedelta(seconds=acquired)
    return lock(namespace="team", acquired=when, container=container, version=version, pod_uid=pod_uid)


HOLDS = st.builds(
    held,
    st.one_of(*[st.integers(0, 30).map(lambda quarters: quarters / 4)] * 8, st.none()),
    st.sampled_from(["worker", "worker", "worker", "proxy", None]),
    VERSIONS,
    st.sampled_from([*["pod-1"] * 8, "pod-2", "", None]),
)


# ---- the rule, as the docstring of evidence.py states it, read once more


def proofs(entry: Entry, pod: dict[str, Any]) -> set[str | None]:
    """Work out all that a report proves of the holder of a Lease."""
    status = inside(pod, "status")
    told = inside(pod, "metadata").get("resourceVersion")
    if not is_of(entry, pod) or entry.acquired is None or came_later(entry.version, told):
        return set()
    taken = (entry.acquired - TEN).total_seconds()
    found: set[str | None] = set()
    for one in named(pod, entry.container):
        now, last = records(one)
        spans = [
            (seconds(record.get("startedAt")), end(record)) for record in ([now] if set_back(one) else [now, last])
        ]
        if any(None not in span and span[0] <= taken < span[1] for span in spans):
            found.add("container-terminated")
    ends = [end(records(one)[0]) for one in statuses(pod)]
    if status.get("phase") in ("Succeeded", "Failed") and ends and None not in ends and taken < max(ends):
        found.add("pod-finished")
    return found


def is_of(entry: Entry, pod: dict[str, Any]) -> bool:
    metadata = inside(pod, "metadata")
    return bool(entry.pod_uid and (metadata.get("namespace"), metadata.get("uid")) == (entry.namespace, entry.pod_uid))


def statuses(pod: dict[str, Any]) -> list[Any]:
    status = inside(pod, "status")
    return [one for key in LISTS if isinstance(status.get(key), list) for one in status[key]]


def named(pod: dict[str, Any], container: str | None) -> list[Any]:
    """Return what is told of a container; one without a name is nobody's."""
    return [one for one in statuses(pod) if container and isinstance(one, dict) and one.get("name") == container]


def records(status: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is told of the end of the present instance, and of the one before it."""
    return inside(inside(status, "state"), "terminated"), inside(inside(status, "lastState"), "terminated")


def set_back(status: Any) -> bool:
    """Tell whether the present instance started before the one before it ended: by another clock."""
    now, last = records(status)
    starts = [seconds(one.get("startedAt")) for one in (now, inside(inside(status, "state"), "running"))]
    ended = end(last)
    return ended is not None and any(start is not None and start < ended for start in starts)


def end(record: dict[str, Any]) -> Any:
    return None if record.get("reason") == "ContainerStatusUnknown" else seconds(record.get("finishedAt"))


def seconds(text: Any) -> Any:
    """Read a time as seconds after ten; None where it is none, or none of our era."""
    if isinstance(text, str) and not text.startswith(("0001", "9999")):
        with suppress(ValueError):
            return (datetime.strptime(text.replace(".000000", ""), "%Y-%m-%dT%H:%M:%S%z") - TEN).total_seconds()
    return None


def came_later(version: str, told: Any) -> bool:
    known = told if isinstance(told, str) else ""
    if version.isdecimal() and known.isdecimal():
        return version.rjust(6000, "0") > known.rjust(6000, "0")
    return version != known


# ----


def report(phase: Any = "Running", namespace: str = "team", **status: Any) -> dict[str, Any]:
    metadata = {"uid": "pod-1", "namespace": namespace, "resourceVersion": "7"}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"name": "worker", **status}]}}


def over(**record: Any) -> dict[str, Any]:
    return {"terminated": {name: f"2026-01-01T10:00:0{second}Z" for name, second in record.items()}}


FIRST = report(state=over(startedAt=0, finishedAt=9))
NO_END = report(state=over(startedAt=2), lastState=over(startedAt=0, finishedAt=9))
NO_START = report(state=over(startedAt=2, finishedAt=4), lastState=over(finishedAt=9))
TAKEN = held(5.0, "worker", "7", "pod-1")


@many(20)
@given(pod=PODS, entry=HOLDS)
@example(pod=report(phase=[]), entry=TAKEN)
@example(pod=report(namespace="other", state=over(startedAt=0, finishedAt=9)), entry=TAKEN)
@example(pod=NO_END, entry=TAKEN)
def test_a_report_proves_what_the_rule_says_and_nothing_else(pod: dict[str, Any], entry: Entry) -> None:
    assert death_of(entry, evidence_of(pod)) in (proofs(entry, pod) or {None})


@many(5)
@given(pods=st.lists(PODS, min_size=2, max_size=4), entry=HOLDS)
@example(pods=[FIRST, NO_END], entry=TAKEN)
@example(pods=[FIRST, NO_START], entry=TAKEN)
def test_reports_together_prove_no_more_than_each_did_but_what_a_clock_set_back_takes_away(
    pods: list[dict[str, Any]], entry: Entry
) -> None:
    known: dict[tuple[str, str | None], PodEvidence] = {}
    for pod in pods:
        if found := evidence_of(pod):
            of = found.namespace, found.uid
            known[of] = found.after(known.get(of))
    allowed = {None}.union(*(proofs(entry, pod) for pod in pods))
    if is_of(entry, pods[-1]) and any(map(set_back, named(pods[-1], entry.container))):
        allowed -= {"container-terminated"} - proofs(entry, pods[-1])
    assert death_of(entry, known.get((entry.namespace, entry.pod_uid))) in allowed


@given(pod=st.dictionaries(st.sampled_from(["metadata", "status"]) | TEXT, JSON | PODS), entry=HOLDS)
def test_any_other_json_proves_nothing(pod: dict[str, Any], entry: Entry) -> None:
    assert death_of(entry, evidence_of(pod)) is None
