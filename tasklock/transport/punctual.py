"""Answers that keep time: a server that drips its headers, byte after byte, cannot prolong a request.

urllib3 and http.client give each single ``recv`` the whole timeout, so that a header line may take for ever. Here the
time that is left of the answer's timeout is given to each ``recv`` anew.
"""

from __future__ import annotations

import io
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from tasklock.transport.clock import clock

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer


class _Reads(io.RawIOBase):
    """What a socket brings, until ``until`` of the clock; as long as the socket's own timeout says where it is None."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        timeout = sock.gettimeout()
        self.until = None if timeout is None else clock() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        if self.until is not None:
            self._sock.settimeout(max(0.001, self.until - clock()))
        return self._raw.readinto(buffer)

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class PunctualResponse(HTTPResponse):
    """An answer that has to be there, to its last byte, within the timeout that its socket has at its beginning."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as http.client has it
        super().__init__(sock, *args, **options)
        self.reads = _Reads(sock, self.fp.detach())
        self.fp = io.BufferedReader(self.reads)


class PunctualStream(PunctualResponse):
    """An answer whose headers have to be there within that time; its body may go on for as long as it likes."""

    def begin(self) -> None:
        """Read the headers."""
        super().begin()
        self.reads.until = None
