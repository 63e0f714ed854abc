r"""Text of strangers, harmless in HTML: what is invisible or turns text around is written out, ``\u202e``."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Final

from markupsafe import Markup, escape

CUT: Final = 160  # characters shown in a cell, as they are written out ...
TITLE: Final = 253  # ... and in its tooltip: as many as a name may have

_INVISIBLE: Final = (  # printable, says Unicode, and yet nothing is seen of them
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
_hidden = re.compile(f"[{_INVISIBLE}]").search


def visible(char: str) -> bool:
    """Tell whether ``char`` may be shown as it is."""
    return char.isprintable() and not _hidden(char)


def plain(text: str) -> str:
    r"""Return ``text`` as one line in which everything can be seen: ``\n``, ``\u200b``."""
    if text.isprintable() and not _hidden(text):
        return text
    return "".join(char if visible(char) else _escaped(char) for char in text)


def hostile(text: str | None, limit: int = CUT) -> Markup:
    """Return ``text`` for a cell: isolated from its neighbours, cut, and with what is not visible marked as such."""
    if not text:
        return Markup("")
    shown = _fitting(text, limit)
    if shown.isprintable() and not _hidden(shown):
        inner = escape(shown)
    else:
        inner = Markup("").join(
            escape("".join(chars)) if clean else Markup('<span class="esc">{}</span>').format(plain("".join(chars)))
            for clean, chars in groupby(shown, visible)
        )
    if len(shown) < len(text):
        return Markup('<bdi title="{}">{}…</bdi>').format(plain(_fitting(text, TITLE)), inner)
    return Markup("<bdi>{}</bdi>").format(inner)


def _fitting(text: str, width: int) -> str:
    """Return as much of the beginning of ``text`` as takes at most ``width`` characters once written out."""
    text = text[:width]
    if text.isprintable() and not _hidden(text):
        return text
    for index, char in enumerate(text):
        width -= 1 if visible(char) else len(_escaped(char))
        if width < 0:
            return text[:index]
    return text


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()
