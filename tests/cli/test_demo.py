"""`tasklock demo`: the check that it makes, and the whole of it in small."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from tasklock.cli.demo.record import drawings
from tasklock.cli.demo.story import Actor, Story
from tasklock.cli.demo.verdict import Grant, hand_overs, percentile, violations
from tasklock.cli.demo.view import frame, plain, summary

if TYPE_CHECKING:
    from conftest import Tasklock

SMALL = ("--seconds", "3", "--workers", "3", "--locks", "2")


def grant(token: int, granted: float, ended: float | None, **more: Any) -> Grant:
    facts = {"lock": "a", "worker": f"w{token}", "asked": 0.0} | more
    return Grant(token=token, granted=granted, ended=ended, **facts)


def demo_processes(parent: int | None = None) -> list[int]:
    """Return the processes of demos, or those that a demo has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ours = any(word.startswith(b"tasklock.cli.demo.") for word in words)
        if ours and stat[0] != "Z" and parent in {None, int(stat[1])}:
            found.append(int(entry.name))
    return found


def test_grants_one_after_the_other_are_fine() -> None:
    assert violations([grant(2, 1.0, 2.0), grant(5, 2.0, 3.0), grant(3, 1.5, 2.5, lock="b"), grant(9, 3.1, None)]) == []


@pytest.mark.parametrize(
    ("grants", "sentence"),
    [
        ([grant(2, 1.0, 2.0), grant(5, 1.9, 3.0)], "a: w5 was granted token 5 while w2 held it for 0.100000 s more"),
        ([grant(2, 1.0, None), grant(5, 1.9, 3.0)], "a: w5 was granted token 5 while w2 still holds it"),
        ([grant(5, 1.0, 2.0), grant(4, 2.0, 3.0)], "a: token 4 was granted after token 5"),
        ([grant(5, 1.0, 2.0), grant(5, 2.0, 3.0)], "a: token 5 was granted after token 5"),
    ],
)
def test_what_breaks_a_promise_is_found(grants: list[Grant], sentence: str) -> None:
    assert violations(grants) == [sentence]
    assert violations(reversed(grants)) == [sentence]


def test_a_hand_over_counts_only_where_somebody_was_waiting() -> None:
    grants = [grant(1, 1.0, 2.0), grant(2, 2.5, 3.0), grant(3, 4.0, 5.0, asked=3.5), grant(4, 5.25, None, asked=4)]
    assert hand_overs(grants) == [0.5, 0.25]
    grants[0].killed = True
    assert hand_overs(grants) == [0.25]
    assert hand_overs(grants, after_kill=True) == [0.5]


def test_percentiles_are_those_of_the_values() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0, 2.0], 0.99) == 2.0


def story() -> Story:
    told = Story(locks=["a"], actors={who: Actor(name=who) for who in ("w1", "w2")}, began=100.0)
    for number, who in enumerate(told.actors):
        told.hear(who, {"event": "ready", "pid": number + 7})
        told.hear(who, {"event": "asks", "lock": "a", "at": 100.5})
    told.hear("w1", {"event": "granted", "lock": "a", "token": 3, "asked": 100.5, "at": 101.0})
    return told


def test_the_story_follows_a_killed_holders_lock_to_its_heir() -> None:
    told = story()
    told.hear("w1", {"event": "clings", "lock": "a", "at": 101.0})
    assert [actor.name for actor in told.waiting("a")] == ["w2"]
    told.kill("w1", 102.0)
    told.hear("w2", {"event": "granted", "lock": "a", "token": 8, "asked": 100.5, "at": 102.25})
    assert (told.victim, told.heir) == (told.grants[0], told.grants[1])
    assert [sentence for _, sentence in told.news][-1] == "w2 takes a over, 250 ms after the kill"
    assert plain(told, now=103.0) == "  3.0 s  2 grants; a by w2; 0 waiting"
    console = Console(width=100, record=True, quiet=True)
    console.print(frame(told, now=103.0, seconds=5, title="demo"))
    assert violations(told.grants) == []


