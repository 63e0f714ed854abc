"""Text of strangers wherever the command line shows it: a terminal is given nothing that it would act upon."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from fuzz.strategies import HOSTILE, LEASES, TEXT
from tasklock.cli.ls import as_json
from tasklock.cli.table import table_of
from tasklock.cli.text import shown
from tasklock.lease import Lease, LockInfo, describe
from tasklock.naming import shortened
from tasklock.protocol.effects import Reply
from tasklock.protocol.troubles import api_error, locked

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def info(obj: Any) -> LockInfo:
    return LockInfo.of(Lease.parse(obj), now=NOW)


def harmless(text: str) -> None:
    """No escapes, no controls, no reversal of direction, nothing that UTF-8 cannot encode."""
    for line in text.encode().decode().split("\n"):
        assert line.isprintable(), ascii(line)


@given(leases=st.lists(LEASES, max_size=3), wide=st.booleans())
@example(leases=[{"metadata": {"resourceVersion": "9" * 5000}}], wide=True)
def test_a_table_of_locks_is_printable(leases: list[Any], wide: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    out = io.StringIO()
    console = Console(file=out, width=400, highlight=False)
    console.print(table_of(map(info, leases), wide=wide, namespaces=wide))
    harmless(out.getvalue())
    assert "[red]" not in out.getvalue() or any("[red]" in json.dumps(lease) for lease in leases), "no markup of theirs"


@given(lease=LEASES)
def test_json_of_a_lock_is_ascii_and_exact(lease: Any) -> None:
    found = info(lease)
    text = json.dumps(as_json(found))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["name"] == found.name


@given(text=TEXT | st.text(st.characters(), max_size=200), limit=st.none() | st.integers(1, 50))
def test_shown_text_is_one_printable_line_and_short_if_asked(text: str, limit: int | None) -> None:
    line = shown(text, limit=limit)
    harmless(line)
    assert "\n" not in line
    if limit is not None:
        assert len(line) <= 10 * limit, "each character is at most ten when escaped"


@given(lease=LEASES, name=TEXT, status=st.integers(0, 999), message=TEXT | HOSTILE)
def test_every_error_is_one_short_line_of_ascii(lease: Any, name: str, status: int, message: str) -> None:
    reply = Reply(status=status, body={"message": message, "reason": message}, error=shortened(message))
    for error in (api_error(reply, "list", name), locked(name, Lease.parse(lease), timeout=1.0, date=NOW)):
        assert str(error).isascii()
        assert str(error).isprintable()
        assert len(str(error)) < 1000
    assert describe(Lease.parse(lease)).isascii()
