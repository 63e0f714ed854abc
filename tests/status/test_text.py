"""Text of strangers in HTML."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from status.crowd import HOSTILE
from status.visit import Reader
from tasklock_operator.text import hostile, plain


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_makes_an_element_of_its_own_or_leaves_its_isolation(text: str) -> None:
    page = Reader(str(hostile(text)))
    assert {tag for tag, _ in page.elements} <= {"bdi", "span"}
    assert page.elements[0][0] == "bdi"
    assert not [name for _, attributes in page.elements for name in attributes if name not in {"class", "title"}]


def test_whatever_cannot_be_seen_is_written_out() -> None:
    shown = hostile("a\u202eb\u200b\n\x1b[0m\u3164\ud800")
    assert Reader(str(shown)).text == r"a\u202eb\u200b\n\x1b[0m\u3164\ud800"
    assert str(shown).count('<span class="esc">') == 3  # neighbours share one


def test_no_control_format_or_surrogate_character_passes() -> None:
    bad = [chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    assert plain("".join(bad)).isascii()


def test_long_text_is_cut_and_its_tooltip_is_as_harmless_as_the_text() -> None:
    page = Reader(str(hostile("x" * 200 + '"><script>\u202e', limit=10)))
    assert page.text == "x" * 10 + "…"
    assert page.all("bdi") == [{"title": "x" * 200 + '"><script>' + r"\u202e"}]


def test_what_is_written_out_counts_as_long_as_it_then_is() -> None:
    hidden = "\U000e0100"  # ten characters, written out
    (title,) = (one["title"] for one in Reader(str(hostile(hidden * 253))).all("bdi"))
    assert title == plain(hidden * 25)
    assert Reader(str(hostile(hidden * 253))).text == plain(hidden * 16) + "…"
    assert Reader(str(hostile("a" + hidden * 2, limit=20))).text == "a" + plain(hidden) + "…"


def test_the_writing_of_the_world_is_left_alone() -> None:
    text = "Bestände שלום 日本語 🔒"
    assert plain(text) == text
    assert str(hostile(text)) == f"<bdi>{text}</bdi>"
    assert not str(hostile(None))
