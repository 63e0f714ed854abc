"""Who we are, without the downward API; and whether a neighbour is dead, which only certainty may say."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasklock.lease import CONTAINER, POD, POD_UID, PROCESS
from tasklock.transport import identity as module
from tasklock.transport.identity import Identity, identity, is_dead, process_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = "5e8cb1f0-8a5b-4c6e-9d2a-0123456789ab"
CONTAINERD = f"""\
2345 2210 0:271 / / rw,relatime master:601 - overlay overlay rw,lowerdir=/var/lib/containerd/x/fs,upperdir=/y
2346 2345 0:275 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
2351 2350 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
2352 2345 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw
2353 2347 8:1 /var/lib/kubelet/pods/{UID}/containers/worker/3f9c21ab /dev/termination-log rw - ext4 /dev/sda1 rw
"""
CRIO = f"""\
1201 1190 253:0 /pods/{UID}/containers/side-car-2/8a1b2c3d /dev/termination-log rw shared:5 - xfs /dev/mapper/x rw
"""
DOCKER = "900 880 8:1 /var/lib/docker/containers/abc/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"


def token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl"


BOUND = {"sub": "system:serviceaccount:x:y", "kubernetes.io": {"pod": {"name": "worker-7d9f-x2x4q", "uid": UID}}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give this process another mountinfo and another token, in a folder: ``mountinfo`` and ``token``."""
    monkeypatch.setattr(module, "MOUNTINFO", tmp_path / "mountinfo")
    monkeypatch.setattr(module, "TOKEN_FILE", tmp_path / "token")
    monkeypatch.setattr(socket, "gethostname", lambda: "the-host")
    monkeypatch.delenv("TASKLOCK_CONTAINER", raising=False)
    identity.cache_clear()
    yield tmp_path
    identity.cache_clear()


def test_outside_of_pods_it_is_the_hosts_name(place: Path) -> None:
    (place / "mountinfo").write_text(DOCKER)
    assert identity() == Identity(who="the-host")


def test_nothing_readable_is_no_trouble(place: Path) -> None:
    (place / "mountinfo").mkdir()
    (place / "token").write_bytes(b"\xff\xfe\x00")
    assert identity() == Identity(who="the-host")


@pytest.mark.parametrize(("text", "container"), [(CONTAINERD, "worker"), (CRIO, "side-car-2")])
def test_pod_uid_and_container_come_from_the_mount_of_the_termination_log(
    place: Path, text: str, container: str
) -> None:
    (place / "mountinfo").write_text(text)
    assert identity() == Identity(who="the-host", pod="the-host", pod_uid=UID, container=container)


def test_the_pods_name_comes_from_the_tokens_claims(place: Path) -> None:
    (place / "mountinfo").write_text(CONTAINERD)
    (place / "token").write_text(token(BOUND))
    assert identity() == Identity(who="worker-7d9f-x2x4q", pod="worker-7d9f-x2x4q", pod_uid=UID, container="worker")


def test_the_tokens_uid_does_where_no_mount_tells(place: Path) -> None:
    (place / "token").write_text(token(BOUND) + "\n")
    assert identity() == Identity(who="worker-7d9f-x2x4q", pod="worker-7d9f-x2x4q", pod_uid=UID)


def test_what_the_kubelet_mounted_counts_more_than_what_a_token_claims(place: Path) -> None:
    (place / "mountinfo").write_text(CONTAINERD)
    (place / "token").write_text(token({"kubernetes.io": {"pod": {"name": "p", "uid": "another"}}}))
    assert identity().pod_uid == UID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b.c",
        "a.!!!.c",
        token([]),
        token("x"),
        token(None),
        token({}),
        token({"kubernetes.io": 5}),
        token({"kubernetes.io": {"pod": None}}),
        token({"kubernetes.io": {"serviceaccount": {"name": "x"}}}),
        token({"kubernetes.io": {"pod": {"name": "x"}}}),
    ],
)
def test_a_token_that_says_nothing_of_a_pod_is_no_trouble(place: Path, text: str) -> None:
    (place / "token").write_text(text)
    assert identity() == Identity(who="the-host")


@pytest.mark.parametrize(
    "line",
    [
        f"1 2 8:1 /var/lib/kubelet/pods/{UID}/containers/worker/x /tmp/termination-log rw - ext4 x rw",
        f"1 2 8:1 /var/lib/kubelet/pods/{UID}/volumes/worker/x /dev/termination-log rw - ext4 x rw",
        "1 2 8:1 /var/lib/kubelet/pods/../containers/worker/x /dev/termination-log rw - ext4 x rw",
        f"1 2 8:1 /pods/{UID}/containers/Bad_Name/x /dev/termination-log rw - ext4 x rw",
        f"1 2 8:1 /pods/{UID}/containers/worker/x",
        "\x00\x00",
    ],
)
def test_a_mount_of_another_shape_says_nothing(place: Path, line: str) -> None:
    (place / "mountinfo").write_text(line)
    assert identity() == Identity(who="the-host")


