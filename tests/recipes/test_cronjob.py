"""The CronJob of ``manifests/examples``: its container's command as processes, and what Jobs make of exit 75.

That it applies, and runs restricted, is in ``tests/api/test_manifests.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.control_plane import ControlPlane
from cluster.rest import MERGE_PATCH
from contract.place import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.build import Binaries
    from contract.place import Place
    from recipes.children import Child, Start

CRONJOB = Path(__file__).parents[2] / "manifests" / "examples" / "cronjob.yaml"
REPORT = """
import pathlib, time
print("at work", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.02)
print("done", flush=True)
"""
NAME = "tasklock-example-report"


def container() -> Any:
    (found,) = yaml.safe_load(CRONJOB.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return found


def run(start: Start) -> Child:
    """Do what a pod of the CronJob does."""
    return start(*container()["command"], *container()["args"])


def test_of_two_pods_at_once_one_makes_the_report_and_the_other_ends_with_75(
    place: Place, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "report.py").write_text(REPORT)
    two = [run(start), run(start)]
    two[0].until(lambda: any(one.ended for one in two), "one of them had ended")
    refused, at_work = sorted(two, key=lambda one: not one.ended)
    assert refused.status() == 75, refused.said
    assert "at work" not in refused.said
    assert "'nightly-report' is held by" in refused.said
    at_work.until_said("at work")
    (tmp_path / "go").touch()
    assert at_work.status() == 0, at_work.said
    assert place.lease("nightly-report", app="tasklock") is None
    assert run(start).status() == 0, "free again"


def test_the_wrapped_command_of_the_readme_makes_locked_a_success_and_nothing_else(
    embedded: Place, start: Start, tmp_path: Path
) -> None:
    readme = (CRONJOB.parents[2] / "examples" / "recipes" / "README.md").read_text()
    (line,) = [line for line in readme.splitlines() if line.startswith("command: ")]
    wrapped = yaml.safe_load(line)["command"]
    (tmp_path / "report.py").write_text("raise SystemExit(3)")
    assert start(*wrapped).status() == 1
    embedded.plant("nightly-report", app="tasklock", ttl=60)
    assert start(*wrapped).status() == 0


@pytest.fixture(scope="module")
def jobs(binaries: Binaries) -> Iterator[ControlPlane]:
    """Run a control plane whose Jobs live; there is no kubelet."""
    with ControlPlane(binaries, controller_manager=True) as running:
        running.kubectl("apply", "-f", str(CRONJOB))
        running.create_service_account("default", "tasklock-worker")
        yield running


def end_pod(jobs: ControlPlane, job: str, code: int) -> None:
    """Play the kubelet: the container of the Job's newest pod ended with ``code``."""

    def pods() -> Any:
        path = f"/api/v1/namespaces/default/pods?labelSelector=job-name%3D{job}"
        found = jobs.rest.request("GET", path).body["items"]
        return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Pending"]

    wait_until(pods, within=60, every=0.1)
    state = {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}
    image = container()["image"]
    ended = {
        "name": container()["name"],
        "state": state,
        "image": image,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
    }
    reply = jobs.rest.request(
        "PATCH",
        f"/api/v1/namespaces/default/pods/{pods()[0]}/status",
        {"status": {"phase": "Failed", "containerStatuses": [ended]}},
        MERGE_PATCH,
    )
    assert reply.status == 200, reply


def job_status(jobs: ControlPlane, job: str) -> Any:
    return json.loads(jobs.kubectl("get", "job", job, "-ojson"))["status"]


@pytest.mark.slow
def test_a_pod_that_met_the_lock_ends_its_job_and_one_that_failed_is_tried_again(jobs: ControlPlane) -> None:
    for job in ("locked", "failing"):
        jobs.kubectl("create", "job", f"--from=cronjob/{NAME}", job)
    end_pod(jobs, "failing", 1)
    end_pod(jobs, "locked", 75)
    wait_until(lambda: job_status(jobs, "locked").get("conditions"), within=60, every=0.2)
    wait_until(
        lambda: any(one["type"] == "Failed" for one in job_status(jobs, "locked")["conditions"]), within=60, every=0.2
    )
    told = {one["type"]: one["reason"] for one in job_status(jobs, "locked")["conditions"]}
    assert told["Failed"] == "PodFailurePolicy"
    assert job_status(jobs, "locked")["failed"] == 1
    end_pod(jobs, "failing", 1)  # there is a second pod
