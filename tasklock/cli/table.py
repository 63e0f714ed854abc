"""Locks as a table. The only text of strangers that gets here is passed through ``shown``, and never is markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasklock.cli.text import duration, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasklock.lease import LockInfo

LIMIT: Final = 80  # characters of a stranger's text in one cell
WIDE_LIMIT: Final = 250
_WIDEST: Final = 10_000  # columns: one line a lock, however long


def table_of(locks: Iterable[LockInfo], *, wide: bool = False, namespaces: bool = False) -> Table:
    """Return the locks as a table in kubectl's manner."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    columns = ["NAME", "APP", "HOLDER", "SINCE", "AGE", "EXPIRES-IN", "STALE"]
    if namespaces or wide:
        columns.insert(0, "NAMESPACE")
    if wide:
        columns += ["LEASE", "POD", "CONTAINER", "TOKEN", "NOTE"]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in {"SINCE", "AGE", "EXPIRES-IN", "STALE", "TOKEN"})
    for lock in locks:
        cells = _cells(lock, limit=WIDE_LIMIT if wide else LIMIT)
        table.add_row(*(cells[column] for column in columns), style="red" if lock.stale else "")
    return table


def _cells(lock: LockInfo, *, limit: int) -> dict[str, Text]:
    def text(value: object) -> Text:
        return Text("-" if value is None or value == "" else shown(value, limit=limit))

    return {
        "NAMESPACE": text(lock.namespace),
        "NAME": text(lock.name),
        "HOLDER": text(lock.holder),
        "SINCE": text(f"{lock.since:%Y-%m-%d %H:%M:%SZ}" if lock.since else None),
        "AGE": text(duration(lock.age)),
        "EXPIRES-IN": text(duration(lock.expires_in)),
        "STALE": text("yes" if lock.stale else "no"),
        "APP": text(lock.app),
        "LEASE": text(lock.lease),
        "POD": text(lock.pod),
        "CONTAINER": text(lock.container),
        "TOKEN": text(lock.token),
        "NOTE": text(lock.note),
    }


def console(table: Table | None = None) -> Console:
    """Return what prints to stdout: as wide as the table, whose names are to be copied, or as the terminal without."""
    if table is None:
        return Console(highlight=False)
    return Console(highlight=False, width=Console(width=_WIDEST).measure(table).maximum)