def test_the_story_bears_reports_that_arrive_out_of_order() -> None:
    told = story()
    told.hear("w2", {"event": "granted", "lock": "a", "token": 5, "asked": 100.5, "at": 102.0})
    told.hear("w1", {"event": "released", "lock": "a", "token": 3, "at": 101.5})
    held = told.held("a")
    assert held is not None
    assert held.worker == "w2"
    assert violations(told.grants) == []
    told.hear("w2", {"event": "lost", "lock": "a", "token": 5, "at": 103.0, "reason": "deleted"})
    assert told.troubles == ["w2 lost a: deleted"]


def test_the_drawings_refer_to_nothing_outside() -> None:
    for svg in drawings([summary(["seen"], []), summary(["seen"], ["broken"])], width=96).values():
        assert set(re.findall(r"https?://[^\"\s<]+", svg)) <= {"http://www.w3.org/2000/svg"}
        assert "@import" not in svg
        assert "@font-face" not in svg


def test_the_demo_kills_a_holder_and_finds_every_promise_kept(tasklock: Tasklock) -> None:
    done = tasklock("demo", *SMALL, "--record", str(tasklock.folder / "demo"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"worker-\d \(pid \d+\) is killed with -9 while it holds", done.stdout)
    assert re.search(r"worker-\d takes \S+ over, \d+ ms after the kill", done.stdout)
    assert "the operator had freed it: its holder's container has terminated" in done.stdout
    assert re.search(r"status page while this runs: http://127\.0\.0\.1:\d+/\n", done.stdout)
    assert "no two grants of one lock overlapped" in done.stdout
    assert {path.name for path in tasklock.folder.iterdir()} >= {"demo-light.svg", "demo-dark.svg"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_however_it_is_ended_no_process_stays(tasklock: Tasklock, number: signal.Signals, code: int) -> None:
    running = tasklock.start("demo", *SMALL)
    assert running.stdout is not None
    while "grants" not in running.stdout.readline():
        pass
    children = demo_processes(running.pid)
    assert len(children) == 5, "server, operator, three workers"
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == code
    tasklock.until(lambda: not set(children) & set(demo_processes()), "its processes were gone")


def test_without_the_operator_a_neighbour_frees_the_lock(tasklock: Tasklock, monkeypatch: pytest.MonkeyPatch) -> None:
    (tasklock.folder / "sitecustomize.py").write_text(
        "import sys\nfrom importlib import util\nfound = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'kopf' else found(name, package)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tasklock.folder))
    done = tasklock("demo", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"worker-\d takes \S+ over, \d+ ms after the kill", done.stdout)
    assert "operator" not in done.stdout


def test_on_a_real_cluster_it_leaves_no_lock_behind(real_tasklock: Tasklock) -> None:
    where = ("--kubeconfig", real_tasklock.kubeconfig)
    done = real_tasklock("demo", *SMALL, *where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"namespace {real_tasklock.namespace}" in done.stdout
    assert real_tasklock.held() == []
    running = real_tasklock.start("demo", "--seconds", "20", *where)
    real_tasklock.until(lambda: any(lock.name != "rehearsal" for lock in real_tasklock.held()), "they contended")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    assert real_tasklock.held() == []


def test_a_cluster_on_which_it_cannot_be_played_is_told_at_once(real_tasklock: Tasklock) -> None:
    done = real_tasklock("demo", *SMALL, "--kubeconfig", real_tasklock.kubeconfig, "-n", "no-such-namespace")
    assert done.returncode == 69
    assert "create the namespace" in done.stderr
    assert done.stdout == ""


def test_in_a_file_no_sentence_is_cut(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        console = Console(file=out, width=96)
        console.print(summary(["word " * 40], []))
    assert (tmp_path / "out").read_text().count("word") == 40


def test_without_a_kubeconfig_where_one_is_named_it_is_2(tasklock: Tasklock) -> None:
    done = tasklock("demo", "--kubeconfig", "/nonexistent")
    assert done.returncode == 2
    assert "no Kubernetes configuration" in done.stderr
