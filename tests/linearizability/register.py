"""What the locks protect: numbers in SQLite that are read, thought about, and written back plus one.

Each lock has two of them. One is fenced: it refuses a token smaller than the largest that it has seen, in reads too.
The other one writes whatever comes. Each counts its writes, so that what was lost is what is missing in the number.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCHEMA = """
    CREATE TABLE IF NOT EXISTS register (
        lock TEXT PRIMARY KEY,
        token INTEGER DEFAULT 0, fenced INTEGER DEFAULT 0, fenced_writes INTEGER DEFAULT 0,
        plain INTEGER DEFAULT 0, plain_writes INTEGER DEFAULT 0
    )
"""
BEGIN = "UPDATE register SET token = ? WHERE lock = ? AND token <= ? RETURNING fenced"
WRITE = """
    UPDATE register SET fenced = ?, token = ?, fenced_writes = fenced_writes + 1 WHERE lock = ? AND token <= ?
    RETURNING fenced
"""
READ_PLAIN = "SELECT plain FROM register WHERE lock = ?"
WRITE_PLAIN = "UPDATE register SET plain = ?, plain_writes = plain_writes + 1 WHERE lock = ?"
COUNT = """
    SELECT sum(fenced_writes), sum(fenced_writes - fenced), sum(plain_writes), sum(plain_writes - plain) FROM register
"""


class Count(NamedTuple):
    """Increments that were made, and those of them that are missing in the numbers."""

    fenced: int
    fenced_lost: int
    plain: int
    plain_lost: int


class Register:
    """One file; each statement is a transaction of its own, done whole or not at all even by who is killed in it."""

    def __init__(self, path: Path, locks: Iterable[str] = ()) -> None:
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")  # processes are killed here, not the machine
        self._connection.execute(SCHEMA)
        self._connection.executemany("INSERT INTO register (lock) VALUES (?)", [(lock,) for lock in locks])

    def begin(self, lock: str, token: int) -> int | None:
        """Raise the fence to our token and read; None where a larger one was there."""
        rows = self._connection.execute(BEGIN, (token, lock, token)).fetchall()
        return int(rows[0][0]) if rows else None

    def write(self, lock: str, token: int, value: int) -> bool:
        """Write, unless the fence has seen a larger token."""
        return bool(self._connection.execute(WRITE, (value, token, lock, token)).fetchall())

    def read_plain(self, lock: str) -> int:
        return int(self._connection.execute(READ_PLAIN, (lock,)).fetchone()[0])

    def write_plain(self, lock: str, value: int) -> None:
        self._connection.execute(WRITE_PLAIN, (value, lock))

    def plain_writes(self, lock: str) -> int:
        found = self._connection.execute("SELECT plain_writes FROM register WHERE lock = ?", (lock,)).fetchone()
        return int(found[0])

    def count(self) -> Count:
        return Count(*self._connection.execute(COUNT).fetchone())

    def close(self) -> None:
        self._connection.close()
