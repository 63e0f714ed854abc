"""Keep or reap: whose Lease it is, how long it may stay unchanged, and what counts."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from reaping.objects import at, lease, pod, running, status, terminated
from tasklock.lease import LABEL_APP, LABEL_MANAGED_BY, NAME, NOTE, POD_UID, TOKEN
from tasklock_operator.entry import MAX_SHOWN, Entry, is_later, read_entry
from tasklock_operator.evidence import evidence_of
from tasklock_operator.reconcile import Keep, Reap, decide

Json = dict[str, Any]

SEEN = 100.0  # by the operator's clock


def entry(obj: Json | None = None, now: float = SEEN, **how: Any) -> Entry:
    found = read_entry(obj or lease(**how), now)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ttl", "kept"),
    [
        pytest.param(30, 33.0, id="a tenth more than its ttl"),
        pytest.param(1, 2.0, id="at least one second more than its ttl"),
        pytest.param(10, 11.0, id="where both are the same"),
        pytest.param(86_400, 95_040.0, id="a day"),
        pytest.param(None, 33.0, id="no duration counts as 30 s"),
        pytest.param("10", 33.0, id="a malformed duration counts as 30 s"),
        pytest.param(True, 33.0, id="a boolean is no duration"),
        pytest.param(0, 33.0, id="nought is no duration"),
        pytest.param(-5, 33.0, id="a negative duration is none"),
        pytest.param(86_401, 33.0, id="more than a day is no duration of ours"),
        pytest.param(2**31 - 1, 33.0, id="nor is the longest that Kubernetes takes"),
    ],
)
def test_a_lease_may_stay_unchanged_for(ttl: Any, kept: float) -> None:
    one = entry(ttl=ttl)
    assert one.due == pytest.approx(SEEN + kept)
    assert decide(one, None, SEEN) == Keep(one.due)
    assert decide(one, None, one.due - 0.001) == Keep(one.due)
    assert decide(one, None, one.due) == Reap(one, "expired", one.due)
    assert decide(one, None, one.due + 1000) == Reap(one, "expired", one.due)


@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
def test_no_time_that_a_client_wrote_makes_a_lease_expire_or_stay(hours: int) -> None:
    one = entry(acquired=3600 * hours)
    assert one.acquired == at(3600 * hours)
    assert one.due == SEEN + 33


def test_a_proved_death_is_due_at_once_and_says_why() -> None:
    one = entry()
    restarted = evidence_of(pod(status("worker", running(9), terminated(0, 9))))
    over = evidence_of(pod(status("other", terminated(0, 9)), phase="Succeeded"))
    assert decide(one, restarted, SEEN + 1) == Reap(one, "container-terminated", SEEN + 1)
    assert decide(one, over, SEEN + 1) == Reap(one, "pod-finished", SEEN + 1)


def test_a_death_that_is_not_proved_leaves_the_lease_to_expire() -> None:
    one = entry(acquired=9.5)
    restarted = evidence_of(pod(status("worker", running(9), terminated(0, 9))))
    assert decide(one, restarted, SEEN + 1) == Keep(one.due)
    assert decide(one, restarted, SEEN + 33) == Reap(one, "expired", SEEN + 33)


@pytest.mark.parametrize("name", ["job", "user_count_update", "Zoë's", "x" * 10_000, "a.b", "q.deadbeef", "s.1"])
@pytest.mark.parametrize(
    ("suffix", "waits"), [("", False), (".q.00ff12ab", True), (".s.0", False), (".s.7", False), (".s.120", False)]
)
def test_locks_tickets_and_slots_are_ours(name: str, suffix: str, *, waits: bool) -> None:
    obj = lease(name, suffix=suffix)
    one = entry(obj)
    assert (one.lease, one.app, one.name) == (obj["metadata"]["name"], "app", name[:MAX_SHOWN])
    base = obj["metadata"]["name"].removesuffix(suffix)
    assert one.queue == (sha256(base.encode()).hexdigest()[:16] if waits else None)


def change(field: str, value: Any, key: str | None = None) -> Json:
    obj = lease("user_count_update")
    place = obj["metadata"][field] if key else obj["metadata"]
    place[key or field] = value
    return obj


FOREIGN: dict[str, Json] = {
    "without our label": change("labels", "helm", LABEL_MANAGED_BY),
    "without an app": change("labels", None, LABEL_APP),
    "of an app that cannot be": change("labels", "A b", LABEL_APP),
    "of another app": change("labels", "other", LABEL_APP),
    "without the lock's name": change("annotations", None, NAME),
    "with another lock's name": change("annotations", "job", NAME),
    "with an empty name": change("annotations", "", NAME),
    "with a name that no lock can have": change("annotations", "\ud800", NAME),
    "with a name that is no text": change("annotations", ["user_count_update"], NAME),
    "with the name of somebody else's election": change("name", "kube-scheduler"),
    "of an app that is the start of its name": lease("job", suffix="2"),
    "a ticket with too few digits": lease(suffix=".q.00ff12a"),
    "a ticket with too many digits": lease(suffix=".q.00ff12ab0"),
    "a ticket with capitals": lease(suffix=".q.00FF12AB"),
    "a ticket with another line": lease(suffix=".q.00ff12ab\n"),
    "a ticket of a ticket": lease(suffix=".q.00ff12ab.q.00ff12ab"),
    "a slot that is no number": lease(suffix=".s.one"),
    "a slot that is no whole number": lease(suffix=".s.-1"),
    "a slot with leading noughts": lease(suffix=".s.01"),
    "a slot of other digits": lease(suffix=".s.٣"),
    "without a uid": change("uid", None),
    "without a namespace": change("namespace", None),
    "no object": {},
    "without metadata": {"metadata": None, "spec": None},
    "with metadata that is no object": {"metadata": [1], "spec": "x"},
}


@pytest.mark.parametrize("obj", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_lease_that_is_not_provably_ours_is_nobody(obj: Json) -> None:
    assert read_entry(obj, SEEN) is None


@pytest.mark.parametrize("name", ["job", "x" * MAX_SHOWN, "x" * (MAX_SHOWN + 1)])
def test_a_lease_that_was_ours_is_looked_at_again_when_it_names_another_lock(name: str) -> None:
    known = entry(lease(name))
    assert read_entry(lease(name, version=2), SEEN + 1, known) is not None
    for other in (name + "x", name[:-1], "y" + name[1:]):
        changed = lease(name, version=2)
        changed["metadata"]["annotations"][NAME] = other
        assert read_entry(changed, SEEN + 1, known) is None, other[:20]
    renamed = lease(name, version=2, app="other")
    renamed["metadata"]["name"] = known.lease
    assert read_entry(renamed, SEEN + 1, known) is None


def test_hostile_text_is_cut_and_an_impossible_uid_is_none() -> None:
    obj = lease("n" * 60_000)
    obj["metadata"]["annotations"] |= {NOTE: "<" * 60_000, POD_UID: "u" * 60_000}
    obj["spec"]["holderIdentity"] = "h" * 60_000
    one = entry(obj)
    assert {len(text or "") for text in (one.name, one.note, one.holder)} == {MAX_SHOWN}
    assert one.pod_uid is None


def test_the_token_is_the_annotation_or_before_the_first_renewal_the_resource_version() -> None:
    assert entry(version=2082).token == 2082
    obj = lease(version=3000)
    obj["metadata"]["annotations"][TOKEN] = "2082"
    assert entry(obj).token == 2082


@pytest.mark.parametrize(
    ("version", "known", "later"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("a", "b", True), ("a", "a", False), ("", "9", True)],
)
def test_resource_versions_compare_as_numbers(version: str, known: str, *, later: bool) -> None:
    assert is_later(version, known) is later
