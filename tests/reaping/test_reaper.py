"""Which requests the reaper sends, what it makes of the answers, and what it reports of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from reaping.fakes import Api, Counting, lease, ok, status, unanswered
from tasklock.naming import lease_name
from tasklock.protocol.effects import Reply
from tasklock.transport.clock import clock
from tasklock_operator import reaper as module
from tasklock_operator.book import Book, Entry, Reap
from tasklock_operator.reaper import Reaper

Script = Reply | Callable[[], Reply]


class Reaping:
    """A reaper over a scripted API, whose book has seen Leases long ago."""

    def __init__(self, *script: Script, leases: int = 1) -> None:
        self.api, self.book, self.counting = Api(*script), Book(), Counting()
        self.told: list[Reap] = []
        self.ended: list[Entry] = []
        self.blind = False
        self.reaper = Reaper(
            self.book,
            self.api,
            cast("Any", self.counting),
            blind=lambda _namespace: self.blind,
            reaped=lambda reap, _now: self.told.append(reap),
            ended=self.ended.append,
        )
        for number in range(leases):
            self.book.lease_seen(lease(f"job{number}", uid=f"u-{number}"), clock() - 60)

    def run(
        self,
        *,
        until: int | None = None,
        seconds: float = 20.0,
        meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Run until so many requests were answered, and whatever follows from that."""
        wanted = len(self.api._script) if until is None else until

        async def run() -> None:
            task = asyncio.create_task(self.reaper.run())
            try:
                if meanwhile is not None:
                    await meanwhile()
                async with asyncio.timeout(seconds):
                    while len(self.api.asked) < wanted and not task.done():  # noqa: ASYNC110 - the script has no event
                        await asyncio.sleep(0.005)
                await asyncio.sleep(0.02)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if task.done() and not task.cancelled():
                task.result()

        asyncio.run(run())


def test_what_is_due_is_deleted_with_uid_and_version_and_told_once() -> None:
    reaping = Reaping(ok())
    reaping.run()
    assert reaping.api.asked == [("DELETE", f"ns/{lease_name('app', 'job0')}")]
    assert reaping.api.bodies[0]["preconditions"] == {"uid": "u-0", "resourceVersion": "7"}
    assert [reap.entry.uid for reap in reaping.told] == ["u-0"]
    assert [entry.uid for entry in reaping.ended] == ["u-0"]
    assert reaping.counting.reaps == [("app", "ns", "expired")]
    assert not reaping.book.locks()


@pytest.mark.parametrize("answer", [status(404, "NotFound"), status(409, "Conflict")])
def test_what_somebody_else_ended_or_renewed_is_not_told(answer: Reply) -> None:
    reaping = Reaping(answer)
    reaping.run()
    assert not reaping.told
    assert len(reaping.book.locks()) == (answer.status == 409)
    assert len(reaping.ended) == (answer.status == 404)
    assert not reaping.counting.errors


def test_a_delete_whose_answer_was_lost_is_told_once_it_is_known_to_be_done() -> None:
    reaping = Reaping(unanswered(), status(404, "NotFound"))
    reaping.run()
    assert len(reaping.told) == 1
    other = Reaping(unanswered(), status(409, "Conflict", "Precondition failed: UID in precondition: u-0, ..."))
    other.run()
    assert len(other.told) == 1


def test_a_delete_that_never_left_is_not_told_when_the_lease_is_gone() -> None:
    reaping = Reaping(unanswered(maybe_done=False), status(404, "NotFound"))
    reaping.run()
    assert not reaping.told


def test_a_renewal_after_a_lost_answer_is_no_reap() -> None:
    reaping = Reaping(unanswered(), status(409, "Conflict", "Precondition failed: ResourceVersion ..."))
    reaping.run()
    assert not reaping.told


def test_a_refusal_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    forbidden = status(403, "Forbidden", "leases is forbidden")
    reaping = Reaping(forbidden, forbidden, ok())
    reaping.run(seconds=5)
    told = [record.getMessage() for record in caplog.records if "delete the leases" in record.getMessage()]
    assert len(told) == 2
    assert "verb delete on leases" in told[0]
    assert told[1].startswith("able to delete")
    assert reaping.counting.errors == [("delete", 403)] * 2


