r"""Text of strangers, harmless in HTML: what is invisible or turns text around is written out, ``\u202e``."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from markupsafe import Markup, escape

from tasklock.naming import is_unseen, is_visible

CUT: Final = 160  # characters shown in a cell, as they are written out ...
TITLE: Final = 253  # ... and in its tooltip: as many as a name may have


def plain(text: str) -> str:
    r"""Return ``text`` as one line in which everything can be seen: ``\n``, ``\u200b``."""
    if text.isprintable() and not is_unseen(text):
        return text
    return "".join(char if is_visible(char) else _escaped(char) for char in text)


def hostile(text: str | None, limit: int = CUT) -> Markup:
    """Return ``text`` for a cell: isolated from its neighbours, cut, and with what is not visible marked as such."""
    if not text:
        return Markup("")
    shown = _fitting(text, limit)
    if shown.isprintable() and not is_unseen(shown):
        inner = escape(shown)
    else:
        inner = Markup("").join(
            escape("".join(chars)) if clean else Markup('<span class="esc">{}</span>').format(plain("".join(chars)))
            for clean, chars in groupby(shown, is_visible)
        )
    if len(shown) < len(text):
        return Markup('<bdi title="{}">{}…</bdi>').format(plain(_fitting(text, TITLE)), inner)
    return Markup("<bdi>{}</bdi>").format(inner)


def _fitting(text: str, width: int) -> str:
    """Return as much of the beginning of ``text`` as takes at most ``width`` characters once written out."""
    text = text[:width]
    if text.isprintable() and not is_unseen(text):
        return text
    for index, char in enumerate(text):
        width -= 1 if is_visible(char) else len(_escaped(char))
        if width < 0:
            return text[:index]
    return text


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()
