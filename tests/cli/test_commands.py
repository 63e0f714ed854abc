"""`ls`, `is-locked`, `release`, `flush`, `watch`, and what all commands have in common: help, errors, exit codes."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from contract.place import grant_role
from tasklock import LockInfo, __version__
from tasklock.cli.commands import COMMANDS, cli
from tasklock.cli.text import duration, shown
from tasklock.cli.watch import changes
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.control_plane import ControlPlane
    from conftest import Tasklock

HOSTILE = "a\x1b[31mb\nc[red]d\u202ee\x00\u200b"
HARMLESS = "a\\x1b[31mb\\nc[red]d\\u202ee\\x00\\u200b"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_an_example_and_the_exit_codes(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--help"])
    assert done.exit_code == 0
    assert "Example:\n" in done.stdout
    assert "Exit codes:\n" in done.stdout
    assert "--kubeconfig" in done.stdout


def test_the_help_comes_quickly(tasklock: Tasklock, figure: Callable[[str], None]) -> None:
    took = []
    for _ in range(5):
        before = time.monotonic()
        done = tasklock("--help")
        took.append(time.monotonic() - before)
    assert all(name in done.stdout for name in COMMANDS)
    figure(f"tasklock --help: {1e3 * min(took):.0f} ms at best, {1e3 * max(took):.0f} ms at worst")
    assert min(took) < 1


def test_the_help_imports_neither_kubernetes_nor_rich(tasklock: Tasklock) -> None:
    done = tasklock.python(
        "import sys\n"
        "from tasklock.cli import main\n"
        "sys.argv = ['tasklock', '--help']\n"
        "try: main()\n"
        "except SystemExit: sys.exit(str({'kubernetes', 'rich', 'aiohttp', 'yaml'} & sys.modules.keys()))"
    )
    assert done.stderr == "set()\n"


def test_the_version_is_the_packages(tasklock: Tasklock) -> None:
    assert tasklock("--version").stdout == f"tasklock {__version__}\n"


def test_global_options_stand_before_or_after_the_command(tasklock: Tasklock) -> None:
    with tasklock.client("other") as client, client.lock_task("job"):
        where = ["--kubeconfig", tasklock.kubeconfig, "-n", tasklock.namespace]
        before = CliRunner().invoke(cli, [*where, "--app", "other", "is-locked", "job"])
        after = CliRunner().invoke(cli, ["is-locked", "job", *where, "--app", "other"])
        assert (before.exit_code, after.exit_code) == (0, 0)
        assert CliRunner().invoke(cli, [*where, "--app", "mine", "is-locked", "job", "--app", "other"]).exit_code == 0


def test_ls_shows_the_locks_of_all_apps_unless_one_is_named(tasklock: Tasklock) -> None:
    with tasklock.client("one") as one, one.lock_task("first"), tasklock.client("two") as two, two.lock_task("second"):
        lines = tasklock.invoke("ls").stdout.splitlines()
        assert lines[0].split() == ["NAME", "APP", "HOLDER", "SINCE", "AGE", "EXPIRES-IN", "STALE"]
        assert [line.split()[0] for line in lines[1:]] == ["first", "second"]
        assert [line.split()[0] for line in tasklock.invoke("ls", "--app", "two").stdout.splitlines()[1:]] == ["second"]


def test_ls_shows_all_namespaces_where_asked(control_plane: ControlPlane, real_tasklock: Tasklock) -> None:
    other = control_plane.create_namespace()
    with real_tasklock.client() as client, client.lock_task("here"):
        assert real_tasklock("run", "there", "-n", other, "--", "true").returncode == 0
        done = real_tasklock("run", "there", "-n", other, "--", *real_tasklock.command("ls", "-A", "-o", "json"))
    found = {(lock["namespace"], lock["name"]) for lock in json.loads(done.stdout)}
    assert {(real_tasklock.namespace, "here"), (other, "there")} <= found


def test_hostile_text_is_harmless_in_a_table_and_exact_in_json(tasklock: Tasklock) -> None:
    with tasklock.client() as client, client.lock_task(HOSTILE, note=HOSTILE):
        for output in ("table", "wide"):
            table = tasklock.invoke("ls", "-o", output).stdout
            assert table.count("\n") == 2
            assert table.isascii()
            assert all(char.isprintable() for char in table.replace("\n", ""))
            assert table.count(HARMLESS) == (1 if output == "table" else 2)
        text = tasklock.invoke("ls", "-o", "json").stdout
        assert text.isascii()
        (lock,) = json.loads(text)
        assert lock["name"] == lock["note"] == HOSTILE


def test_the_keys_of_json_are_what_scripts_rely_on(either: Tasklock) -> None:
    with either.client() as client, client.lock_task("job", note="why", ttl=60) as hold:
        (lock,) = json.loads(either.invoke("ls", "-o", "json").stdout)
    assert sorted(lock) == [
        "age_seconds",
        "app",
        "container",
        "expires_in_seconds",
        "holder",
        "lease",
        "name",
        "namespace",
        "note",
        "pod",
        "since",
        "stale",
        "token",
        "ttl_seconds",
    ]
    assert (lock["name"], lock["lease"], lock["note"], lock["ttl_seconds"]) == ("job", hold.lease, "why", 60)
    assert lock["namespace"] == either.namespace
    assert datetime.fromisoformat(lock["since"]).tzinfo is not None


def test_a_table_of_nothing_is_a_sentence_on_stderr(tasklock: Tasklock) -> None:
    done = tasklock.invoke("ls")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "tasklock: no locks are held in namespace default\n"
    assert tasklock.invoke("ls", "-o", "json").stdout == "[]\n"


def test_is_locked_is_0_for_held_and_1_for_free(either: Tasklock) -> None:
    assert either("is-locked", "job").returncode == 1
    with either.client() as client, client.lock_task("job"):
        assert either("is-locked", "job").returncode == 0


def test_release_forces_locks_free_and_says_which_were_held(either: Tasklock) -> None:
    with either.client() as client:
        hold = client.lock_task("one").acquire()
        done = either.invoke("release", "one", "two")
        assert (done.exit_code, done.stdout, done.stderr) == (
            0,
            "released one\n",
            "tasklock: two was not held in app tasklock (--app)\n",
        )
        assert client.locks() == []
        assert either.invoke("release", "one").exit_code == 1
        with pytest.raises(Exception, match="was lost"):
            hold.release()


def test_release_touches_nothing_where_one_name_is_invalid(tasklock: Tasklock) -> None:
    with tasklock.client() as client, client.lock_task("job"):
        assert tasklock.invoke("release", "job", "").exit_code == 2
        assert client.is_locked("job")


def test_flush_frees_all_locks_of_the_app_and_of_no_other(either: Tasklock) -> None:
    with either.client() as client, either.client("other") as other, other.lock_task("kept"):
        for name in ("b", "a\n"):
            client.lock_task(name).acquire()
        done = either.invoke("flush", "--yes")
        assert (done.exit_code, done.stdout) == (0, "a\\n\nb\n")
        assert [lock.name for lock in client.locks(all_apps=True)] == ["kept"]


def test_flush_wants_yes_where_nobody_can_be_asked(tasklock: Tasklock) -> None:
    with tasklock.client() as client, client.lock_task("job"):
        done = tasklock("flush")
        assert done.returncode == 2
        assert "say --yes" in done.stderr
        assert client.is_locked("job")


def test_flush_stale_frees_only_what_nobody_renews(tasklock: Tasklock) -> None:
    dead = tasklock.start("run", "dead", "--ttl", "1", "--", "sleep", "60")
    tasklock.wait_for_lock()
    dead.kill()
    dead.wait(20)
    with tasklock.client() as client, client.lock_task("alive", ttl=3):
        time.sleep(6.5)  # twice the ttl: unrenewed, it would look stale
        done = tasklock("flush", "--stale")
        assert (done.returncode, done.stdout) == (0, "dead\n")
        assert client.is_locked("alive")


def test_watch_tells_a_line_a_change(tasklock: Tasklock) -> None:
    watching = tasklock.start("watch", "--interval", "0.1")
    assert watching.stdout is not None
    with tasklock.client() as client, client.lock_task("job"):
        assert "held    default/tasklock/job by " in watching.stdout.readline()
    assert "freed   default/tasklock/job, held by " in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 130


def test_changes_between_two_looks_are_told() -> None:
    def lock(holder: str, *, stale: bool = False) -> LockInfo:
        return LockInfo(
            name="job", lease="a.job", namespace="ns", app="a", holder=holder, pod=None, container=None, note=None,
            since=datetime.now(UTC), age=61.0, expires_in=1.0, ttl=30, token=None, stale=stale,
        )  # fmt: skip

    key = ("ns", "a.job")
    assert changes({}, {key: lock("x")}) == ["held    ns/a/job by x"]
    assert changes({key: lock("x")}, {key: lock("y")}) == ["handed  ns/a/job to y"]
    assert changes({key: lock("x")}, {key: lock("x", stale=True)}) == ["stale   ns/a/job, held by x"]
    assert changes({key: lock("x")}, {key: lock("x")}) == []
    assert changes({key: lock("x")}, {}) == ["freed   ns/a/job, held by x for at least 1m1s"]


@pytest.mark.parametrize("command", [("ls",), ("is-locked", "a"), ("run", "a", "--", "true"), ("flush", "--yes")])
def test_an_api_server_that_does_not_answer_is_69_and_one_sentence(
    tasklock: Tasklock, command: tuple[str, ...]
) -> None:
    with ApiServer() as gone:
        tasklock.kubeconfig = str(tasklock.copy(gone.kubeconfig))
    done = tasklock(*command)
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "no answer from the API server" in done.stderr


def test_without_any_configuration_it_is_2_for_trying_again_will_not_help(tasklock: Tasklock) -> None:
    done = tasklock("is-locked", "a", "--kubeconfig", "/nonexistent")
    assert done.returncode == 2
    assert "no Kubernetes configuration" in done.stderr


@pytest.mark.parametrize("patience", ["--wait", "--timeout=5"])
def test_whoever_would_wait_is_told_at_once_that_there_is_no_configuration(tasklock: Tasklock, patience: str) -> None:
    done = tasklock("run", "a", patience, "--kubeconfig", "/nonexistent", "--", "true")
    assert done.returncode == 2
    assert "there is no kubeconfig at '/nonexistent'" in done.stderr


@pytest.mark.parametrize("command", [("ls",), ("is-locked", "a"), ("run", "a", "--", "true"), ("release", "a")])
def test_without_rights_it_is_77_and_names_the_missing_verb(
    control_plane: ControlPlane, real_tasklock: Tasklock, command: tuple[str, ...]
) -> None:
    nobody = control_plane.service_account_kubeconfig(real_tasklock.namespace, "nobody")
    done = real_tasklock(*command, "--kubeconfig", str(nobody)) if command[0] != "run" else real_tasklock(
        "run", "--kubeconfig", str(nobody), *command[1:]
    )  # fmt: skip
    assert done.returncode == 77
    assert "leases" in done.stderr
    assert "tasklock-client" in done.stderr
    assert done.stderr.count("\n") == 1


def test_refused_credentials_are_77(tasklock: Tasklock) -> None:
    with ApiServer(token="right") as api:
        config = json.loads(tasklock.copy(api.kubeconfig).read_text())
        config["users"][0]["user"]["token"] = "wrong"
        path = tasklock.copy(api.kubeconfig)
        path.write_text(json.dumps(config))
        assert tasklock("is-locked", "a", "--kubeconfig", str(path)).returncode == 77


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["bogus"], "no such command"),
        (["ls", "--bogus"], "no such option"),
        (["ls", "-o", "xml"], "invalid value"),
        (["run"], "missing argument 'NAME'"),
        (["run", "a"], "put -- and the command"),
        (["run", "a", "--"], "put -- and the command"),
        (["run", "a", "true"], "put -- and the command"),
        (["run", "a", "sh", "-c", "true"], "put -- and the command"),
        (["run", "a", "--wait", "--timeout", "1", "--", "true"], "exclude each other"),
        (["run", "a", "--ttl", "0", "--", "true"], "ttl must be whole seconds"),
        (["run", "a", "--ttl", "0.5", "--", "true"], "not a valid integer"),
        (["run", "a", "--timeout", "-1", "--", "true"], "timeout must be"),
        (["run", "a", "--timeout", "nan", "--", "true"], "timeout must be"),
        (["run", "a", "--grace", "-1", "--", "true"], "not in the range"),
        (["run", "a", "--grace", "nan", "--", "true"], "nan is no number of seconds"),
        (["watch", "--interval", "inf"], "inf is no number of seconds"),
        (["run", "--", "sudo", "--", "true"], "missing argument 'NAME'"),
        (["run", "", "--", "true"], "name may not be empty"),
        (["is-locked", "a", "--app", "Not A Label"], "app must be a DNS label"),
        (["is-locked", ""], "name may not be empty"),
        (["release"], "missing argument"),
    ],
)
def test_wrong_usage_is_2_and_one_sentence(tasklock: Tasklock, args: list[str], sentence: str) -> None:
    done = tasklock.invoke(*args)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_of_its_own_is_70_for_1_would_say_that_a_lock_is_free(
    tasklock: Tasklock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasklock.client.LockClient.is_locked", lambda *_: 1 / 0)
    done = tasklock.invoke("is-locked", "a")
    assert done.exit_code == 70
    assert done.stderr.startswith("tasklock: an error of its own: ZeroDivisionError")


def test_text_of_strangers_is_shown_as_one_printable_line() -> None:
    assert shown(HOSTILE) == HARMLESS
    assert shown("\ud800 ü 漢字 😀") == "\\ud800 ü 漢字 😀"
    assert shown("abcdef", limit=4) == "abc…"


def test_durations_read_as_kubectl_writes_them() -> None:
    seen = [duration(seconds) for seconds in (None, 0.9, 59.9, 200, 18_720, 273_600, -12.3)]
    assert seen == ["-", "0s", "59s", "3m20s", "5h12m", "3d4h", "-12s"]


def test_a_table_is_as_wide_as_it_is_for_its_names_are_to_be_copied(
    tasklock: Tasklock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with tasklock.client() as client, client.lock_task("a-name-that-is-longer-than-half-of-the-terminal"):
        lines = tasklock.invoke("ls").output.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("a-name-that-is-longer-than-half-of-the-terminal ")


def test_where_the_whole_cluster_is_asked_the_role_of_a_namespace_is_no_advice(
    control_plane: ControlPlane, real_tasklock: Tasklock
) -> None:
    worker = grant_role(control_plane, real_tasklock.namespace)
    done = real_tasklock("ls", "-A", "--kubeconfig", str(worker))
    assert done.returncode == 77
    assert "may not list leases in the whole cluster: bind a ClusterRole that allows it" in done.stderr