def test_a_lease_that_lingers_for_its_finalizers_is_not_told_as_freed(caplog: pytest.LogCaptureFixture) -> None:
    reaping = Reaping(ok({"kind": "Lease", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
    reaping.run()
    assert not reaping.told
    assert "has finalizers: remove them" in caplog.text


def test_nothing_expires_while_it_is_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was renewed meanwhile is not even tried once it is in sight again; what was not, soon after."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    reaping = Reaping(ok(), leases=2)
    reaping.blind = True

    async def come_back() -> None:
        await asyncio.sleep(0.2)
        assert not reaping.api.asked
        reaping.book.lease_seen(lease("job1", uid="u-1", version="8"), clock())
        reaping.blind = False

    reaping.run(meanwhile=come_back)
    assert [reap.entry.uid for reap in reaping.told] == ["u-0"]
    assert [entry.uid for entry in reaping.book.locks()] == ["u-1"]


def test_no_more_than_ten_requests_are_under_way() -> None:
    most = now = 0

    class Slow(Api):
        async def send(self, *_: Any, **__: Any) -> Reply:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            self.asked.append(("DELETE", ""))
            return ok()

    reaping = Reaping(leases=60)
    reaping.reaper._api = Slow()
    reaping.api = cast("Any", reaping.reaper._api)
    reaping.run(until=60)
    assert most == module.AT_ONCE == 10
    assert len(reaping.told) == 60


def test_what_a_watch_tells_to_have_ended_while_it_waits_is_not_deleted() -> None:
    """Another operator was faster."""
    reaping = Reaping(leases=1)

    async def run() -> None:
        reaping.reaper._here["u-0"] = False
        (reap,) = reaping.book.due(clock())
        reaping.reaper._queue.put_nowait(reaping.reaper._order(reap))
        entry = reaping.book.lease_gone(lease(uid="u-0"), clock())
        assert entry is not None
        assert reaping.reaper.gone(entry)
        task = asyncio.create_task(reaping.reaper._delete())
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(run())
    assert not reaping.api.asked
    assert not reaping.told
    assert [entry.uid for entry in reaping.ended] == ["u-0"]


def test_a_lease_that_is_forgotten_and_seen_again_while_its_reap_is_under_way_is_not_taken_twice() -> None:
    """Whoever takes our label off a Lease and puts it on again must not stop the reaping of all others."""
    answered = asyncio.Event()

    class Slow(Api):
        async def send(self, *_: Any, **__: Any) -> Reply:
            self.asked.append(("DELETE", ""))
            await answered.wait()
            return status(409, "Conflict")

    reaping = Reaping(leases=1)
    reaping.reaper._api = Slow()
    reaping.api = cast("Any", reaping.reaper._api)

    async def toggle() -> None:
        await asyncio.sleep(0.05)
        reaping.book.lease_gone(lease(uid="u-0", version="8"), clock())
        reaping.book.lease_seen(lease("job0", uid="u-0", version="9"), clock() - 60)
        reaping.reaper._awake.set()
        await asyncio.sleep(0.05)
        answered.set()

    reaping.run(until=2, meanwhile=toggle)
    assert len(reaping.api.asked) == 2, "once for each incarnation of what we know"


def test_an_error_of_our_own_about_one_lease_does_not_end_the_reaping(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Reply:
        raise ZeroDivisionError

    reaping = Reaping(broken, ok(), leases=2)
    reaping.run()
    assert len(reaping.told) == 1
    assert "could not reap ns/app.job" in caplog.text


def test_a_delete_whose_answer_was_lost_is_told_when_the_watch_tells_of_its_end() -> None:
    reaping = Reaping(unanswered())

    async def watch() -> None:
        await asyncio.sleep(0.05)
        entry = reaping.book.lease_gone(lease(uid="u-0", version="8"), clock())
        assert entry is not None
        assert not reaping.reaper.gone(entry)

    reaping.run(meanwhile=watch)
    assert len(reaping.told) == 1
    assert not reaping.reaper._unsure


def test_a_renewed_lease_that_ends_later_is_no_reap_of_ours() -> None:
    reaping = Reaping(unanswered())

    async def watch() -> None:
        await asyncio.sleep(0.05)
        reaping.book.lease_seen(lease("job0", uid="u-0", version="8"), clock())
        entry = reaping.book.lease_gone(lease(uid="u-0", version="9"), clock())
        assert entry is not None
        reaping.reaper.gone(entry)

    reaping.run(meanwhile=watch)
    assert not reaping.told
    assert not reaping.reaper._unsure


def test_confirmed_deaths_come_before_what_expired() -> None:
    book = Book()
    book.lease_seen(lease(), 0.0)
    (reap,) = book.due(100.0)
    dead = Reap(reap.entry, "container-terminated", 1e9)
    assert Reaper._order(dead) < Reaper._order(reap)


def test_a_200_that_is_no_kubernetes_object_is_no_deletion() -> None:
    reaping = Reaping(Reply(status=200, body=None, error="<html>", received=clock()))
    reaping.run()
    assert not reaping.told
    assert not reaping.ended
    assert reaping.counting.errors == [("delete", 200)]
    assert reaping.book.locks()
