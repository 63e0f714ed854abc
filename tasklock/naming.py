"""From the name a caller gives a lock to the name of its Lease.

A Lease is named ``<app>.<slug>``. The app is a DNS-1123 label, which has no dot, so the first dot separates and
("a-b", "c") never meets ("a", "b-c"). A lock name that is a plain DNS name is its own slug; any other becomes a
readable slug and a hash of the whole name, so that two different names never share a Lease.
"""

from __future__ import annotations

import re
from typing import Final

from tasklock.errors import InvalidLockError

MAX_PLAIN: Final = 170  # characters of a name used as it is: leaves room for the app and for tickets and slots
MAX_SLUG: Final = 100
MAX_LABEL: Final = 63
MAX_TEXT: Final = 65_536  # bytes of a name or a note: all annotations of an object together may have 256 KiB
MIN_TTL: Final = 1
MAX_TTL: Final = 86_400
FOREVER: Final = 1e9  # seconds, thirty years: a timeout that long is none
DEFAULT_APP: Final = "tasklock"

_UNSEEN: Final = (  # printable, says Unicode, and yet nothing is seen of them
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_RESERVED = re.compile(r"\.[qs]\.|-[0-9a-f]{16}$")  # queue tickets, semaphore slots, hashed names


def lease_name(app: str, name: str) -> str:
    """Return the name of the Lease of lock ``name`` of ``app``: a DNS-1123 subdomain of at most 234 characters.

    Raises InvalidLockError for an app or a name that no lock can have.
    """
    check_app(app)
    check_text("a lock's name", name)
    if not name:
        msg = "a lock's name may not be empty: give the lock a name, for example 'nightly-report'"
        raise InvalidLockError(msg)
    if len(name) <= MAX_PLAIN and _SUBDOMAIN.fullmatch(name) and not _RESERVED.search(name):
        return f"{app}.{name}"
    return f"{app}.{_hashed(name, MAX_SLUG, 'lock')}"


def app_of(text: str) -> str:
    """Return the app for something of any name: the name itself where it is a label, else a slug of it and a hash."""
    if _LABEL.fullmatch(text) and not _RESERVED.search(text):
        return text
    return _hashed(text, MAX_LABEL - 17, "app")


def check_app(app: str) -> None:
    """Raise InvalidLockError unless ``app`` is a DNS-1123 label."""
    if not isinstance(app, str) or not _LABEL.fullmatch(app):
        msg = (
            f"app must be a DNS label (lower-case letters, digits and '-', at most 63 characters, "
            f"for example 'locking-app'), not {shortened(app)}"
        )
        raise InvalidLockError(msg)


def check_namespace(namespace: object) -> None:
    """Raise InvalidLockError unless ``namespace`` is None, empty (both: find out), or one that a cluster can have."""
    if namespace is not None and (not isinstance(namespace, str) or (namespace and not _LABEL.fullmatch(namespace))):
        msg = (
            f"namespace must be a DNS label (lower-case letters, digits and '-', at most 63 characters), "
            f"not {shortened(namespace)}"
        )
        raise InvalidLockError(msg)


def check_text(what: str, text: object) -> None:
    """Raise InvalidLockError unless ``text`` is a string that fits into an annotation."""
    if not isinstance(text, str):
        msg = f"{what} must be a string, not {type(text).__name__}: {shortened(text)}"
        raise InvalidLockError(msg)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        msg = f"{what} must be text that UTF-8 can encode, which {shortened(text)} is not: remove its lone surrogates"
        raise InvalidLockError(msg) from None
    if size > MAX_TEXT:
        msg = f"{what} may have at most {MAX_TEXT:,} bytes, and {shortened(text)} has {size:,}: use a shorter one"
        raise InvalidLockError(msg)


def check_ttl(ttl: object) -> int:
    """Return ``ttl`` where it is whole seconds from 1 to 86,400; raise InvalidLockError otherwise."""
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not MIN_TTL <= ttl <= MAX_TTL:
        msg = f"ttl must be whole seconds from {MIN_TTL} to {MAX_TTL} (one day), not {shortened(ttl)}"
        raise InvalidLockError(msg)
    return ttl


def check_timeout(timeout: object) -> float | None:
    """Return ``timeout`` where it is None or seconds ≥ 0; raise InvalidLockError otherwise."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        msg = (
            f"timeout must be 0 (try once), seconds to wait, or None (wait as long as it takes), "
            f"not {shortened(timeout)}"
        )
        raise InvalidLockError(msg)
    return None if timeout >= FOREVER else float(timeout)


def is_unseen(text: str) -> bool:
    """Tell whether something in ``text`` is printable, and yet nothing is seen of it."""
    return re.search(_UNSEEN, text) is not None  # compiled at its first use: the plain library has none


def is_visible(char: str) -> bool:
    """Tell whether ``char`` is seen for what it is where it is shown."""
    return char.isprintable() and not is_unseen(char)


def check_callback(what: str, function: object) -> None:
    """Raise InvalidLockError unless ``function`` is None or can be called."""
    if function is not None and not callable(function):
        msg = f"{what} must be a function, to be called with the Hold, or None, not {shortened(function)}"
        raise InvalidLockError(msg)


def _hashed(text: str, limit: int, empty: str) -> str:
    """Return a readable slug of at most ``limit`` characters, and 16 hex digits that only this text has."""
    import hashlib  # noqa: PLC0415 - OpenSSL takes milliseconds to load, and most names need no hash

    slug = re.sub(r"[^a-z0-9]+", "-", text[: 4 * limit].lower())[:limit].strip("-") or empty
    return f"{slug}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def shortened(value: object, *, limit: int = 80) -> str:
    """Return ``value`` as one short line of printable ASCII, quoted where it is text: safe for any log or terminal."""
    if isinstance(value, (str, bytes)):
        value = value[: limit + 1]
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001 - somebody's __repr__, or a number of more digits than Python prints
        text = ascii(f"<{type(value).__name__}>")
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
