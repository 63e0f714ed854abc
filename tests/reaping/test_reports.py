"""What is told of a reap, to whom, how often, and what becomes of it where that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from reaping.fakes import Api, Counting, lease, status, unanswered
from tasklock.protocol.effects import Reply
from tasklock_operator import reports as module
from tasklock_operator import trouble
from tasklock_operator.book import Book, Reap
from tasklock_operator.reports import Reports, events_of, tell

Script = Reply | Callable[[], Reply]


def reap_of(reason: Any = "expired", **annotations: str) -> Reap:
    book = Book()
    book.lease_seen(lease(uid="9f1c6a52-0000-4000-8000-000000000000", ttl=30, **annotations), 0.0)
    (reap,) = book.due(50.0)
    return Reap(reap.entry, reason, reap.since)


def report(
    *script: Script, reaps: int = 1, enabled: bool = True, busy: Any = lambda: False, seconds: float = 20.0
) -> tuple[Api, Counting]:
    api, counting = Api(*script), Counting()
    wanted = len(script)

    async def run() -> None:
        reports = Reports(api, cast("Any", counting), enabled=enabled, busy=busy)
        for _ in range(reaps):
            reports.reaped(reap_of(pod="worker-0", **{"pod-uid": "p-1"}), 50.0)
        task = asyncio.create_task(reports.run())
        async with asyncio.timeout(seconds):
            while len(api.asked) < wanted and not task.done():  # noqa: ASYNC110 - the script has no event
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return api, counting


def test_an_event_on_the_lease_and_one_on_the_pod() -> None:
    api, _ = report(Reply(status=201, body={}), Reply(status=201, body={}))
    assert {path for _, path in api.asked} == {"/apis/events.k8s.io/v1/namespaces/ns/events"}
    on_lease, on_pod = api.bodies
    assert on_lease["regarding"]["kind"] == "Lease"
    assert (on_pod["regarding"]["name"], on_pod["regarding"]["uid"]) == ("worker-0", "p-1")
    assert on_pod["related"] == on_lease["regarding"]
    assert on_lease["note"] == on_pod["note"]


def test_the_same_reap_is_the_same_event_whoever_tells_it() -> None:
    wall = datetime.now(UTC)
    names = [
        [body["metadata"]["name"] for body in events_of(reap_of(pod="w", **{"pod-uid": "p"}).entry, "", wall, one)]
        for one in ("operator-1", "operator-2")
    ]
    assert names[0] == names[1]
    assert len(set(names[0])) == 2
    assert all(len(name) <= 253 for name in names[0])


@pytest.mark.parametrize("answer", [status(409, "AlreadyExists"), status(404, "NotFound")])
def test_an_event_that_is_there_or_has_no_place_any_more_is_done(answer: Reply) -> None:
    _, counting = report(answer, answer)
    assert not counting.errors


def test_a_namespace_that_ends_takes_no_event_and_that_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    ending = status(403, "Forbidden", details={"causes": [{"reason": "NamespaceTerminating"}]})
    report(ending, ending)
    assert "cannot write Events" not in caplog.text


def test_an_event_that_fails_for_a_moment_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_PAUSE", 0.0)
    created = Reply(status=201, body={})
    api, counting = report(unanswered(), created, created)
    assert len({body["metadata"]["name"] for body in api.bodies}) == 2
    assert counting.errors == [("create", 0)]


def test_events_wait_while_reaps_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.0)
    left = 50

    def busy() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    created = Reply(status=201, body={})
    api, _ = report(created, created, busy=busy)
    assert len(api.asked) == 2
    assert left <= 0


def test_events_that_are_switched_off_are_not_sent() -> None:
    assert not report(enabled=False)[0].asked


def test_too_many_events_drop_the_oldest(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "WAITING", 4)
    created = Reply(status=201, body={})
    api, _ = report(created, created, created, created, reaps=5)
    assert len(api.asked) == 4
    assert caplog.text.count("keep up with Events") == 1


@pytest.mark.parametrize("reason", ["expired", "container-terminated", "pod-finished"])
def test_a_note_is_short_plain_text_whatever_clients_wrote(reason: str) -> None:
    hostile = "\x1b[2J\u202e'\n" + "\U0001f4a3" * 900
    told = tell(reap_of(reason, pod=hostile, container=hostile, note=hostile), 1e9, datetime.now(UTC))
    assert told.isascii()
    assert told.isprintable()
    assert len(told) <= 1024
    assert len(events_of(reap_of(pod=hostile, **{"pod-uid": "p"}).entry, told, datetime.now(UTC), "o")) == 1
