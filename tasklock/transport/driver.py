"""Performs the effects of a protocol generator, in the thread that calls.

A watch is read by a thread of its own, so that waiting for its next event can end at any time: at a deadline, by
Ctrl-C, or by ``cancel()`` from another thread.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar

from tasklock.protocol.effects import Effect, Event, IsDead, Next, Now, Reply, Send, Sleep, Steps, Watch
from tasklock.transport.clock import clock, read
from tasklock.transport.identity import is_dead
from tasklock.transport.mailbox import Mailbox
from tasklock.transport.wire import MAX_LINE, event_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from tasklock.transport.http import Api

T = TypeVar("T")


class CancelledError(BaseException):
    """Raised inside steps whose driver was cancelled; never seen by users."""


class Driver:
    """Runs one generator at a time against one API."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._watching: _Stream | None = None
        self._wake: Mailbox[None] = Mailbox()
        self._cancelled = False

    def run(self, steps: Steps[T]) -> T:
        """Run ``steps`` to their end and return what they return; what they raise is raised."""
        outcome: Any = None
        try:
            while True:
                outcome = self._perform(steps.send(outcome))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # a generator's return value is untyped at runtime
        finally:
            steps.close()
            self._close()

    def cancel(self) -> None:
        """End the run as soon as it waits or sends again; called from another thread."""
        self._cancelled = True
        self._wake.put(None)
        if (watching := self._watching) is not None:
            watching.events.put(Event("ENDED", at=clock()))

    def _perform(self, effect: Effect) -> object:
        if self._cancelled:
            raise CancelledError
        match effect:
            case Now():
                return read()
            case Send():
                return self._api.send(effect)
            case Sleep():
                return self._sleep(effect.until)
            case Next():
                return self._next(effect.until)
            case Watch():
                return self._watch(effect)
            case IsDead():
                return is_dead(effect.process)

    def _sleep(self, until: float) -> object:
        try:
            while (left := until - clock()) > 0:
                self._wake.get(timeout=left)
                if self._cancelled:
                    raise CancelledError
        except Empty:
            pass
        return read()

    def _watch(self, watch: Watch) -> Reply:
        self._close()
        now = clock()
        try:
            self._watching = _Stream(self._api, watch)
        except RuntimeError as error:  # too many threads
            return Reply(status=0, sent=now, received=clock(), error=f"no watch could be begun: {error}")
        return self._watching.opened(now + watch.timeout)

    def _next(self, until: float) -> Event:
        if self._watching is None:
            return Event("ENDED", at=clock())
        event = self._watching.next(until)
        if self._cancelled:
            raise CancelledError
        return event

    def _close(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None


class _Stream:
    """One watch, read by a thread."""

    def __init__(self, api: Api, watch: Watch) -> None:
        self.events: Mailbox[Event] = Mailbox()
        self._reply: Mailbox[Reply] = Mailbox()
        self._lock = threading.Lock()
        self._response: BaseHTTPResponse | None = None
        self._closed = self._ended = self._asking = False
        self._asked: Mailbox[None] = Mailbox()  # the thread reads an event when asked, not while we send
        threading.Thread(target=self._read, args=(api, watch), name="tasklock-watch", daemon=True).start()

    def opened(self, until: float) -> Reply:
        """Wait for the answer to the request."""
        sent = clock()
        try:
            return self._reply.get(timeout=max(0.0, until - sent))
        except Empty:
            self.close()
            return Reply(status=0, sent=sent, received=clock(), error="no answer to the watch in time")

    def next(self, until: float) -> Event:
        """Return the next event; QUIET at ``until``, ENDED for ever after the end."""
        if self._ended:
            return Event("ENDED", at=clock())
        if not self._asking:
            self._asking = True
            self._asked.put(None)
        try:
            event = self.events.get(timeout=max(0.0, until - clock()))
        except Empty:
            return Event("QUIET", at=clock())
        self._asking, self._ended = False, event.kind == "ENDED"
        return event

    def close(self) -> None:
        """End the request, whatever the reading thread is doing."""
        with self._lock:
            self._closed = True
            self._asked.put(None)
            if self._response is not None:
                with suppress(OSError, RuntimeError, ValueError):  # it has just ended by itself
                    self._response.shutdown()

    def _read(self, api: Api, watch: Watch) -> None:
        response: BaseHTTPResponse | None = None
        try:
            reply, response = api.open_watch(watch)
            with self._lock:
                self._response = response
            self._reply.put(reply)
            if response is not None and not self._closed:
                events = _events(response)
                while self._asked.get() is None and not self._closed and (event := next(events, None)) is not None:
                    self.events.put(event)
        except Exception as error:  # noqa: BLE001 - a broken watch is ENDED, however it broke; the waiter looks again
            self._reply.put(Reply(status=0, received=clock(), error=f"the watch broke ({type(error).__name__})"))
        finally:
            with self._lock:
                self._response = None
            if response is not None:
                response.close()
            self.events.put(Event("ENDED", at=clock()))


def _events(response: BaseHTTPResponse) -> Iterator[Event]:
    """Yield the changes that a watch tells, until its end or an ERROR (410 and others)."""
    rest = b""
    while data := response.read1(65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in filter(bytes.strip, lines):
            if event := event_of(line):
                if event.kind == "ENDED":
                    return
                yield event
        if len(rest) > MAX_LINE:
            return
