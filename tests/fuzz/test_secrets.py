"""Credentials stay where they were: in no log of any level, no error, no repr, no Lease, no argument and no variable.

Each scenario goes wrong with a canary in place of the secret; then everything that came out is searched for it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pickle
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from bad_input.servers import Server, always, as_json, kubeconfig
from tasklock import LockClient, TaskLockError
from tasklock.protocol.effects import Send, Watch
from tasklock.testing import ApiServer
from tasklock.transport.aio import AsyncApi
from tasklock.transport.config import Source

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

CANARY = "c4n4ry0f4s3cr3t"
USER = {"token": CANARY}
Scenario = tuple[str, dict[str, Any], "Callable[[ExitStack, Path], str]"]  # its name, the user, where the server is


def status(code: int) -> Callable[[ExitStack, Path], str]:
    body = {"kind": "Status", "reason": {401: "Unauthorized", 403: "Forbidden"}.get(code, "X"), "message": "no"}
    return lambda ending, _: ending.enter_context(Server(as_json(code, body))).url


def untrusted(ending: ExitStack, _: Path) -> str:
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return ending.enter_context(Server(always(200, "{}"), tls=context)).url


def refused(_: ExitStack, __: Path) -> str:
    return "https://127.0.0.1:1"


def broken(ending: ExitStack, _: Path) -> str:
    def half(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        raise EOFError

    return ending.enter_context(Server(half)).url


def html(ending: ExitStack, _: Path) -> str:
    return ending.enter_context(Server(always(502, "<html>"))).url


def plugin(script: str) -> dict[str, Any]:
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "/bin/sh",
            "args": ["-c", script],
            "interactiveMode": "Never",
        }
    }


GIVEN = json.dumps(
    {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": CANARY}}
)
SCENARIOS: list[Scenario] = [
    ("401", USER, status(401)),
    ("403", USER, status(403)),
    ("500", USER, status(500)),
    ("HTML", USER, html),
    ("TLS that is not trusted", USER, untrusted),
    ("nobody there", USER, refused),
    ("half a reply", USER, broken),
    ("a password", {"username": "me", "password": CANARY}, status(401)),
    ("a token that is no header", {"token": f"{CANARY}\nX: y"}, status(401)),
    ("a token that is no ASCII", {"token": f"{CANARY}\u0663"}, status(401)),
    ("a key that is none", {"client-certificate-data": "eA==", "client-key-data": CANARY}, refused),
    (
        "a key that is no PEM",
        {"client-certificate-data": "eA==", "client-key-data": base64.b64encode(CANARY.encode()).decode()},
        refused,
    ),
    ("a plugin whose token is refused", plugin(f"echo '{GIVEN}'"), status(401)),
    ("a plugin that fails", plugin(f"echo {CANARY}; echo {CANARY} >&2; exit 3"), status(401)),
    ("a plugin that says no JSON", plugin(f"echo {CANARY}"), status(401)),
    (
        "a plugin of another version",
        plugin(f'echo \'{{"apiVersion": "{CANARY}", "kind": 1, "status": 1}}\''),
        status(401),
    ),
    ("a plugin without a status", plugin(f'echo \'{{"apiVersion": 1, "token": "{CANARY}"}}\''), status(401)),
    ("a provider", {"auth-provider": {"name": "oidc", "config": {"id-token": f"a.{CANARY}.c"}}}, status(401)),
]
NAMES = [scenario[0] for scenario in SCENARIOS]


class Search:
    """Everything that came out, to be searched."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._caplog, self._capfd = caplog, capfd
        self.found: list[str] = []
        caplog.set_level(1)
        for name in ("urllib3", "kubernetes", "asyncio", "aiohttp", "tasklock"):
            caplog.set_level(1, logger=name)

    def add(self, *things: object) -> None:
        for thing in things:
            if isinstance(thing, BaseException):
                self.found += [*traceback.format_exception(thing), repr(vars(thing)), repr(pickle.dumps(thing))]
            self.found += [str(thing), repr(thing)]

    def check(self) -> None:
        out, err = self._capfd.readouterr()
        records = [logging.Formatter("%(message)s").format(record) for record in self._caplog.records]
        for text in (*self.found, out, err, *records):
            assert CANARY not in text


@pytest.fixture
def search(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Search:
    return Search(caplog, capfd)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_no_trouble_of_the_library_tells_a_secret(scenario: Scenario, tmp_path: Path, search: Search) -> None:
    _, user, place = scenario
    with ExitStack() as ending:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, place(ending, tmp_path), user=user))
        for use in (client.locks, lambda: client.lock_task("x").acquire(timeout=0.1)):
            with pytest.raises(TaskLockError) as caught:
                use()
            search.add(caught.value)
        search.add(client, client.session, client.session.api, client.lock_task("x"))
        with suppress(TaskLockError):
            search.add(client.session.api.connection())
        client.close()
    search.check()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_nor_does_any_on_an_event_loop(scenario: Scenario, tmp_path: Path, search: Search) -> None:
    _, user, place = scenario

    async def used(url: str) -> None:
        api = AsyncApi(Source(kubeconfig=kubeconfig(tmp_path, url, user=user)))
        try:
            search.add(await api.send(Send(method="GET", timeout=2)))
            reply, stream = await api.open_watch(Watch(lease="x", version="1", seconds=1, timeout=2))
            search.add(reply)
            if stream is not None:
                stream.close()
            search.add(await api.connection())
        except TaskLockError as error:
            search.add(error)
        search.add(api)
        await api.close()

    with ExitStack() as ending:
        asyncio.run(used(place(ending, tmp_path)))
    search.check()


