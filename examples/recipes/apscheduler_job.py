"""Several replicas run the same APScheduler; each tick's work is done by exactly one of them.

A lock around the job is not enough. The work takes 50 ms, the lock is free again, and the replica whose clock is 100 ms
late runs the same tick a second time. Nor does it help to let only one replica, the leader, run its scheduler: the
same happens when another becomes leader, and the ticks between a leader's death and that are lost. So remember the
last tick that was done, where the work's results are stored, and look there *under the lock*: a tick of the scheduler
is only the occasion to do whatever is due.

- A replica that is killed at work: its lock expires, the next tick of another one does what it left undone.
- The API server is away: nothing runs, the next tick after that catches up.
- The lock is lost meanwhile, even by a replica that was paused and does not know: the row has moved on, and refuses.

So what is stored in the same transaction as the tick happens exactly once. An e-mail sent on the way is sent at least
once: again, where its sender was killed before the transaction.

Try it: ``uv run python examples/recipes/api_server.py``, paste what it prints into three more terminals, and in each

    uv run python examples/recipes/apscheduler_job.py /tmp/ticks.db

Kill some of them with ``kill -9``. SQLite stands here for the database that your replicas share.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from tasklock import LockClient, TaskLockedException, TaskLockError

JOB = "hourly-report"
TRIGGER = CronTrigger(second="*", timezone="UTC")  # to see something; else CronTrigger.from_crontab("0 * * * *", "UTC")
SCHEMA = """
    CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, last TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS reports (tick TEXT, made_by INTEGER);
"""
START = "INSERT INTO jobs VALUES (?, ?) ON CONFLICT DO NOTHING"
LAST = "SELECT last FROM jobs WHERE name = ?"
DONE = "UPDATE jobs SET last = ? WHERE name = ? AND last = ?"

client = LockClient(app="shop", ttl=10)


def make_report(tick: datetime) -> int:
    """Do the work of one tick, as long as it takes."""
    print(f"{os.getpid()} works on {tick:%H:%M:%S}", flush=True)
    time.sleep(0.2)
    return os.getpid()


def run_due(database: str) -> None:
    """Do what is due and not done yet. Called by the scheduler of every replica, at about the same time."""
    try:
        with client.lock_task(JOB) as hold, closing(sqlite3.connect(database, timeout=30)) as db:
            while True:  # once, as a rule; for a job where only the newest tick counts, skip to that one
                (last,) = db.execute(LAST, (JOB,)).fetchone()
                tick = TRIGGER.get_next_fire_time(datetime.fromisoformat(last), datetime.fromisoformat(last))
                if tick is None or tick > datetime.now(UTC):
                    return
                report = make_report(tick)
                hold.ensure_held()
                with db:  # one transaction: that it is done, if nobody else did it meanwhile, and what came of it
                    if db.execute(DONE, (tick.isoformat(), JOB, last)).rowcount != 1:
                        print(f"{tick:%H:%M:%S} was done by somebody else: the lock was lost", flush=True)
                        return
                    db.execute("INSERT INTO reports VALUES (?, ?)", (tick.isoformat(), report))
    except TaskLockedException:
        pass  # another replica is at work on what is due
    except TaskLockError as error:  # lost on the way, or no API server: the next tick catches up
        print(f"{os.getpid()} will do it later: {error}", flush=True)


if __name__ == "__main__":
    path = sys.argv[1]
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.executescript(SCHEMA)
        connection.execute(START, (JOB, datetime.now(UTC).isoformat()))  # the first time: what was before is not due
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(run_due, TRIGGER, args=[path], coalesce=True, misfire_grace_time=None)
    scheduler.start()
    stop.wait()
    scheduler.shutdown()  # waits for work under way, so that its lock is released
