"""``tasklock ls``: who holds what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tasklock.cli.options import Settings, common
from tasklock.cli.text import say, shown

if TYPE_CHECKING:
    from tasklock.lease import LockInfo


@click.command("ls")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json"]), default="table", show_default=True)
@common
@click.pass_obj
def ls(settings: Settings, *, all_namespaces: bool, output: str) -> None:
    """List the locks that are held: those of all apps of the namespace, unless --app names one.

    Names, holders and notes are what their writers wrote: a table shows characters that could harm a terminal escaped,
    JSON has them exact, in ASCII. Times are the holders' clocks against the API server's. Stale means that nobody has
    renewed the lock for twice its ttl: a hint.

    \b
    Example:
      tasklock ls -A -o wide
      tasklock ls -o json | jq -r '.[] | select(.stale) | .name'

    \b
    Exit codes:
      0  listed, be it nothing     69  Kubernetes API unavailable
      2  wrong usage or value      77  forbidden: -A needs the verb list in the whole cluster
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    client = settings.client()
    locks = client.locks(all_apps=settings.app is None, all_namespaces=all_namespaces)
    if output == "json":
        click.echo(json.dumps([as_json(lock) for lock in locks], indent=2))
    elif locks:
        from tasklock.cli.table import console, table_of  # noqa: PLC0415 - rich, only where something is drawn

        table = table_of(locks, wide=output == "wide", namespaces=all_namespaces)
        console(table).print(table)
    else:
        where = "any namespace" if all_namespaces else f"namespace {shown(client.namespace)}"
        of = f" of app {shown(settings.app)}" if settings.app is not None else ""
        say(f"no locks{of} are held in {where}")


def as_json(lock: LockInfo) -> dict[str, object]:
    """Return a lock as ``-o json`` shows it; the keys are for scripts and stay."""
    return {
        "name": lock.name,
        "namespace": lock.namespace,
        "app": lock.app,
        "lease": lock.lease,
        "holder": lock.holder,
        "pod": lock.pod,
        "container": lock.container,
        "note": lock.note,
        "since": lock.since.isoformat() if lock.since else None,
        "age_seconds": lock.age,
        "expires_in_seconds": lock.expires_in,
        "ttl_seconds": lock.ttl,
        "token": lock.token,
        "stale": lock.stale,
    }
