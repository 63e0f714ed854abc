"""Names, ttls, timeouts and notes that no lock can have; and odd ones that it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import tasklock
from bad_input.servers import sentence
from tasklock import InvalidLockError, LockClient, TaskLock, TaskLockedException
from tasklock.naming import shortened

if TYPE_CHECKING:
    from tasklock.testing import ApiServer


class Shown:
    """Something whose representation would clear a terminal, or a log."""

    def __repr__(self) -> str:
        return "\x1b[2J\nforged log line"


NO_NAMES: list[tuple[Any, str]] = [
    ("", "may not be empty"),
    (None, "must be a string, not NoneType"),
    (5, "must be a string, not int"),
    (b"report", "must be a string, not bytes"),
    (["a"], "must be a string, not list"),
    (Shown(), "must be a string, not Shown"),
    ("a\udc80", "UTF-8"),
    ("x" * 65_537, "at most 65,536 bytes"),
    ("ä" * 40_000, "at most 65,536 bytes"),
]
ODD_NAMES = [
    "x" * 10_240,
    "müller straße 日本語 🔒",
    "../../etc/passwd",
    "/",
    "..",
    ".",
    "a/b?c=d&e#f%2e",
    "\x1b[31mred\x1b[0m",
    "a\x00b",
    "line\nbreak",
    "tab\tand\x7f",
    " ",
    "-",
    "A",
    "a" * 253,
    "x.q.12345678",
    "kube-scheduler",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "'; drop table locks; --",
    "\u202ereversed",
]


@pytest.mark.parametrize(("name", "words"), NO_NAMES, ids=lambda value: repr(value)[:20])
def test_a_name_that_no_lock_can_have(api: ApiServer, client: LockClient, name: Any, words: str) -> None:
    for use in (client.lock_task, client.is_locked, client.clear, client.flush_locks, lambda it: TaskLock(client, it)):
        with pytest.raises(InvalidLockError) as caught:
            use(name)
        sentence(caught.value, "name", words)
        assert isinstance(caught.value, ValueError)
    assert not api.requests, "found out before anything is sent"


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda value: ascii(value)[:20])
def test_an_odd_name_is_a_name(client: LockClient, name: str) -> None:
    with client.lock_task(name):
        assert client.is_locked(name)
        assert [info.name for info in client.locks()] == [name]
        with pytest.raises(TaskLockedException) as caught:
            client.lock_task(name).acquire()
        sentence(caught.value, "is held by")
        assert caught.value.name == name
    assert client.locks() == []


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda value: ascii(value)[:20])
def test_an_odd_name_can_be_freed_by_it(client: LockClient, name: str) -> None:
    hold = client.lock_task(name).acquire()
    assert client.flush_locks(name) == {name}
    with pytest.raises(tasklock.LockLostError) as caught:
        hold.release()
    sentence(caught.value, "was lost", "elsewhere")


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.5, 30.0, 2**31, 86_401, True, False, "30", [30], 10**5000, float("nan"), Shown()], ids=shortened
)
def test_a_ttl_that_no_lock_can_have(client: LockClient, ttl: Any) -> None:
    for use in (lambda: LockClient(ttl=ttl), lambda: client.lock_task("x", ttl=ttl)):
        with pytest.raises(InvalidLockError) as caught:
            use()
        sentence(caught.value, "ttl must be whole seconds from 1 to 86400")


def test_a_clients_ttl_cannot_be_none_but_a_locks_is_the_clients(client: LockClient) -> None:
    with pytest.raises(InvalidLockError) as caught:
        LockClient(ttl=None)  # type: ignore[arg-type]
    sentence(caught.value, "ttl must be whole seconds")
    assert client.lock_task("x", ttl=None).ttl == client.ttl


@pytest.mark.parametrize(
    "timeout", [-1, -0.001, float("nan"), float("-inf"), "5", True, False, [5], {}, 1j], ids=shortened
)
def test_a_timeout_that_nobody_can_wait(client: LockClient, timeout: Any) -> None:
    lock = client.lock_task("x")
    for use in (lambda: client.lock_task("x", timeout=timeout), lambda: lock.acquire(timeout=timeout)):
        with pytest.raises(InvalidLockError) as caught:
            use()
        sentence(caught.value, "timeout must be 0", "None")


@pytest.mark.parametrize("note", [5, b"x", "\udc80", "x" * 65_537, ["a"]], ids=lambda value: repr(value)[:10])
def test_a_note_that_no_lease_can_carry(client: LockClient, note: Any) -> None:
    with pytest.raises(InvalidLockError) as caught:
        client.lock_task("x", note=note)
    sentence(caught.value, "a note")


def test_the_largest_name_and_note_fit_together(client: LockClient) -> None:
    with client.lock_task("n" * 65_536, note="\x1b" * 65_536):
        assert len(client.locks()[0].note or "") == 65_536


@pytest.mark.parametrize("app", ["", "A", "a.b", "a" * 64, "../x", None, 5, "\x1b[2J", Shown()], ids=shortened)
def test_an_app_that_is_no_dns_label(app: Any) -> None:
    with pytest.raises(InvalidLockError) as caught:
        LockClient(app=app)
    sentence(caught.value, "app must be a DNS label", "locking-app")


def test_the_module_level_functions_check_too(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)
    monkeypatch.setattr(tasklock, "_default", None)
    for use in (tasklock.lock_task, tasklock.is_locked, tasklock.flush_locks):
        with pytest.raises(InvalidLockError) as caught:
            use("")
        sentence(caught.value, "may not be empty")
