"""What may be told of trouble with credentials: never the words of others, for they may hold a secret.

A YAML error quotes the line of the kubeconfig that it stumbled over; the official client logs what an exec plugin wrote
before it failed; a server that is no API server may repeat what it was sent.
"""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tasklock.naming import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MIN_SECRET: Final = 8  # bytes: anything shorter would be found by chance

_log = logging.getLogger("tasklock")


class _Hush(logging.Filter):
    """Keeps back what the official client logs about a kubeconfig's login in a thread of ours that loads it."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Take note of the record, and let it not pass, where one of ours asked for that."""
        kept: list[str] | None = getattr(self.here, "kept", None)
        if kept is None or record.module != "kube_config":
            return True
        kept.append(record.getMessage())
        return False


_hush = _Hush()


@contextmanager
def no_quotes() -> Iterator[None]:
    """Say in words of our own what the official client would log on the root logger meanwhile."""
    root = logging.getLogger()
    if _hush not in root.filters:
        root.addFilter(_hush)
    spare = None if root.handlers else logging.NullHandler()
    if spare:  # else logging.error() would set up logging for the whole program
        root.addHandler(spare)
    kept: list[str] = []
    _hush.here.kept = kept
    try:
        yield
    finally:
        _hush.here.kept = None
        if spare:
            root.removeHandler(spare)
    for words in kept:
        status = re.match(r"exec: process returned (-?[0-9]+)", words)
        _log.warning(
            "the login of the kubeconfig's user gave no credentials%s: run it by hand to see why (what it says is not "
            "repeated here, for it may hold a secret)",
            f" (exit status {status[1]})" if status else "",
        )


def said_of(error: Exception) -> str:
    """Say what kind of error it was and where; its own words only where they come from the official client."""
    kind = type(error).__name__
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"{kind} in line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, OSError) and error.strerror:
        what = " (a file that it names)" if isinstance(error, FileNotFoundError) else ""  # its name may be a token
        return f"{kind}: {shortened(error.strerror)}{what}"
    if kind != "ConfigException" or str(error).startswith("exec:"):
        return kind
    words = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>", "(which is no name)", str(error))
    return f"{kind}: {shortened(words, limit=200)}"


def unrepeated(data: bytes | bytearray, headers: Mapping[str, str]) -> bytes | bytearray:
    """Return an answer without the credentials that were sent, should it repeat them."""
    secret = headers.get("authorization", "").rpartition(" ")[2].encode()
    return data.replace(secret, b"(our credentials)") if len(secret) >= MIN_SECRET and secret in data else data
