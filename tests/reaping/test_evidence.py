"""Death of a holder, from what a kubelet reported: proved, or not proved."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from reaping.objects import lease, pod, running, status, terminated, waiting
from tasklock_operator.entry import Entry, read_entry
from tasklock_operator.evidence import MAX_EARLIER, death_of, evidence_of

Json = dict[str, Any]

CONTAINER, POD = "container-terminated", "pod-finished"


def entry(**how: Any) -> Entry:
    found = read_entry(lease(**how), 0.0)
    assert found is not None
    return found


def verdict(of: Json, **how: Any) -> str | None:
    return death_of(entry(**how), evidence_of(of))


WORKER = status("worker", running(0))
ENDED = status("worker", terminated(0, 9))

# The holder took the lock at 5.5 s after ten, in container "worker" of pod-1, unless a line says otherwise.
CASES: list[tuple[str, Json, dict[str, Any], str | None]] = [
    ("a container that runs", pod(WORKER), {}, None),
    ("a Pod without any status", pod(phase="Pending"), {}, None),
    ("the only container, seen in the moment after it ended", pod(ENDED), {}, CONTAINER),
    ("restarted in place", pod(status("worker", running(9), terminated(0, 9))), {}, CONTAINER),
    ("a crash loop, where only lastState tells", pod(status("worker", waiting(), terminated(0, 9))), {}, CONTAINER),
    (
        "restarted, ended again, and the first end is in lastState",
        pod(status("worker", terminated(9, 10), terminated(0, 9))),
        {},
        CONTAINER,
    ),
    (
        "restarted twice since, so that the holder's own end is not told any more",
        pod(status("worker", waiting(), terminated(7, 8))),
        {},
        None,
    ),
    (
        "restarted, and took the lock again before this report",
        pod(status("worker", running(9), terminated(0, 9))),
        {"acquired": 9.6},
        None,
    ),
    (
        "restarted and took the lock again, and the report shows the instance before as ended",
        pod(ENDED),
        {"acquired": 10.2},
        None,
    ),
    ("ended in the second of the acquire", pod(status("worker", terminated(0, 5.9))), {}, None),
    ("ended in the second after the acquire", pod(status("worker", terminated(0, 6))), {}, CONTAINER),
    ("started in the second of the acquire", pod(status("worker", terminated(5, 9))), {}, CONTAINER),
    ("started in the second after the acquire", pod(status("worker", terminated(6, 9))), {}, None),
    ("no time of its start", pod(status("worker", terminated(None, 9))), {}, None),
    ("no time of its end", pod(status("worker", terminated(0, None))), {}, None),
    (
        "a container that the kubelet lost",
        pod(status("worker", terminated(None, None, "ContainerStatusUnknown"))),
        {},
        None,
    ),
    (
        "a container that the kubelet lost, with times all the same",
        pod(status("worker", terminated(0, 9, "ContainerStatusUnknown"))),
        {},
        None,
    ),
    (
        "lost by the kubelet and restarted",
        pod(status("worker", running(9), terminated(None, None, "ContainerStatusUnknown"))),
        {},
        None,
    ),
    ("killed for its memory", pod(status("worker", running(9), terminated(0, 9, "OOMKilled"))), {}, CONTAINER),
    ("a child of its first process killed for its memory", pod(WORKER), {}, None),
    ("one of several, and it was the holder's", pod(status("proxy", running(0)), ENDED), {}, CONTAINER),
    ("one of several, and it was another", pod(WORKER, status("proxy", terminated(0, 9))), {}, None),
    (
        "an init container that held the lock and ended well",
        pod(WORKER, init=(status("migrate", terminated(0, 9, "Completed")),)),
        {"container": "migrate"},
        CONTAINER,
    ),
    (
        "an init container that ended, and the holder is another",
        pod(WORKER, init=(status("migrate", terminated(0, 9)),)),
        {},
        None,
    ),
    (
        "a native sidecar restarted in place",
        pod(WORKER, init=(status("proxy", running(9), terminated(0, 9)),)),
        {"container": "proxy"},
        CONTAINER,
    ),
    (
        "a native sidecar that outlives the holder's container",
        pod(ENDED, init=(status("proxy", running(0)),)),
        {},
        CONTAINER,
    ),
    (
        "an ephemeral container that ended",
        pod(WORKER, ephemeral=(status("debug", terminated(0, 9)),)),
        {"container": "debug"},
        CONTAINER,
    ),
    (
        "an ephemeral container that ended, and the holder is another",
        pod(WORKER, ephemeral=(status("debug", terminated(0, 9)),)),
        {},
        None,
    ),
    ("a Job's Pod that succeeded", pod(ENDED, phase="Succeeded"), {"container": None}, POD),
    ("a Job's Pod that failed", pod(ENDED, phase="Failed"), {"container": None}, POD),
    (
        "a Job's Pod that is over, by a container that it does not have",
        pod(ENDED, phase="Failed"),
        {"container": "x"},
        POD,
    ),
    ("a Job's Pod that took the lock in its last second", pod(ENDED, phase="Succeeded"), {"acquired": 9.2}, None),
    ("an ended container of a Pod that runs on, and no container is known", pod(ENDED), {"container": None}, None),
    (
        "over, but a native sidecar still runs",
        pod(ENDED, init=(status("proxy", running(0)),), phase="Succeeded"),
        {"container": None},
        None,
    ),
    (
        "over, and a native sidecar has ended some seconds later",
        pod(ENDED, init=(status("proxy", terminated(0, 12)),), phase="Succeeded"),
        {"container": None, "acquired": 9.9},
        POD,
    ),
    (
        "over, but an ephemeral container still runs",
        pod(ENDED, ephemeral=(status("debug", running(3)),), phase="Failed"),
        {"container": None},
        None,
    ),
    (
        "failed, but one container never got a finish time",
        pod(ENDED, status("proxy", terminated(0, None)), phase="Failed"),
        {"container": None},
        None,
    ),
    (
        "failed, but the kubelet lost one container",
        pod(ENDED, status("proxy", terminated(0, 9, "ContainerStatusUnknown")), phase="Failed"),
        {"container": None},
        None,
    ),
    (
        "failed in its init container, the others never started: that is told by name only",
        pod(status("worker", waiting("PodInitializing")), init=(status("setup", terminated(0, 9)),), phase="Failed"),
        {"container": "setup"},
        CONTAINER,
    ),
    ("evicted, and its containers are over", pod(ENDED, phase="Failed"), {"container": None}, POD),
    ("evicted by a kubelet that reports no containers", pod(phase="Failed"), {}, None),
    ("marked as failed while its kubelet is cut off", pod(WORKER, phase="Failed"), {}, None),
    (
        "marked as failed while its kubelet, cut off between end and restart, last said that all had ended",
        pod(ENDED, phase="Failed"),
        {"acquired": 10.4},
        None,
    ),
    ("deleted gracefully, or preempted: it ended before the Pod goes", pod(ENDED, phase="Failed"), {}, CONTAINER),
    ("another Pod of the same name", pod(ENDED, uid="pod-2"), {}, None),
    ("another Pod of the same name that is over", pod(ENDED, uid="pod-2", phase="Failed"), {}, None),
    ("a Lease that names no Pod", pod(ENDED), {"pod_uid": None}, None),
    ("a Lease whose Pod is in another namespace", pod(ENDED, namespace="other", phase="Failed"), {}, None),
    ("a Lease without acquireTime", pod(ENDED, phase="Failed"), {"acquired": None}, None),
    (
        "the clock was set back between two instances: the earlier one's times are of another clock",
        pod(status("worker", running(2), terminated(0, 9))),
        {"acquired": 3},
        None,
    ),
    (
        "the clock was set back, and the second instance has ended too",
        pod(status("worker", terminated(2, 4), terminated(0, 9))),
        {"acquired": 3},
        CONTAINER,
    ),
    (
        "the clock was set back while it ran, so that it ended before it acquired",
        pod(status("worker", terminated(0, 4))),
        {},
        None,
    ),
    ("the clock was set forward", pod(status("worker", running(3600), terminated(0, 3600))), {}, CONTAINER),
]


@pytest.mark.parametrize(("of", "how", "proved"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_report_proves(of: Json, how: dict[str, Any], proved: str | None) -> None:
    assert verdict(of, **how) == proved


def test_the_rule_for_cut_times_is_sound_and_misses_nothing_but_the_same_second() -> None:
    """Every history of two instances on a grid of quarter seconds, the lock taken by either, at every moment."""
    quarters = [0.25 * n for n in range(14)]
    proofs = 0
    for start, end, again in product(quarters, repeat=3):
        if not start < end < again:
            continue
        now = pod(status("worker", running(again), terminated(start, end)))
        for taken in quarters:
            by_first, by_second = start <= taken < end, again <= taken
            if not (by_first or by_second):
                continue
            proved = verdict(now, acquired=taken) is not None
            assert proved == (by_first and int(taken) < int(end)), (start, end, again, taken)
            proofs += proved
    assert proofs > 100


def test_what_ended_stays_ended_whatever_the_next_reports_show() -> None:
    reports = [
        pod(status("worker", waiting(), terminated(0, 9))),
        pod(status("worker", waiting(), terminated(10, 12))),
        pod(status("worker", waiting(), terminated(13, 15))),
    ]
    for order in (reports, reports[::-1]):
        known = None
        for report in order:
            found = evidence_of(report)
            assert found is not None
            known = found.after(known)
        for taken in (5.5, 11.5, 14.5):
            assert death_of(entry(acquired=taken), known) == CONTAINER
        assert death_of(entry(acquired=12.5), known) is None


def test_a_pod_that_is_over_stays_over_whatever_the_next_reports_show() -> None:
    over = evidence_of(pod(ENDED, phase="Failed"))
    late = evidence_of(pod(ENDED))
    assert over is not None
    assert late is not None
    assert death_of(entry(container=None), late.after(over)) == POD
    assert death_of(entry(container=None), over.after(late)) == POD


def test_a_clock_seen_to_be_set_back_takes_back_what_its_times_had_proved() -> None:
    before = evidence_of(pod(status("worker", waiting(), terminated(0, 9)), status("proxy", terminated(0, 9))))
    after = evidence_of(pod(status("worker", running(2), terminated(0, 9)), status("proxy", terminated(0, 9))))
    assert after is not None
    assert death_of(entry(acquired=3), after.after(before)) is None
    assert death_of(entry(acquired=3, container="proxy"), after.after(before)) == CONTAINER


def test_a_crash_loop_does_not_fill_the_memory() -> None:
    known = None
    for n in range(100):
        found = evidence_of(pod(status("worker", waiting(), terminated(10 * n, 10 * n + 5))))
        assert found is not None
        known = found.after(known)
    assert known is not None
    assert len(known.ended) == MAX_EARLIER
    assert death_of(entry(acquired=991), known) == CONTAINER


def test_a_pod_of_which_nothing_has_ended_is_not_kept() -> None:
    assert evidence_of(pod(WORKER, init=(status("proxy", running(0)),))) is None
    assert evidence_of(pod(status("worker", waiting("ContainerCreating")), phase="Pending")) is None


ODD: list[Any] = [None, 7, "text", [], {}, [None], [7], {"terminated": None}, {"terminated": 7}, {"a": {}}]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_json_proves_nothing_and_raises_nothing(odd: Any) -> None:
    assert evidence_of({"metadata": odd, "status": odd}) is None
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for phase in ("Running", "Failed"):
            assert evidence_of({"metadata": odd, "status": {"phase": phase, key: odd}}) is None
            one = {"name": "worker", "state": odd, "lastState": odd}
            assert (
                evidence_of({"metadata": {"uid": "u", "namespace": "n"}, "status": {"phase": phase, key: [one]}})
                is None
            )
            assert evidence_of({"metadata": odd, "status": {"phase": phase, key: [ENDED]}}) is None
            assert evidence_of(pod({**ENDED, "name": odd if not isinstance(odd, str) else None})) is None
