"""The tasks that the worker under test runs. Each keeps a journal of when it ran, and waits for files, not for time."""
# ruff: noqa: ARG001, ARG002 - the argument is there for the lock's name

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, chord, shared_task
from celery.exceptions import SoftTimeLimitExceeded

from tasklock import TaskLockedException
from tasklock.contrib.celery import current_hold, locked

SOCKET = os.environ["REDIS_SOCKET"]
FOLDER = Path(os.environ["FOLDER"])
TTL = 300  # seconds: nothing here is freed by expiry

app = Celery("shop", broker=f"redis+socket://{SOCKET}", backend=f"redis+socket://{SOCKET}")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
late = {"acks_late": True, "reject_on_worker_lost": True}


def tell(event: str, name: str) -> None:
    hold = current_hold()
    entry = {"event": event, "name": name, "pid": os.getpid(), "token": hold and hold.token, "at": time.monotonic()}
    with (FOLDER / "journal").open("a") as journal:
        journal.write(f"{json.dumps(entry)}\n")


def work(name: str, gate: str = "") -> str:
    """Run until there is a file named ``gate``."""
    tell("start", name)
    try:
        deadline = time.monotonic() + 60
        while gate and not (FOLDER / gate).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        tell("end", name)
    return name


@app.task(**late)
@locked("user {user_id}", ttl=TTL)
def retried(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


@app.task(**late)
@locked("user {user_id}", ttl=TTL, when_locked="skip")
def skipped(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


@app.task(name=f"tasks.ünï\n☃ {{}}%s {'x' * 2000}", **late)
@locked("user {user_id}", ttl=TTL, when_locked="skip")
def oddly_named(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


@shared_task
@locked("user {user_id}", ttl=TTL, timeout=60)
def waiting(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


@app.task(throws=(Exception,))
@locked("user {user_id}", ttl=TTL, when_locked="raise")
def raising(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


again = {"retry_kwargs": {"countdown": 1, "max_retries": 60}, "throws": (TaskLockedException,)}


@app.task(autoretry_for=(TaskLockedException,), **again)
@locked("user {user_id}", ttl=TTL, when_locked="raise")
def counting(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


@app.task(throws=(ValueError,))
@locked("user {user_id}", ttl=TTL)
def failing(user_id: str) -> None:
    raise ValueError(user_id)


@app.task(bind=True, max_retries=5)
@locked("user {user_id}", ttl=TTL, when_locked="skip")
def impatient(self: Any, user_id: str, name: str) -> str:
    """Send itself again while it holds the lock: the message overtakes the release."""
    if self.request.retries < 1:
        tell("start", f"{name} {self.request.retries}")
        again = self.retry(countdown=0, throw=False)
        time.sleep(0.3)
        tell("end", f"{name} {self.request.retries}")
        raise again
    return work(name)


@app.task(bind=True, autoretry_for=(ValueError,), retry_kwargs={"countdown": 0, "max_retries": 3}, retry_backoff=False)
@locked("user {user_id}", ttl=TTL, when_locked="skip")
def stumbling(self: Any, user_id: str, name: str) -> str:
    if self.request.retries < 2:
        raise ValueError(name)
    return work(name)


@app.task(soft_time_limit=1)
@locked("user {user_id}", ttl=TTL)
def hurried(user_id: str, name: str) -> str:
    try:
        return work(name, "never")
    except SoftTimeLimitExceeded:
        return "out of time"


@app.task
@locked("user {user_id}", retry_after=1)
def comes_back_soon(user_id: str, name: str, gate: str = "") -> str:
    return work(name, gate)


@app.task(time_limit=1)
@locked("user {user_id}", ttl=TTL)
def stubborn(user_id: str, name: str) -> str:
    """Outlive the SIGTERM that comes a moment before SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return work(name, "never")


class Import(Task):  # type: ignore[misc]
    name = "tasks.Import"

    @locked("user {user_id}", ttl=TTL, when_locked="skip")
    def run(self, user_id: str, name: str, gate: str = "") -> str:
        return work(name, gate)


app.register_task(Import())


@app.task
def fan_out(user_id: str) -> dict[str, Any]:
    members = [skipped.s(user_id, "chord skipped"), retried.s(user_id, "chord retried")]
    joined = chord(members)(collect.s())
    return {"members": [one.id for one in joined.parent.results], "joined": joined.id}


@app.task
def collect(results: list[Any]) -> list[Any]:
    return results
