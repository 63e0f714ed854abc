"""In a real worker with two processes: tasks under one lock never overlap, and it is free however a task ends."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from celery_locks.worker import PATIENCE
from contract.place import wait_until
from tasklock import LockLostError, TaskLockedException

if TYPE_CHECKING:
    from celery_locks.worker import Worker

embedded_only = pytest.mark.parametrize("place", ["embedded"], indirect=True, scope="module")  # saves time


def test_tasks_under_one_key_never_overlap(worker: Worker) -> None:
    results = [worker.send("waiting", "all", f"all {number}") for number in range(8)]
    assert [result.get() for result in results] == [f"all {number}" for number in range(8)]
    assert len(worker.journal("all ")) == 16
    assert worker.never_overlapped("all ")


@embedded_only
def test_tasks_under_different_keys_run_side_by_side(worker: Worker) -> None:
    """Whatever characters the keys have."""
    results = [worker.send("retried", key, f"side {key}", "side") for key in ("ünï/çødé\n☃ {}", "{user_id.__class__}")]
    for key in ("ünï/çødé\n☃ {}", "{user_id.__class__}"):
        worker.started(f"side {key}")
    worker.open("side")
    assert [result.get().startswith("side ") for result in results] == [True, True]


def test_a_task_that_finds_the_lock_held_comes_back_when_it_is_free(worker: Worker) -> None:
    first = worker.send("retried", "back", "back 1", "back")
    worker.started("back 1")
    second = worker.send("retried", "back", "back 2")
    why = second.came_to("RETRY")
    assert isinstance(why, TaskLockedException)
    assert "lock 'user back' is held by" in str(why)
    assert not worker.has_run("back 2")
    worker.open("back")
    assert [first.get(), second.get()] == ["back 1", "back 2"]
    assert worker.never_overlapped("back ")


@embedded_only
def test_a_task_of_an_odd_name_is_told_from_another_run_of_it(worker: Worker) -> None:
    odd = f"ünï\n☃ {{}}%s {'x' * 2000}"
    first = worker.send(odd, "odd", "odd 1", "odd")
    worker.started("odd 1")
    second = worker.send(odd, "odd", "odd 2")
    assert second.came_to("SUCCESS", "RETRY") is None, "skipped"
    worker.open("odd")
    assert first.get() == "odd 1"


@embedded_only
def test_coming_back_uses_up_no_retries(worker: Worker) -> None:
    first = worker.send("retried", "often", "often 1", "often")
    worker.started("often 1")
    second = worker.send("retried", "often", "often 2", retries=3)  # max_retries is 3
    second.came_to("RETRY")
    worker.open("often")
    assert [first.get(), second.get()] == ["often 1", "often 2"]


@pytest.mark.parametrize("task", ["skipped", "Import"])
def test_a_task_can_be_skipped_while_another_does_its_work(worker: Worker, task: str) -> None:
    first = worker.send("retried", task, f"{task} 1", task)
    worker.started(f"{task} 1")
    assert worker.send(task, task, f"{task} 2").get() is None
    assert not worker.has_run(f"{task} 2")
    worker.open(task)
    assert first.get() == f"{task} 1"
    assert worker.send(task, task, f"{task} 3").get() == f"{task} 3"


@embedded_only
def test_a_task_can_fail_while_the_lock_is_held(worker: Worker) -> None:
    first = worker.send("retried", "fail", "fail 1", "fail")
    worker.started("fail 1")
    with pytest.raises(TaskLockedException, match="lock 'user fail' is held by"):
        worker.send("raising", "fail", "fail 2").get()
    worker.open("fail")
    assert first.get() == "fail 1"


@embedded_only
def test_a_task_can_count_how_often_it_comes_back(worker: Worker) -> None:
    first = worker.send("retried", "count", "count 1", "count")
    worker.started("count 1")
    second, last = (worker.send("counting", "count", "count 2", retries=retries) for retries in (0, 60))
    second.came_to("RETRY")
    with pytest.raises(TaskLockedException):
        last.get()
    worker.open("count")
    assert [first.get(), second.get()] == ["count 1", "count 2"]


@embedded_only
def test_a_task_that_expires_does_not_come_back_for_ever(worker: Worker) -> None:
    first = worker.send("retried", "expire", "expire 1", "expire")
    worker.started("expire 1")
    second = worker.send("retried", "expire", "expire 2", expires=2)
    second.came_to("REVOKED")
    worker.open("expire")
    assert first.get() == "expire 1"
    assert not worker.has_run("expire 2")


@embedded_only
def test_a_chord_with_a_skipped_and_a_retried_task_completes(worker: Worker) -> None:
    first = worker.send("retried", "chord", "chord 1", "chord")
    worker.started("chord 1")
    ids = worker.send("fan_out", "chord").get()
    members, joined = [worker.sent(one) for one in ids["members"]], worker.sent(ids["joined"])
    members[0].came_to("SUCCESS")
    members[1].came_to("RETRY")
    worker.open("chord")
    assert joined.get() == [None, "chord retried"]
    assert first.get() == "chord 1"


def test_a_failed_task_frees_its_lock(worker: Worker) -> None:
    with pytest.raises(ValueError, match="failed"):
        worker.send("failing", "failed").get()
    wait_until(lambda: worker.is_free("user failed"))
    assert worker.send("skipped", "failed", "failed 1").get() == "failed 1"


@embedded_only
@pytest.mark.parametrize(("task", "runs"), [("impatient", 2), ("stumbling", 1)])
def test_a_task_is_not_skipped_because_its_own_last_run_is_just_ending(worker: Worker, task: str, runs: int) -> None:
    worker.send(task, task, f"{task}!")  # what its result says may be overtaken, too: Celery writes RETRY last
    wait_until(lambda: len(worker.journal(f"{task}!")) == 2 * runs, within=PATIENCE)
    assert worker.never_overlapped(f"{task}!")
    wait_until(lambda: worker.is_free(f"user {task}"))


@embedded_only
def test_a_soft_time_limit_frees_the_lock(worker: Worker) -> None:
    assert worker.send("hurried", "soft", "soft 1").get() == "out of time"
    wait_until(lambda: worker.is_free("user soft"))


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_revoked_task_frees_its_lock(worker: Worker, number: str) -> None:
    result = worker.send("retried", number, f"{number} 1", "never")
    worker.started(f"{number} 1")
    worker.app.control.revoke(result.id, terminate=True, signal=number)
    wait_until(lambda: worker.is_free(f"user {number}"), within=PATIENCE)
    result.came_to("REVOKED")
    assert worker.send("skipped", number, f"{number} 2").get() == f"{number} 2"


@embedded_only
def test_a_hard_time_limit_frees_the_lock(worker: Worker) -> None:
    """By the process that replaces the killed one: nothing else here wants it, and its ttl is five minutes."""
    result = worker.send("stubborn", "hard", "hard 1")
    result.came_to("FAILURE")
    wait_until(lambda: worker.is_free("user hard"), within=PATIENCE)
    assert worker.send("skipped", "hard", "hard 2").get() == "hard 2"


@pytest.mark.parametrize("task", ["retried", "skipped"])
def test_a_task_whose_process_is_killed_runs_again_and_gets_the_lock(worker: Worker, task: str) -> None:
    name = f"killed {task}"
    result = worker.send(task, name, name, name)
    first = worker.started(name)
    os.kill(first["pid"], signal.SIGKILL)
    second = worker.started(name, times=2)
    assert second["pid"] != first["pid"]
    worker.open(name)
    assert result.get() == name
    assert worker.never_overlapped(name, killed=True)
    assert len(worker.journal(name)) == 3  # the first has no end


@embedded_only
def test_a_lost_lock_changes_nothing_of_a_tasks_outcome(worker: Worker) -> None:
    result = worker.send("retried", "lost", "lost 1", "lost")
    worker.started("lost 1")
    worker.place.client("shop").clear("user lost")
    worker.open("lost")
    assert result.get() == "lost 1"
    wait_until(lambda: "lock 'user lost' was lost" in worker.log())
    assert LockLostError.__name__ not in worker.log()


def test_no_task_left_a_lock_or_a_traceback(worker: Worker) -> None:
    """Runs last: what the whole module has left. Celery itself logs some, of processes that were killed."""
    assert not worker.place.leases.list()["items"]
    assert "/tasklock/" not in worker.log()
