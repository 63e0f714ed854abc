"""The protocol against a server that answers anything: it ends by its deadline, with a result or an error of ours."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.strategies import BODIES, CODES, EVENTS, LEASE, NAME
from tasklock import TaskLockError
from tasklock.lease import Claim, Lease
from tasklock.protocol.acquire import Acquisition
from tasklock.protocol.effects import Event, IsDead, Next, Now, Reply, Send, Sleep, Time, Watch
from tasklock.protocol.grant import Grant, renewing, watching
from tasklock.protocol.release import find, flush, flush_stale, force, listing, release
from tasklock.protocol.sightings import Sightings, would_refuse

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = 30.0  # seconds that an acquire waits
CLAIM = Claim(lease=LEASE, app="app", name=NAME, holder="me_00000001", ttl=30, annotations={})


class EnoughError(Exception):
    """Raised where a generator has been lied to often enough."""


class Liar:
    """Performs effects in virtual time, and answers what hypothesis draws; ``patience`` is how many at most."""

    def __init__(self, data: st.DataObject, *, patience: int | None = None) -> None:
        self.clock = 1000.0
        self._patience = patience
        self.effects = 0
        self._data = data

    def time(self) -> Time:
        return Time(self.clock, EPOCH + timedelta(seconds=self.clock))

    def run(self, steps: Any) -> Any:
        outcome: Any = None
        try:
            while True:
                outcome = self.perform(steps.send(outcome))
        except StopIteration as end:
            return end.value

    def perform(self, effect: object) -> object:
        self.effects += 1
        if self._patience is not None and self.effects > self._patience:
            raise EnoughError
        assert self.effects < 5000, "it goes on for ever"
        match effect:
            case Now():
                return self.time()
            case Sleep():
                self.clock = max(self.clock, effect.until)
                return self.time()
            case Send() | Watch():
                return self.reply()
            case Next():
                return self.event(effect.until)
            case IsDead():
                return self._data.draw(st.sampled_from([None, False, True]))
        raise AssertionError(effect)

    def reply(self) -> Reply:
        sent, self.clock = self.clock, self.clock + 0.3
        body = self._data.draw(BODIES)
        return Reply(
            status=self._data.draw(CODES | st.just(0)),
            body=body if isinstance(body, dict) else None,
            sent=sent,
            received=self.clock,
            retry_after=self._data.draw(st.none() | st.just(1.0)),
            date=EPOCH,
            error="no answer",
        )

    def event(self, until: float) -> Event:
        told = self._data.draw(EVENTS)
        kind, obj = told.get("type"), told.get("object")
        if kind not in {"ADDED", "MODIFIED", "DELETED"} or not isinstance(obj, dict):
            self.clock = max(self.clock, until)
            return Event("QUIET" if kind == "BOOKMARK" else "ENDED", at=self.clock)
        self.clock += 0.3
        return Event(kind, obj, self.clock)


@given(data=st.data(), timeout=st.sampled_from([0.0, PATIENCE]))
def test_an_acquire_ends_by_its_deadline_whatever_the_server_says(data: st.DataObject, timeout: float) -> None:
    liar = Liar(data)
    attempt = Acquisition(
        CLAIM, timeout=timeout, takeover=True, sightings=Sightings(), abandoned=set(), random=lambda: 0.5
    )
    with suppress(TaskLockError):
        grant = liar.run(attempt.steps())
        assert isinstance(grant, Grant)
        assert grant.token >= 0
    assert liar.clock < 1000 + 2 * PATIENCE + 10


def _others() -> dict[str, Callable[[], Any]]:
    known = {"sightings": Sightings(), "abandoned": set(), "takeover": True}
    return {
        "find": lambda: find("app", NAME),
        "is locked": lambda: would_refuse("app", NAME, **known),  # type: ignore[arg-type] # as keywords
        "clear": lambda: force("app", NAME),
        "flush": lambda: flush("app"),
        "flush stale": lambda: flush_stale("app"),
        "list": lambda: listing("app"),
    }


@pytest.mark.parametrize("what", _others())
@given(data=st.data())
def test_so_do_all_other_uses(what: str, data: st.DataObject) -> None:
    with suppress(TaskLockError):
        Liar(data).run(_others()[what]())


@pytest.mark.parametrize("what", [renewing, watching])
@given(data=st.data())
def test_a_holder_keeps_its_lock_or_learns_that_it_is_lost(what: Callable[[Grant], Any], data: st.DataObject) -> None:
    liar = Liar(data, patience=15 if what is watching else 60)
    grant = held()
    with suppress(EnoughError):
        liar.run(what(grant) if what is watching else renewing(grant, lambda: 0.5))
    grant.check(max(liar.clock, grant.valid_until))  # while it is renewed, or only watched, the clock tells in the end
    assert grant.loss is not None
    lost = grant.loss
    grant.renewal(liar.time())
    assert not grant.renewed(liar.reply())
    assert grant.loss == lost, "lost is lost, whatever is answered later"


@given(data=st.data())
def test_a_release_comes_to_an_end(data: st.DataObject) -> None:
    liar = Liar(data)
    with suppress(TaskLockError):
        liar.run(release(held(), lambda: 0.5))
    assert liar.clock < 1100


def held() -> Grant:
    body = {"metadata": {"name": LEASE, "uid": "u", "resourceVersion": "5"}, "spec": CLAIM.body(EPOCH)["spec"]}
    return Grant(CLAIM, Lease.parse(body), since=1000.0)
