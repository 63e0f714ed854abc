"""One API server with the ownership policy and an audit log, for all tests of this folder that can share it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cluster.control_plane import ControlPlane
from contract.place import wait_until
from policy.village import WORKER, Village, create, install, lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.build import Binaries

AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "resources": [{"group": "coordination.k8s.io"}], "namespaces": ["jobs"]}],
}


@pytest.fixture(scope="package")
def village(binaries: Binaries, helm: Path) -> Iterator[Village]:
    control_plane = ControlPlane(binaries, controller_manager=True)
    policy = control_plane.folder / "audit.yaml"
    policy.write_text(json.dumps(AUDIT))
    log = control_plane.log("audit")
    control_plane.more_api_args = (f"--audit-policy-file={policy}", f"--audit-log-path={log}")
    with control_plane:
        control_plane.kubectl("create", "namespace", "jobs")
        install(
            helm,
            control_plane,
            {
                "ownershipPolicy": {"enabled": True},
                "client": {"bindings": [{"namespace": "jobs", "subjects": [{"name": WORKER}]}]},
            },
        )
        found = Village(control_plane)
        forged = lock("probe", "no-such-uid")
        worker = found.pod()
        wait_until(lambda: create(worker.leases, forged, query="dryRun=All").status == 403)  # the policy is in force
        wait_until(lambda: create(worker.leases, lock("probe", worker.uid), query="dryRun=All").status == 201)
        yield found
