"""`tasklock run`, as a process among processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasklock import LockClient
from tasklock.testing import ApiServer, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Tasklock

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; the machine may be busy."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited until {what}"
        time.sleep(0.02)


def pids_in(file: Path, count: int) -> list[int]:
    """Wait until processes have written their ids to a file, a line each."""
    until(lambda: file.exists() and len(file.read_text().split()) >= count, "the command had started")
    return [int(pid) for pid in file.read_text().split()]


def test_the_exit_status_is_the_commands(either: Tasklock) -> None:
    done = either("run", "job", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert either.held() == []


def test_a_command_that_a_signal_ended_is_128_and_its_number(tasklock: Tasklock) -> None:
    assert tasklock("run", "job", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9


def test_stdin_is_the_commands(tasklock: Tasklock) -> None:
    assert tasklock("run", "job", "--", "cat", text="hello").stdout == "hello"


def test_the_command_learns_name_lease_and_token(either: Tasklock) -> None:
    script = 'echo "$TASKLOCK_NAME $TASKLOCK_LEASE $TASKLOCK_TOKEN"'
    first = either("run", "job", "--", "sh", "-c", script).stdout.split()
    second = either("run", "job", "--", "sh", "-c", script).stdout.split()
    assert first[:2] == second[:2] == ["job", "tasklock.job"]
    assert int(second[2]) > int(first[2])


def test_options_may_follow_the_name_and_dashes_after_the_mark_are_the_commands(tasklock: Tasklock) -> None:
    app = ("--app", "other-app")
    done = tasklock("run", "job", "--ttl", "5", *app, "--note", "n", "--", sys.executable, "-c", "print(1)", "-v", "--")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_lock_that_is_held_is_75_and_a_sentence_that_names_the_holder(either: Tasklock) -> None:
    with either.client() as client, client.lock_task("job"):
        (lock,) = client.locks()
        done = either("run", "job", "--", "echo", "no")
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.count("\n") == 1
    assert str(lock.holder) in done.stderr


def test_with_a_timeout_it_waits_and_gives_up_in_time(tasklock: Tasklock) -> None:
    with tasklock.client() as client, client.lock_task("job"):
        before = time.monotonic()
        done = tasklock("run", "job", "--timeout", "3", "--", "echo", "no")
        assert time.monotonic() - before > 3
    assert done.returncode == 75
    first, last = done.stderr.splitlines()
    assert first.endswith("waiting for it")
    assert re.search(r"after waiting [0-3]\.?[0-9]* s", last)


def test_with_wait_it_waits_until_the_lock_is_free(either: Tasklock) -> None:
    with either.client() as client, client.lock_task("job"):
        waiting = either.start("run", "job", "--wait", "--", "echo", "at last")
        time.sleep(1.5)
        assert waiting.poll() is None
    assert waiting.communicate(timeout=20)[0] == "at last\n"
    assert waiting.returncode == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_passed_on_and_the_lock_released(tasklock: Tasklock, number: signal.Signals) -> None:
    running = tasklock.start(
        "run", "job", "--", "sh", "-c", f"trap 'exit 42' {number.value}; echo up; sleep 30 >/dev/null 2>&1 & wait"
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.send_signal(number)
    assert running.wait(20) == 42
    assert tasklock.held() == []


def test_a_signal_reaches_the_whole_group(tasklock: Tasklock) -> None:
    running = tasklock.start("run", "job", "--", "sh", "-c", "echo up; sleep 30; exit 3")
    assert running.stdout is not None
    running.stdout.readline()
    time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 128 + signal.SIGTERM


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_it_waits_leaves_no_lease_behind(
    either: Tasklock, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with either.client() as client:
        with client.lock_task("job"):
            waiting = either.start("run", "job", "--wait", "--", "touch", str(tmp_path / "ran"))
            assert waiting.stderr is not None
            assert "waiting for it" in waiting.stderr.readline()
            time.sleep(0.5)  # it watches now
            waiting.send_signal(number)
            assert waiting.wait(20) == code
        time.sleep(0.3)
        assert client.locks() == []
    assert not (tmp_path / "ran").exists()


def test_a_signal_while_the_lock_is_being_created_leaves_no_lease_behind(tmp_path: Path) -> None:
    with ApiServer(latency=0.7) as api:
        env = os.environ | {"KUBECONFIG": api.kubeconfig}
        command = [sys.executable, "-m", "tasklock", "run", "job", "--", "touch", str(tmp_path / "ran")]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as running:
            until(lambda: any(request.method == "POST" for request in api.requests), "it had asked for the lock")
            running.send_signal(signal.SIGTERM)
            assert running.wait(20) == 143
        api.latency = 0.0
        with LockClient(kubeconfig=api.kubeconfig) as client:
            assert client.locks() == []
    assert not (tmp_path / "ran").exists()


def test_a_missing_command_is_127_before_anything_is_locked(tasklock: Tasklock) -> None:
    done = tasklock("run", "job", "--wait", "--kubeconfig", "/nonexistent", "--", "no-such-command")
    assert (done.returncode, done.stderr) == (127, "tasklock: cannot run 'no-such-command': command not found\n")


def test_a_command_that_is_not_executable_is_126(tasklock: Tasklock) -> None:
    assert tasklock("run", "job", "--", "/etc/passwd").returncode == 126


def test_a_command_that_fails_to_start_releases_the_lock(either: Tasklock, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    assert either("run", "job", "--", str(broken)).returncode == 127
    broken.write_text("")
    assert either("run", "job", "--", str(broken)).returncode == 126
    assert either.held() == []


GRANDCHILD = "(trap '' TERM; echo $$ >>{0}; sh -c 'echo $PPID >>{0}; exec sleep 60') & echo $! >>{0}; sleep 60"


def test_a_lost_lock_ends_the_whole_group_even_what_ignores_sigterm(either: Tasklock, tmp_path: Path) -> None:
    running = either.start("run", "job", "--grace", "1", "--", "sh", "-c", GRANDCHILD.format(tmp_path / "pids"))
    pids = pids_in(tmp_path / "pids", 3)
    before = time.monotonic()
    with either.client() as client:
        client.clear("job")
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 76
    assert 1 <= time.monotonic() - before < 10
    assert "was lost: its Lease was deleted" in errors
    assert not any(is_alive(pid) for pid in pids)


def test_a_lock_that_is_lost_by_the_time_the_command_ends_well_is_76(tasklock: Tasklock) -> None:
    script = f"{sys.executable} -m tasklock release job"
    assert tasklock("run", "job", "--grace", "20", "--", "sh", "-c", f"trap '' TERM; {script}").returncode == 76


def test_after_an_expiry_the_command_has_ended_before_anyone_else_can_be_granted_the_lock(
    tmp_path: Path, stalled: Callable[[], float]
) -> None:
    with ApiServer() as api:
        env = os.environ | {"KUBECONFIG": api.kubeconfig}
        script = f"trap '' TERM; echo $$ >>{tmp_path / 'pids'}; sleep 60"
        command = [
            sys.executable,
            "-m",
            "tasklock",
            "run",
            "job",
            "--ttl",
            "6",
            "--grace",
            "60",
            "--",
            "sh",
            "-c",
            script,
        ]
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as running:
            (pid,) = pids_in(tmp_path / "pids", 1)
            time.sleep(3)  # the token is written: it has been renewed
            api.stop()
            before = time.monotonic()
            until(lambda: not is_alive(pid), "the command had ended")
            assert time.monotonic() - before < 6 * 1.1 + stalled()
            _, errors = running.communicate(timeout=30)
        assert running.returncode == 76
        assert "no renewal succeeded" in errors


def test_killed_itself_it_takes_the_command_along_and_the_lock_frees_itself(either: Tasklock, tmp_path: Path) -> None:
    script = f"echo $$ >>{tmp_path / 'pids'}; exec sleep 60"
    running = either.start("run", "job", "--ttl", "4", "--", "sh", "-c", script)
    (pid,) = pids_in(tmp_path / "pids", 1)
    assert is_alive(pid)
    running.kill()
    running.wait(20)
    until(lambda: not is_alive(pid), "the command was gone")
    assert either("run", "job", "--", "true").returncode == 75, "nobody may think it dead at once: no process is named"
    assert either("run", "job", "--timeout", "20", "--", "true").returncode == 0


def test_a_lock_that_looks_abandoned_is_watched_and_taken_over_by_a_run_that_does_not_wait(either: Tasklock) -> None:
    abandoned = either.start("run", "job", "--ttl", "1", "--", "sleep", "60")
    either.wait_for_lock()
    abandoned.kill()
    abandoned.wait(20)
    time.sleep(4)
    done = either("run", "job", "--", "echo", "mine")
    assert (done.returncode, done.stdout) == (0, "mine\n")
    assert "nobody seems to renew it" in done.stderr


def test_the_lock_is_renewed_while_a_stopped_command_holds_it(tasklock: Tasklock) -> None:
    running = tasklock.start("run", "job", "--ttl", "3", "--", "sh", "-c", "echo $$; exec sleep 60")
    assert running.stdout is not None
    pid = int(running.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    assert running.wait(20) == 143


def test_stopped_for_longer_than_its_lock_lasts_it_ends_the_command_instead_of_continuing_it(
    tasklock: Tasklock,
) -> None:
    running = tasklock.start("run", "job", "--ttl", "3", "--", "sh", "-c", "echo $$; exec sleep 60")
    assert running.stdout is not None
    pid = int(running.stdout.readline())
    running.send_signal(signal.SIGTSTP)
    time.sleep(2.5)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "the command was stopped too"
    running.send_signal(signal.SIGCONT)
    assert running.wait(20) == 76
    assert not is_alive(pid)


def test_a_signal_at_the_commands_end_changes_neither_its_status_nor_the_release(tmp_path: Path) -> None:
    """As when a whole cgroup is told to end: the command first, and a moment later tasklock, which is releasing."""
    with ApiServer() as api:
        env = os.environ | {"KUBECONFIG": api.kubeconfig}
        command = [sys.executable, "-m", "tasklock", "run", "job", "--", "sh", "-c", f"echo >{tmp_path / 'up'}; exit 7"]
        api.fault = lambda method, _: Fault(status=503) if method == "DELETE" else None
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as running:
            until(lambda: any(request.method == "DELETE" for request in api.requests), "it was releasing")
            running.send_signal(signal.SIGTERM)
            assert running.stderr is not None
            assert "signal once more to leave it to its expiry" in running.stderr.readline()
            api.fault = None
            assert running.wait(30) == 7
        with LockClient(kubeconfig=api.kubeconfig) as client:
            assert client.locks() == []


def test_a_second_signal_leaves_the_lock_to_its_expiry(tmp_path: Path) -> None:
    with ApiServer() as api:
        env = os.environ | {"KUBECONFIG": api.kubeconfig}
        command = [sys.executable, "-m", "tasklock", "run", "job", "--", "touch", str(tmp_path / "ran")]
        api.fault = lambda method, _: Fault(delay_before=3600) if method == "DELETE" else None
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as running:
            until(lambda: any(request.method == "DELETE" for request in api.requests), "it was releasing")
            running.send_signal(signal.SIGINT)
            assert running.stderr is not None
            assert "signal once more" in running.stderr.readline()
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=30)
        assert running.returncode == 130
        assert "it will free itself by expiry" in errors


def test_a_stderr_that_cannot_be_written_changes_nothing(tasklock: Tasklock, tmp_path: Path) -> None:
    script = f"trap 'echo cleaned >{tmp_path / 'cleaned'}; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    with Path("/dev/full").open("w") as full:
        command = tasklock.command("run", "job", "--", "sh", "-c", script)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=full, text=True, env=tasklock.env) as running:
            assert running.stdout is not None
            running.stdout.readline()
            with tasklock.client() as client:
                client.clear("job")
            assert running.wait(30) == 76
        assert (tmp_path / "cleaned").exists(), "it was told to end before it was killed"
        unlocked = tasklock.command("is-locked", "job", "--kubeconfig", "/nonexistent")
        assert subprocess.run(unlocked, stderr=full, env=tasklock.env, check=False).returncode == 2, "1 means free"


def test_a_name_that_begins_with_a_dash_stands_after_a_mark_of_its_own(tasklock: Tasklock) -> None:
    done = tasklock("run", "--ttl", "60", "--", "-dash", "--", "sh", "-c", "echo $TASKLOCK_NAME")
    assert (done.returncode, done.stdout) == (0, "-dash\n")


def test_a_timeout_is_for_waiting_not_for_getting_ready(tasklock: Tasklock) -> None:
    """The plugin that gives the credentials takes longer than a second."""
    version = "client.authentication.k8s.io/v1"
    token = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": "any"}})
    plugin = {"command": "sh", "args": ["-c", f"sleep 1.5; echo '{token}'"], "interactiveMode": "Never"}
    config = json.loads(Path(tasklock.kubeconfig).read_text())
    config["users"][0]["user"]["exec"] = {"apiVersion": version, **plugin}
    (tasklock.folder / "slow").write_text(json.dumps(config))
    with tasklock.client() as client, client.lock_task("job"):
        done = tasklock("run", "job", "--timeout", "2", "--kubeconfig", str(tasklock.folder / "slow"), "--", "true")
    assert done.returncode == 75
    waited = re.search(r"after waiting ([0-9.]+) s", done.stderr.splitlines()[-1])
    assert waited is not None
    assert 0.6 <= float(waited[1]) <= 2
