"""Text of strangers, harmless in a terminal; times as people read them; what is said on stderr."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import click

from tasklock.naming import is_visible

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def shown(text: object, *, limit: int | None = None) -> str:
    r"""Return ``text`` as one line of printable characters; any other is written as Python does: ``\n``, ``\x1b``.

    That takes in escape sequences, bidirectional controls, invisible and lone surrogate characters.
    """
    text = str(text)
    cut = limit is not None and len(text) > limit
    line = "".join(
        char if is_visible(char) else char.encode("unicode_escape", "surrogatepass").decode()
        for char in (text[: (limit or 0) - 1] if cut else text)
    )
    return line + "…" if cut else line


def say(sentence: str, *, of: str = "tasklock") -> None:
    """Write a line to stderr. Where nobody reads it, that changes nothing of what is done, nor the exit code."""
    with suppress(OSError, ValueError):
        click.echo(f"{of}: {sentence}", err=True)


def duration(seconds: float | None) -> str:
    """Return a duration as kubectl writes it: ``45s``, ``3m20s``, ``5h12m``, ``3d4h``; ``-`` for None."""
    if seconds is None:
        return "-"
    whole = int(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    if whole < _MINUTE:
        return f"{sign}{whole}s"
    if whole < _HOUR:
        return f"{sign}{whole // _MINUTE}m{whole % _MINUTE}s"
    if whole < _DAY:
        return f"{sign}{whole // _HOUR}h{whole % _HOUR // _MINUTE}m"
    return f"{sign}{whole // _DAY}d{whole % _DAY // _HOUR}h"
