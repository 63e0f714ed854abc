"""``tasklock is-locked``, ``release`` and ``flush``: asking about locks, and forcing them free."""

from __future__ import annotations

import sys

import click

from tasklock.cli.options import Settings, common
from tasklock.cli.text import say, shown


@click.command("is-locked")
@click.argument("name")
@common
@click.pass_context
def is_locked(ctx: click.Context, *, name: str) -> None:
    """Tell by the exit code whether lock NAME is held; print nothing.

    It may change at any moment: to do something only while nobody else does, use tasklock run.

    \b
    Example:
      if tasklock is-locked nightly-report; then echo "still running"; fi

    \b
    Exit codes:
      0  held     2  wrong usage or value          77  forbidden
      1  free    69  Kubernetes API unavailable    70  an error of tasklock's own
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    settings: Settings = ctx.obj
    ctx.exit(0 if settings.client().is_locked(name) else 1)


@click.command("release")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common
@click.pass_context
def release(ctx: click.Context, *, names: tuple[str, ...]) -> None:
    """Force locks free, whoever holds them. Their holders are told that they lost them.

    What a lock protected may still be running: this does not end it (tasklock run ends its command by itself).

    \b
    Example:
      tasklock release nightly-report user_42_processing
      tasklock release --app locking-app invoice          as tasklock ls shows the app

    \b
    Exit codes:
      0  at least one was held, none is     69  Kubernetes API unavailable
      1  none was held                      77  forbidden
      2  wrong usage or value
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    settings: Settings = ctx.obj
    client = settings.client()
    locks = [client.lock_task(name) for name in dict.fromkeys(names)]  # all valid, or nothing is touched
    held = 0
    for lock in locks:
        if lock.clear():
            held += 1
            click.echo(f"released {shown(lock.name)}")
        else:
            say(f"{shown(lock.name)} was not held in app {client.app} (--app)")
    ctx.exit(0 if held else 1)


@click.command("flush")
@click.option(
    "--stale", is_flag=True, help="Only locks that nobody renews, watched for 1.1 times their ttl to be sure."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common
@click.pass_context
def flush(ctx: click.Context, *, stale: bool, yes: bool) -> None:
    """Force all locks of the app free, whoever holds them, and print their names.

    \b
    Example:
      tasklock flush --stale                    free what dead holders left
      tasklock flush --app locking-app --yes    free everything, held or not

    \b
    Exit codes:
      0  done, be it nothing                          69  Kubernetes API unavailable
      1  you said no                                  77  forbidden
      2  wrong usage; no --yes where nobody can be asked
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    settings: Settings = ctx.obj
    client = settings.client()
    if stale:
        freed = _flush_stale(settings)
    else:
        if not yes:
            if not sys.stdin.isatty():
                msg = "to free every lock without being asked, say --yes"
                raise click.UsageError(msg, ctx)
            question = f"Free every lock of app {client.app} in namespace {shown(client.namespace)}, held or not?"
            if not click.confirm(question, err=True):
                ctx.exit(1)
        freed = client.flush_locks()
    for name in sorted(freed):
        click.echo(shown(name))
    if not freed:
        say(f"no {'stale ' if stale else ''}locks of app {client.app} to free (--app)")


def _flush_stale(settings: Settings) -> set[str]:
    client = settings.client()
    longest = max((lock.ttl for lock in client.locks() if lock.stale), default=None)
    if longest is not None:
        say(f"watching for {1.1 * longest:.0f} s whether anybody renews what looks stale")
    return client.flush_stale()
