"""A row that refuses a late writer: the same statements for SQLite and PostgreSQL.

    python sql.py counter.db
    python sql.py postgresql:///test            # needs psycopg

The table has a column ``token``, the largest that was seen; each write is conditional on it, in one statement, so that
the database itself compares. It holds for any DB-API driver.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from typing import Any

from counter import LateWriteError, arguments, increment

SCHEMA = """
    CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL, token BIGINT NOT NULL)
"""
ROW = "INSERT INTO counter (name, value, token) VALUES (?, 0, 0) ON CONFLICT DO NOTHING"
BEGIN = "UPDATE counter SET token = ? WHERE name = ? AND token <= ?"
READ = "SELECT value FROM counter WHERE name = ?"
WRITE = "UPDATE counter SET value = ?, token = ? WHERE name = ? AND token <= ?"
WRITE_UNFENCED = "UPDATE counter SET value = ? WHERE name = ?"
RESET = "UPDATE counter SET token = 0"  # with every holder stopped; see docs/fencing.md


class SqlCounter:
    """One row of the table ``counter``."""

    def __init__(self, connection: Any, *, mark: str, name: str = "visits") -> None:  # noqa: ANN401 - DB-API has no type
        """``mark`` is what the driver wants in place of each value: ``?`` or ``%s``."""
        self._connection = connection
        self._mark = mark
        self._name = name
        self._execute(SCHEMA)
        self._execute(ROW, name)

    def begin(self, token: int) -> int:
        """Raise the row's token to ours, then read."""
        if self._execute(BEGIN, token, self._name, token).rowcount != 1:
            raise self._late(token)
        return self.read_unfenced()

    def write(self, value: int, token: int) -> None:
        """Write the row, if its token is not larger than ours."""
        if self._execute(WRITE, value, token, self._name, token).rowcount != 1:
            raise self._late(token)

    def read_unfenced(self) -> int:
        """Read the row."""
        return int(self._execute(READ, self._name, fetch=True)[0])

    def write_unfenced(self, value: int) -> None:
        """Write the row whatever its token."""
        self._execute(WRITE_UNFENCED, value, self._name)

    def reset(self) -> None:
        """Forget all tokens."""
        self._execute(RESET)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _execute(self, statement: str, *values: object, fetch: bool = False) -> Any:  # noqa: ANN401 - DB-API has no type
        """Run one statement in a transaction of its own: a pause must not keep a row locked."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement.replace("?", self._mark), values)
            done = cursor.fetchone() if fetch else cursor
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        return done

    def _late(self, token: int) -> LateWriteError:
        return LateWriteError(f"row {self._name!r} was written under a larger token than {token}: the lock was lost")


def connect(where: str) -> SqlCounter:
    """Open a SQLite file, or a PostgreSQL database where ``where`` is its URL."""
    if not where.startswith("postgresql:"):
        return SqlCounter(sqlite3.connect(where, timeout=30), mark="?")
    import psycopg  # noqa: PLC0415 - wanted for PostgreSQL only

    return SqlCounter(psycopg.connect(where), mark="%s")


if __name__ == "__main__":
    parser = arguments("Increment a counter in a database.")
    parser.add_argument("database", help="a SQLite file, or postgresql://...")
    options = parser.parse_args()
    with closing(connect(options.database)) as counter:
        sys.exit(increment(counter, options))