def test_the_container_may_be_told_by_the_environment_where_the_mount_does_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKLOCK_CONTAINER", "told")
    assert identity().container == "told"
    identity.cache_clear()
    (place / "mountinfo").write_text(CONTAINERD)
    assert identity().container == "worker"


def test_annotations_leave_out_what_is_not_known() -> None:
    assert Identity(who="h").annotations(process=False) == {}
    full = Identity(who="p", pod="p", pod_uid=UID, container="c")
    assert full.annotations(process=False) == {POD: "p", POD_UID: UID, CONTAINER: "c"}
    assert full.annotations(process=True)[PROCESS] == process_mark(os.getpid())


# the process


def test_a_process_is_named_by_boot_id_pid_namespace_pid_and_start_time() -> None:
    mark = process_mark(os.getpid())
    assert mark
    boot, namespace, pid, started = mark.split("/")
    assert re.fullmatch(r"[0-9a-f-]{36}", boot)
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert int(namespace) == Path("/proc/self/ns/pid").stat().st_ino
    assert int(pid) == os.getpid()
    assert int(started) > 0


def test_i_am_not_dead() -> None:
    assert is_dead(str(process_mark(os.getpid()))) is False


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_live_neighbour_is_not_dead(child: subprocess.Popen[bytes]) -> None:
    mark = str(process_mark(child.pid))
    assert is_dead(mark) is False
    child.send_signal(signal.SIGSTOP)
    assert is_dead(mark) is False, "stopped is not dead"


def test_a_zombie_proves_nothing_until_it_is_reaped(child: subprocess.Popen[bytes]) -> None:
    mark = str(process_mark(child.pid))
    child.kill()
    state = Path(f"/proc/{child.pid}/stat")
    until = time.monotonic() + 5
    while ") Z " not in state.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert ") Z " in state.read_text()
    assert is_dead(mark) is not True
    child.wait()
    assert is_dead(mark) is True


def test_a_pid_that_is_another_process_by_now_is_dead(child: subprocess.Popen[bytes]) -> None:
    place, pid, started = str(process_mark(child.pid)).rsplit("/", 2)
    assert is_dead(f"{place}/{pid}/{int(started) - 1}") is True


def test_a_name_with_spaces_and_parentheses_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "60"]) as process:
        mark = str(process_mark(process.pid))
        assert is_dead(mark) is False
        process.kill()
    assert is_dead(mark) is True


def changed(*, part: int, to: str) -> str:
    parts = str(process_mark(os.getpid())).split("/")
    parts[part] = to
    return "/".join(parts)


@pytest.mark.parametrize(
    "mark",
    [
        changed(part=0, to="00000000-0000-0000-0000-000000000000"),
        changed(part=1, to="1"),
        changed(part=2, to="0"),
        changed(part=2, to="-1"),
        changed(part=2, to="99999999999"),
        changed(part=2, to="4294967297"),
        changed(part=2, to="x"),
        changed(part=3, to=""),
        "",
        "/",
        "a/b/c/d",
        "\n" + changed(part=3, to="1"),
        changed(part=3, to="1") + "\n",
    ],
    ids=map(str, range(13)),  # not the pid: every test process has to name the tests alike
)
def test_another_boot_another_pid_namespace_or_nonsense_is_unknown(mark: str) -> None:
    assert is_dead(mark) is None


def test_where_proc_is_not_this_namespaces_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = changed(part=2, to="999999")
    assert is_dead(mark) is True
    monkeypatch.setattr(os, "getpid", lambda: 1)
    process_mark.cache_clear()
    assert is_dead(mark) is None
    assert process_mark(1) is None
    process_mark.cache_clear()


def test_a_process_that_we_may_not_signal_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert is_dead(changed(part=3, to="1")) is None


def test_a_process_that_is_hidden_from_us_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_start_time", lambda _pid: None)
    assert is_dead(changed(part=3, to="1")) is False


def test_elsewhere_than_on_linux_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = changed(part=2, to="999999")
    monkeypatch.setattr(sys, "platform", "darwin")
    for cached in (process_mark, module._place):
        cached.cache_clear()
    assert is_dead(mark) is None
    assert process_mark(os.getpid()) is None
    for cached in (process_mark, module._place):
        cached.cache_clear()
