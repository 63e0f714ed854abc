"""``tasklock watch``: locks being taken and released, as it happens."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tasklock.cli.options import Seconds, Settings, common
from tasklock.cli.text import duration, say, shown
from tasklock.errors import LockApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.lease import LockInfo

Held = dict[tuple[str, str], "LockInfo"]  # by namespace and Lease


@click.command("watch")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option(
    "--interval", type=Seconds(min=0.1), default=1.0, show_default=True, metavar="S", help="Between two looks."
)
@common
@click.pass_obj
def watch(settings: Settings, *, all_namespaces: bool, interval: float) -> None:
    """Watch the locks of the namespace until Ctrl-C: a live table, or a line a change where stdout is no terminal.

    It looks once a second: a lock that is held for less may never show.

    \b
    Example:
      tasklock watch
      tasklock watch -A --interval 5 | tee locks.log

    \b
    Exit codes:
    130  Ctrl-C (143: SIGTERM)       69  Kubernetes API unavailable at the start
      2  wrong usage or value        77  forbidden
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    client = settings.client()

    def look() -> list[LockInfo]:
        return client.locks(all_apps=settings.app is None, all_namespaces=all_namespaces)

    first = look()
    where = "all namespaces" if all_namespaces else f"namespace {shown(client.namespace)}"
    if sys.stdout.isatty():
        _draw(first, look, interval=interval, where=where, namespaces=all_namespaces)
    else:
        _tell(first, look, interval=interval)


def _draw(
    locks: list[LockInfo], look: Callable[[], list[LockInfo]], *, interval: float, where: str, namespaces: bool
) -> None:
    from rich.console import Group  # noqa: PLC0415 - rich, only where something is drawn
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from tasklock.cli.table import console, table_of  # noqa: PLC0415

    trouble = ""
    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            held = f"{len(locks)} lock{'' if len(locks) == 1 else 's'} held in {where}"
            head = Text(f"{held}   {datetime.now(UTC):%H:%M:%SZ}", style="bold")
            warning = [Text(trouble, style="red")] if trouble else []
            live.update(Group(head, *warning, Text(), table_of(locks, namespaces=namespaces)), refresh=True)
            time.sleep(interval)
            try:
                locks, trouble = look(), ""
            except LockApiError as error:
                trouble = str(error)


def _tell(locks: list[LockInfo], look: Callable[[], list[LockInfo]], *, interval: float) -> None:
    before: Held = {}
    trouble = ""
    while True:
        now = {(lock.namespace, lock.lease): lock for lock in locks}
        for line in changes(before, now):
            click.echo(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
        before = now
        time.sleep(interval)
        try:
            locks, trouble = look(), ""
        except LockApiError as error:
            if str(error) != trouble:
                trouble = str(error)
                say(trouble)


def changes(before: Held, now: Held) -> list[str]:
    """Return a line for each lock that was taken, freed, handed over or turned stale."""
    lines = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if new is None and old is not None:
            lines.append(f"freed   {_name(old)}, held by {shown(old.holder)} for at least {duration(old.age)}")
        elif new is not None and (old is None or old.holder != new.holder):
            how, word = ("held  ", "by") if old is None else ("handed", "to")
            lines.append(f"{how}  {_name(new)} {word} {shown(new.holder)}")
        elif new is not None and old is not None and new.stale and not old.stale:
            lines.append(f"stale   {_name(new)}, held by {shown(new.holder)}")
    return lines


def _name(lock: LockInfo) -> str:
    return f"{shown(lock.namespace)}/{shown(lock.app)}/{shown(lock.name)}"
