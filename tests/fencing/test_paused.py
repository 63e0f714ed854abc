"""A holder that is paused (SIGSTOP) until somebody else has done the work: real processes, one kind of storage each.

Unfenced, both say that they have written, and one increment of two is lost. Fenced, the late one is refused.
All run at once, for each waits most of the time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sql import connect

from cluster.processes import free_ports
from contract.place import grant_role
from fencing.places import EXAMPLES, Fenced, accepted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60


@dataclass(frozen=True)
class Outcome:
    """What the paused holder and the one after it said, and their exit statuses."""

    paused: str
    paused_status: int
    later: str
    later_status: int


def pause(arguments: list[str], *, env: dict[str, str], lock: str) -> Outcome:
    """Pause a holder between its reading and its writing until another one has been through."""
    command = [sys.executable, str(EXAMPLES / arguments[0]), *arguments[1:], "--lock", lock]
    with subprocess.Popen([*command, "--ttl", "1", "--work", "4"], stdout=subprocess.PIPE, text=True, env=env) as one:
        try:
            assert one.stdout is not None
            first = one.stdout.readline()
            one.send_signal(signal.SIGSTOP)
            assert first.startswith("read 0 under token"), first
            other = subprocess.run(
                [*command, "--ttl", "20"], capture_output=True, text=True, env=env, check=False, timeout=PATIENCE
            )
            one.send_signal(signal.SIGCONT)
            said = one.stdout.read()
            status = one.wait(PATIENCE)
        finally:
            one.kill()
    return Outcome(said, status, other.stdout, other.returncode)


Runs = dict[str, tuple[Outcome, int]]  # what was said, and what the counter is at the end


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, embedded: dict[str, str]) -> Runs:
    """Have holders paused on SQLite and on the HTTP service."""
    folder = tmp_path_factory.mktemp("storage")
    with service(folder / "http") as url, ThreadPoolExecutor(3) as pool:
        commands = {
            "http": ["http_client.py", url],
            "sqlite": ["sql.py", str(folder / "sqlite")],
            "unfenced": ["sql.py", str(folder / "unfenced"), "--unfenced"],
        }
        runs = {run: pool.submit(pause, command, env=embedded, lock=run) for run, command in commands.items()}
        outcomes = {run: future.result() for run, future in runs.items()}
    return {run: (outcome, value_of(str(folder / run))) for run, outcome in outcomes.items()}


@contextmanager
def service(database: Path) -> Iterator[str]:
    """Run the example's service; give its URL."""
    (port,) = free_ports(1)
    command = [sys.executable, str(EXAMPLES / "http_service.py"), str(database), str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as it:
        assert it.stdout is not None
        assert "Running on" in it.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        it.kill()


def value_of(database: str) -> int:
    with closing(connect(database)) as counter:
        return counter.read_unfenced()


def check_refused(outcome: Outcome, value: int) -> None:
    assert (outcome.later_status, outcome.later.splitlines()[-1]) == (0, "wrote 1")
    assert outcome.paused_status == 1
    assert outcome.paused.startswith("refused: ")
    assert "lock was lost" in outcome.paused
    assert value == 1, "one write was reported, and one was made"


def check_lost(outcome: Outcome, value: int) -> None:
    assert (outcome.later_status, outcome.later.splitlines()[-1]) == (0, "wrote 1")
    assert outcome.paused.startswith("wrote 1")
    assert value == 1, "two writes were reported, and one is lost"


@pytest.mark.parametrize("kind", ["sqlite", "http"])
def test_the_late_write_of_a_paused_holder_is_refused(storage: Runs, kind: str) -> None:
    check_refused(*storage[kind])


def test_without_the_token_it_overwrites_what_was_done_meanwhile(storage: Runs) -> None:
    check_lost(*storage["unfenced"])


def test_postgresql_refuses_it_too(postgresql: str, embedded: dict[str, str]) -> None:
    with closing(connect(postgresql)) as counter:
        counter.reset()
        counter.write_unfenced(0)
    check_refused(pause(["sql.py", postgresql], env=embedded, lock="postgresql"), value_of(postgresql))


@pytest.fixture
def objects(fenced: Fenced) -> Runs:
    """Have holders paused that write ConfigMaps on the real API server, as a service account."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{fenced.namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}
    accepted(fenced.rest.request("POST", f"{rbac}/roles", {"metadata": {"name": "writer"}, "rules": [rule]}))
    subject = {"kind": "ServiceAccount", "name": "tasklock-worker", "namespace": fenced.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer"}
    binding = {"metadata": {"name": "writer"}, "roleRef": role, "subjects": [subject]}
    accepted(fenced.rest.request("POST", f"{rbac}/rolebindings", binding))
    env = {**os.environ, "KUBECONFIG": str(grant_role(fenced.control_plane, fenced.namespace))}
    with ThreadPoolExecutor(2) as pool:
        runs = {}
        for name, flags in (("fenced", []), ("unfenced", ["--unfenced"])):
            accepted(fenced.create(name))
            runs[name] = pool.submit(pause, ["kubernetes_object.py", name, *flags], env=env, lock=name)
        outcomes = {name: run.result() for name, run in runs.items()}
    return {name: (outcome, int(fenced.get(name)["data"]["value"])) for name, outcome in outcomes.items()}


def test_the_api_server_itself_refuses_a_paused_holders_write_to_an_object(objects: Runs) -> None:
    check_lost(*objects["unfenced"])
    outcome, value = objects["fenced"]
    check_refused(outcome, value)
    assert "tasklock-fence" in outcome.paused
    assert "comes too late" in outcome.paused


def test_a_script_under_tasklock_run_sends_its_token_along(fenced: Fenced) -> None:
    accepted(fenced.create("web"))
    kubeconfig = str(fenced.control_plane.admin_kubeconfig(fenced.namespace))
    folder = str(fenced.control_plane.binaries.kubectl.parent)
    env = {**os.environ, "KUBECONFIG": kubeconfig, "PATH": f"{folder}:{os.environ['PATH']}"}
    script = [str(EXAMPLES / "fenced-patch.sh"), "web"]
    under_lock = [sys.executable, "-m", "tasklock", "run", "release", "--", *script, "1.2.3"]
    subprocess.run(under_lock, check=True, capture_output=True, env=env)
    token = fenced.fence_of("web")
    assert fenced.get("web")["data"]["version"] == "1.2.3"
    late = {**env, "TASKLOCK_TOKEN": str(int(token or 0) - 1)}
    done = subprocess.run([*script, "1.2.2"], check=False, capture_output=True, text=True, env=late)
    assert done.returncode != 0
    assert "comes too late" in done.stderr
    bare = subprocess.run([*script, "1.2.2"], check=False, capture_output=True, text=True, env=env)
    assert "run this by tasklock run" in bare.stderr
    assert fenced.get("web")["data"]["version"] == "1.2.3"
