"""Celery tasks that run under a lock: a decorator below ``@app.task``, nothing else to set up.

    from tasklock.contrib.celery import locked

    @app.task(acks_late=True, reject_on_worker_lost=True)
    @locked("user_{user_id}")
    def update_user(user_id): ...

The body never runs without its lock, in whatever worker. A task that finds the lock held comes back later, or is
skipped, or fails, as ``when_locked`` says; one that cannot reach the API server comes back later. The lock is freed
when the body ends, however it ends; where its process is killed, by whoever replaces that process or needs the lock
next.

Celery runs a task again in cases that no lock can see (a late acknowledgement, a message delivered twice). Then the
runs follow each other, and never overlap, except where a process was paused: ``current_hold().token`` is for storage
that has to be safe even then.

It is a decorator and no base class of tasks, because Celery makes a task long after its definition: so a wrong key
fails where it was written. Tasks often have a base class already. And a task retried by ``autoretry_for`` has then
freed its lock before its next message is sent.
"""

from __future__ import annotations

from tasklock.contrib.celery.locked import WhenLocked, current_hold, locked

__all__ = ["WhenLocked", "current_hold", "locked"]
