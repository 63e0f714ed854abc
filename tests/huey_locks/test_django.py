"""Huey's app for Django, and its buttons: they use what the project's Huey has."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from huey import MemoryHuey
from huey.contrib.stats import run_action

from contract.place import APP, Place
from tasklock.contrib.huey import with_kubernetes_locks

if TYPE_CHECKING:
    from tasklock import LockClient

PROJECT = """
from django.conf import settings
from huey import MemoryHuey
from tasklock.contrib.huey import with_kubernetes_locks

settings.configure(HUEY=with_kubernetes_locks(MemoryHuey("contract")))

from huey.contrib.djhuey import HUEY, db_task, lock_task

@db_task()
@lock_task("report")
def report():
    return [lock.name for lock in HUEY.lock_client.locks()]

report()
print(HUEY.execute(HUEY.dequeue()))
"""


def test_djhuey_locks_by_leases(place: Place) -> None:
    environment = {**os.environ, "KUBECONFIG": place.kubeconfig, "TASKLOCK_NAMESPACE": place.namespace}
    command = [sys.executable, "-c", PROJECT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "['report']", done.stderr


def test_the_button_that_flushes_locks_frees_those_of_every_worker(place: Place, other: LockClient) -> None:
    huey = with_kubernetes_locks(MemoryHuey(APP), place.client())
    with huey.lock_task("one"):
        other.lock_task("two").acquire()
        run_action(huey, "flush_locks", {})
        assert other.locks() == []
