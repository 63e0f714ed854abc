"""`tasklock run` at a terminal: the command can read it, the keyboard's signals reach it, and we get it back."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Tasklock

PTY = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class Terminal:
    """A program at a terminal of its own, started by a process that has no other threads."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PTY, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=env,
        )
        self.seen = ""

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def expect(self, pattern: str) -> None:
        """Read on until a pattern has come; forget what came up to its end."""
        assert self.process.stdout is not None
        while not (found := re.search(pattern, self.seen)):
            part = self.process.stdout.read(4096)
            assert part, f"ended without {pattern!r}: {self.seen!r}"
            self.seen += part.decode()
        self.seen = self.seen[found.end() :]

    def end(self) -> int:
        assert self.process.stdout is not None
        while self.process.stdout.read(4096):
            pass
        return self.process.wait(20)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.process.kill()
        terminal.process.communicate()


def test_the_command_reads_the_terminal(tasklock: Tasklock, terminals: list[Terminal]) -> None:
    script = "echo ready; read line; echo got $line"
    terminals.append(terminal := Terminal(tasklock.command("run", "job", "--", "sh", "-c", script), tasklock.env))
    terminal.expect("ready")
    terminal.type("hello\n")
    terminal.expect("got hello")
    assert terminal.end() == 0


def test_ctrl_c_ends_the_command_and_releases_the_lock(tasklock: Tasklock, terminals: list[Terminal]) -> None:
    terminals.append(
        terminal := Terminal(tasklock.command("run", "job", "--", "sh", "-c", "echo ready; sleep 60"), tasklock.env)
    )
    terminal.expect("ready")
    time.sleep(0.2)
    terminal.type("\x03")
    assert terminal.end() == 130
    assert tasklock.held() == []


def test_ctrl_c_while_it_waits_for_the_lock_ends_it(tasklock: Tasklock, terminals: list[Terminal]) -> None:
    with tasklock.client() as client, client.lock_task("job"):
        terminals.append(terminal := Terminal(tasklock.command("run", "job", "--wait", "--", "true"), tasklock.env))
        terminal.expect("waiting for it")
        terminal.type("\x03")
        assert terminal.end() == 130


def test_a_command_in_a_pipeline_is_given_the_terminal_when_it_asks(
    tasklock: Tasklock, terminals: list[Terminal]
) -> None:
    run = f"{sys.executable} -m tasklock run job -- sh -c 'echo ready >&2; read line; echo got $line' | cat"
    terminals.append(terminal := Terminal(["sh", "-c", run], tasklock.env))
    terminal.expect("ready")
    terminal.type("hello\n")
    terminal.expect("got hello")
    assert terminal.end() == 0


def test_ctrl_z_stops_the_job_and_fg_continues_it(tasklock: Tasklock, terminals: list[Terminal]) -> None:
    env = tasklock.env | {"PS1": "$ ", "TERM": "dumb"}
    terminals.append(terminal := Terminal(["bash", "--norc", "--noprofile", "--noediting", "-i"], env))
    terminal.expect(r"\$ ")
    terminal.type(f"{sys.executable} -m tasklock run job -- sh -c 'echo rea''dy; read line; echo got $line'\n")
    terminal.expect("ready\r\n")
    time.sleep(0.2)
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.expect(r"\$ ")
    terminal.type("echo sh''ell\n")
    terminal.expect("shell\r\n")
    terminal.type("fg\n")
    terminal.expect("tasklock run")
    terminal.type("hello\n")
    terminal.expect("got hello")
    terminal.type("exit\n")
    assert terminal.end() == 0


def test_after_a_stop_that_outlasted_the_lock_the_command_is_ended(
    tasklock: Tasklock, terminals: list[Terminal]
) -> None:
    env = tasklock.env | {"PS1": "$ ", "TERM": "dumb"}
    terminals.append(terminal := Terminal(["bash", "--norc", "--noprofile", "--noediting", "-i"], env))
    terminal.expect(r"\$ ")
    terminal.type(f"{sys.executable} -m tasklock run job --ttl 3 -- sh -c 'echo rea''dy; cat'; echo co''de $?\n")
    terminal.expect("ready\r\n")
    time.sleep(0.2)
    terminal.type("\x1a")
    terminal.expect("Stopped")
    time.sleep(2.5)
    terminal.type("fg; echo co''de $?\n")
    terminal.expect("code 76")
    terminal.type("exit\n")
    terminal.end()


def test_flush_asks_at_a_terminal(tasklock: Tasklock, terminals: list[Terminal]) -> None:
    with tasklock.client() as client:
        client.lock_task("job").acquire()
        for answer, code in (("n", 1), ("y", 0)):
            assert client.is_locked("job")
            terminals.append(terminal := Terminal(tasklock.command("flush"), tasklock.env))
            terminal.expect("Free every lock of app tasklock in namespace default")
            terminal.type(f"{answer}\n")
            assert terminal.end() == code
        assert not client.is_locked("job")


def test_watch_draws_a_table_that_changes(tasklock: Tasklock, terminals: list[Terminal]) -> None:
    terminals.append(terminal := Terminal(tasklock.command("watch", "--interval", "0.2"), tasklock.env))
    terminal.expect("0 locks held in namespace default")
    with tasklock.client() as client, client.lock_task("job"):
        terminal.expect("1 lock held")
        terminal.expect("job")
    terminal.expect("0 locks held")
    terminal.type("\x03")
    assert terminal.end() == 130