BROKEN = {
    "an open quote": f'users: [{{name: a, user: {{token: "{CANARY}}}}}]\n',
    "a tab": f"users:\n- name: a\n  user:\n\t  token: {CANARY}\n",
    "an alias": f"users: [{{name: a, user: {{token: *{CANARY}}}}}]\n",
    "a tag": f"users: [{{name: a, user: {{token: !{CANARY} x}}}}]\n",
    "a list for a name": f"users: [{{name: [{CANARY}], user: {{token: {CANARY}}}}}]\ncurrent-context: a\n",
    "users that are none": f"users: {CANARY}\ncontexts: []\nclusters: []\ncurrent-context: a\n",
    "a token for the name of its file": f"users: [{{name: a, user: {{tokenFile: {CANARY}}}}}]\ncurrent-context: a\n"
    "contexts: [{name: a, context: {user: a, cluster: a}}]\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n",
    "a key of the cluster": f"clusters: [{{name: a, cluster: {{certificate-authority-data: {CANARY}}}}}]\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("files", ["one file", "two files"])
def test_a_broken_kubeconfig_is_not_quoted(
    text: str, files: str, tmp_path: Path, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    second = kubeconfig(tmp_path, "https://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", str(path) if files == "one file" else f"{path}{os.pathsep}{second}")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    client = LockClient()
    with pytest.raises(TaskLockError) as caught:
        client.locks()
    search.add(caught.value)
    client.close()
    search.check()


def test_what_a_proxy_was_told_is_not_told_on(tmp_path: Path, search: Search) -> None:
    proxy = {"proxy-url": f"http://me:{CANARY}@127.0.0.1:1"}
    client = LockClient(kubeconfig=kubeconfig(tmp_path, "https://127.0.0.1:2", **proxy))
    with pytest.raises(TaskLockError) as caught:
        client.locks()
    search.add(caught.value, client.session.api.connection())
    client.close()
    search.check()


def test_a_server_that_repeats_our_token_does_not_get_it_into_an_error(tmp_path: Path, search: Search) -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        body = b"you sent " + request.split(b"uthorization: ")[1][:60]
        connection.sendall(b"HTTP/1.1 404 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with Server(echo) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url, user=USER))
        with pytest.raises(TaskLockError) as caught:
            client.locks()
        search.add(caught.value)
        client.close()
    search.check()


def test_no_request_carries_it_but_in_its_header_and_no_lease_at_all(tmp_path: Path) -> None:
    with ApiServer(token=CANARY) as api:
        path = kubeconfig(tmp_path, api.url, user=USER)
        with LockClient(kubeconfig=path) as client, client.lock_task("x", note="n"):
            assert CANARY not in repr(client.locks())
            lease = client.session.api.send(Send(method="GET", lease="tasklock.x", timeout=5)).body
            assert CANARY not in json.dumps(lease)
        assert CANARY not in repr(api.requests)


LOOK = """
import os, pathlib, sys
for process in (os.getpid(), os.getppid()):
    for part in ("cmdline", "environ", "comm"):
        print(pathlib.Path(f"/proc/{process}/{part}").read_text().replace(chr(0), chr(10)))
"""


def test_the_command_under_a_lock_sees_what_it_saw_before_and_three_variables(tmp_path: Path) -> None:
    with ApiServer(token=CANARY) as api:
        env = {"PATH": os.environ["PATH"], "HOME": "/", "KUBECONFIG": kubeconfig(tmp_path, api.url, user=USER)}
        run = [sys.executable, "-m", "tasklock", "run", "x", "--"]
        done = subprocess.run(
            [*run, sys.executable, "-c", LOOK], env=env, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        seen = subprocess.run([*run, "env", "-0"], env=env, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "TASKLOCK_TOKEN=" in seen.stdout
    assert CANARY not in done.stdout + done.stderr + seen.stderr
    got = dict(line.split("=", 1) for line in seen.stdout.split("\0") if line)
    added = {"TASKLOCK_NAME", "TASKLOCK_TOKEN", "TASKLOCK_LEASE"}
    assert {key: value for key, value in got.items() if key not in added | {"LC_CTYPE"}} == env


@pytest.mark.parametrize("scenario", [SCENARIOS[0], SCENARIOS[5], SCENARIOS[13]], ids=lambda it: it[0])
def test_the_command_line_tells_none_either(scenario: Scenario, tmp_path: Path) -> None:
    _, user, place = scenario
    with ExitStack() as ending:
        env = {**os.environ, "KUBECONFIG": kubeconfig(tmp_path, place(ending, tmp_path), user=user)}
        run = [sys.executable, "-m", "tasklock", "ls"]
        done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    assert done.returncode not in {0, 1}
    assert CANARY not in done.stdout + done.stderr


def test_the_operator_tells_none_either_at_its_most_talkative(tmp_path: Path) -> None:
    with Server(as_json(401, {"kind": "Status", "reason": "Unauthorized", "message": "no"})) as server:
        env = {
            **os.environ,
            "KUBECONFIG": kubeconfig(tmp_path, server.url, user=USER),
            "TASKLOCK_OPERATOR_LISTEN": "127.0.0.1:0",
            "TASKLOCK_OPERATOR_LOG_LEVEL": "debug",
        }
        with (tmp_path / "said").open("w+") as said:
            operator = subprocess.Popen([sys.executable, "-m", "tasklock_operator"], env=env, stdout=said, stderr=said)
            deadline = time.monotonic() + 30
            while len(server.requests) < 4 and operator.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            operator.terminate()
            operator.wait(30)
            said.seek(0)
            text = said.read()
    assert "401" in text or "nauthorized" in text or "credentials" in text
    assert CANARY not in text
