"""The APScheduler recipe: every tick's work is done by exactly one replica, killed or late ones among them."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("apscheduler")

import apscheduler_job
from apscheduler.triggers.interval import IntervalTrigger

from recipes.children import RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract.place import Place
    from recipes.children import Child, Start

SECOND = timedelta(seconds=1)


def done(database: Path) -> list[tuple[datetime, int]]:
    """Return the ticks whose work is stored, and by which process, in the order of storing."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(database, timeout=30)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'reports'").fetchone():
            return []
        rows = db.execute("SELECT tick, made_by FROM reports ORDER BY rowid").fetchall()
    return [(datetime.fromisoformat(tick), by) for tick, by in rows]


def test_each_tick_is_done_exactly_once_by_three_replicas_of_which_one_is_killed(
    place: Place, start: Start, tmp_path: Path
) -> None:
    database = tmp_path / "ticks.db"
    replicas = {one.popen.pid: one for one in (replica(start, database) for _ in range(3))}

    def until(ticks: int) -> None:
        next(iter(replicas.values())).until(lambda: len(done(database)) >= ticks, f"{ticks} ticks were done")

    until(2)
    killed = at_work(replicas)
    replicas.pop(killed).kill()
    until(len(done(database)) + 4)
    assert [one.end() for one in replicas.values()] == [0, 0], [one.said for one in replicas.values()]
    ticks = [tick for tick, _ in done(database)]
    assert ticks == [ticks[0] + number * SECOND for number in range(len(ticks))], "in order, each once, none left out"
    assert done(database)[-1][1] != killed
    assert place.lease("hourly-report", app="shop") is None


def replica(start: Start, database: Path) -> Child:
    return start(sys.executable, RECIPES / "apscheduler_job.py", database)


def at_work(replicas: dict[int, Child]) -> int:
    """Wait for somebody to begin a tick's work; stop it there, and return who it is."""
    before = {pid: one.said.count("works on") for pid, one in replicas.items()}
    found: list[int] = []

    def begins() -> bool:
        found[:] = [pid for pid, one in replicas.items() if one.said.count("works on") > before[pid]]
        return bool(found)

    replicas[next(iter(replicas))].until(begins, "one began to work")
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


class Late:
    """A database in which the work of the last three days is due, and replicas that meet there."""

    def __init__(self, database: Path, monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
        self.database = database
        self._monkeypatch = monkeypatch
        self._place = place
        last = datetime.now(UTC) - timedelta(days=3, hours=12)
        self.due = [last + timedelta(days=days) for days in (1, 2, 3)]
        monkeypatch.setattr(apscheduler_job, "TRIGGER", IntervalTrigger(days=1, timezone="UTC"))
        with closing(sqlite3.connect(database)) as db, db:
            db.executescript(apscheduler_job.SCHEMA)
            db.execute(apscheduler_job.START, (apscheduler_job.JOB, last.isoformat()))

    def replica(self, work: Callable[[datetime], int] = lambda _: 1) -> None:
        """Have a tick of the scheduler in a replica that nobody has heard of yet."""
        client = self._place.client("shop", ttl=600)
        with self._monkeypatch.context() as patch:
            patch.setattr(apscheduler_job, "client", client)
            patch.setattr(apscheduler_job, "make_report", work)
            apscheduler_job.run_due(str(self.database))

    def done(self) -> list[tuple[datetime, int]]:
        return done(self.database)


@pytest.fixture
def late(embedded: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Late:
    return Late(tmp_path / "ticks.db", monkeypatch, embedded)


def test_a_replica_that_comes_after_the_lock_was_released_does_not_do_it_again(late: Late) -> None:
    late.replica(lambda _: 1)
    late.replica(lambda _: 2)
    assert late.done() == [(tick, 1) for tick in late.due]


def test_a_replica_that_comes_while_another_is_at_work_does_nothing(late: Late) -> None:
    def work(_tick: datetime) -> int:
        late.replica(lambda _: pytest.fail("two at once"))
        return 1

    late.replica(work)
    assert late.done() == [(tick, 1) for tick in late.due]


def test_what_one_failed_at_is_due_for_the_next(late: Late) -> None:
    def fail(tick: datetime) -> int:
        return 1 if tick == late.due[0] else 1 // 0

    with pytest.raises(ZeroDivisionError):
        late.replica(fail)
    late.replica(lambda _: 2)
    assert late.done() == list(zip(late.due, (1, 2, 2), strict=True))


def test_one_that_does_not_know_yet_that_it_lost_the_lock_is_refused_by_the_row(
    late: Late, embedded: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one that was paused; its ttl is so long that it has no occasion to learn of it."""

    def work(_tick: datetime) -> int:
        embedded.client("shop").flush_locks()
        late.replica(lambda _: 2)
        return 1

    late.replica(work)
    assert late.done() == [(tick, 2) for tick in late.due]
    assert "was done by somebody else: the lock was lost" in capsys.readouterr().out


def test_without_an_api_server_nothing_runs_and_afterwards_it_catches_up(
    late: Late, embedded: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embedded.server is not None
    embedded.server.stop()
    late.replica(lambda _: pytest.fail("without a lock"))
    assert f"{os.getpid()} will do it later: " in capsys.readouterr().out
    embedded.server.start()
    late.replica(lambda _: 2)
    assert late.done() == [(tick, 2) for tick in late.due]
