"""The Lease, as anybody else may rely on it."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from contract.place import APP, process_mark, wait_until

if TYPE_CHECKING:
    from contract.place import Place
    from tasklock import LockClient

MICROTIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SERVERS = {"creationTimestamp", "managedFields", "namespace", "resourceVersion", "uid"}


def test_a_held_lock_is_this_lease_and_nothing_more(place: Place, client: LockClient) -> None:
    with client.lock_task("user_count_update", note="task 7"):
        lease = place.lease("user_count_update")
    digest = hashlib.sha256(b"user_count_update").hexdigest()[:16]
    metadata, spec = lease["metadata"], lease["spec"]
    assert set(lease) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(metadata) - SERVERS == {"name", "labels", "annotations"}  # no owner, no finalizer
    assert metadata["name"] == f"{APP}.user-count-update-{digest}"
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": APP}
    assert metadata["annotations"] == {
        "tasklock.dev/name": "user_count_update",
        "tasklock.dev/process": process_mark(),
        "tasklock.dev/note": "task 7",
    }
    assert set(spec) == {"holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime"}
    who, _, nonce = spec["holderIdentity"].rpartition("_")
    assert who == socket.gethostname()
    assert re.fullmatch("[0-9a-f]{8}", nonce)
    assert spec["leaseDurationSeconds"] == 30
    assert MICROTIME.fullmatch(spec["acquireTime"])
    assert spec["renewTime"] == spec["acquireTime"]
    acquired = datetime.fromisoformat(spec["acquireTime"])
    assert abs(datetime.now(UTC) - acquired) < timedelta(seconds=30)


def test_a_dns_name_is_used_as_it_is(place: Place, client: LockClient) -> None:
    with client.lock_task("nightly-report.v2"):
        assert place.leases.get(f"{APP}.nightly-report.v2").status == 200


def test_a_renewal_changes_the_renew_time_and_writes_the_token_and_nothing_else(
    place: Place,
    client: LockClient,
) -> None:
    with client.lock_task("report", ttl=1) as hold:
        created = place.lease("report")
        wait_until(lambda: place.lease("report")["metadata"]["resourceVersion"] != str(hold.token))
        renewed = place.lease("report")
    assert MICROTIME.fullmatch(renewed["spec"]["renewTime"])
    assert renewed["spec"].pop("renewTime") > created["spec"].pop("renewTime")
    assert renewed["metadata"]["annotations"].pop("tasklock.dev/token") == str(hold.token)
    for lease in (created, renewed):
        del lease["metadata"]["resourceVersion"], lease["metadata"]["managedFields"]
    assert renewed == created


def test_every_acquisition_has_a_nonce_of_its_own(place: Place, client: LockClient) -> None:
    holders = []
    for _ in range(3):
        with client.lock_task("report"):
            holders.append(place.lease("report")["spec"]["holderIdentity"])
    assert len(set(holders)) == 3


def test_a_process_that_is_not_to_be_announced_is_not(place: Place) -> None:
    with place.client(announce_process=False).lock_task("report"):
        assert place.lease("report")["metadata"]["annotations"] == {"tasklock.dev/name": "report"}


def test_a_container_that_the_environment_names_is_written(place: Place) -> None:
    program = (
        "import sys, tasklock\n"
        "tasklock.LockClient('contract', kubeconfig=sys.argv[1], namespace=sys.argv[2]).lock_task('report').acquire()\n"
    )
    command = [sys.executable, "-c", program, place.kubeconfig, place.namespace]
    subprocess.run(command, check=True, env={"TASKLOCK_CONTAINER": "worker"}, timeout=60)
    assert place.lease("report")["metadata"]["annotations"]["tasklock.dev/container"] == "worker"
