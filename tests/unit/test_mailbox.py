"""The queue of the drivers: its waits end in time, whatever holds the thread up."""

from __future__ import annotations

import signal
import threading
import time
from queue import Empty

import pytest

from tasklock.transport import mailbox
from tasklock.transport.mailbox import Mailbox


def test_what_is_put_is_taken_in_order() -> None:
    box: Mailbox[int] = Mailbox()
    for number in range(3):
        box.put(number)
    assert [box.get(0), box.get(), box.get(1)] == [0, 1, 2]
    with pytest.raises(Empty):
        box.get(0)


def test_a_wait_ends_with_the_first_item() -> None:
    box: Mailbox[str] = Mailbox()
    threading.Timer(0.1, box.put, ["at last"]).start()
    assert box.get(10) == "at last"


@pytest.mark.timeout(20)
def test_a_wait_whose_time_passes_while_the_thread_is_held_up_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bell rings for an item that was taken long ago, and the clock jumps before it is waited for again."""
    box: Mailbox[int] = Mailbox()
    box.put(1)
    assert box.get() == 1
    times = iter([0.0, 0.0, 9.0, 9.0])
    monkeypatch.setattr(mailbox, "clock", lambda: next(times))
    with pytest.raises(Empty):
        box.get(0.05)


@pytest.mark.timeout(20)
def test_a_signal_whose_handler_outlasts_the_wait_does_not_prolong_it() -> None:
    box: Mailbox[int] = Mailbox()
    before = signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.3))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Empty):
            box.get(0.1)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.timeout(60)
def test_nothing_is_lost_among_many_writers() -> None:
    box: Mailbox[int] = Mailbox()
    writers = [threading.Thread(target=lambda: [box.put(1) for _ in range(2_000)]) for _ in range(8)]
    for writer in writers:
        writer.start()
    assert sum(box.get(10) for _ in range(16_000)) == 16_000
    for writer in writers:
        writer.join()
