"""``tasklock run``: any program under a lock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from tasklock.cli.options import Seconds, Settings, common

if TYPE_CHECKING:
    from collections.abc import Sequence


class RunCommand(click.Command):
    """Leaves everything after ``--`` to the command that is run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split our own arguments from the command's."""
        ours, theirs = _split(args)
        missing = click.UsageError("put -- and the command to run after the lock's name", ctx)
        try:
            rest = super().parse_args(ctx, ours)
        except click.UsageError as error:
            raise (missing if theirs is None and not isinstance(error, click.MissingParameter) else error) from None
        if not ctx.resilient_parsing and not theirs:
            raise missing
        ctx.meta["tasklock.command"] = theirs
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Show where the command goes."""
        return ["NAME", "[OPTIONS]", "--", "COMMAND", "[ARG]..."]


def _split(args: list[str]) -> tuple[list[str], list[str] | None]:
    """Return what is ours, and the command; that is None without a ``--``. A name like -x has a ``--`` of its own."""
    marks = [at for at, arg in enumerate(args) if arg == "--"]
    if len(marks) > 1 and marks[1] == marks[0] + 2 and args[marks[0] + 1].startswith("-"):
        del marks[0]
    return (args[: marks[0]], args[marks[0] + 1 :]) if marks else (args, None)


@click.command("run", cls=RunCommand)
@click.argument("name")
@click.option(
    "--ttl", type=int, metavar="S", help="Seconds after which the lock frees itself unrenewed.  [default: 30]"
)
@click.option("--timeout", type=float, metavar="S", help="Wait for the lock at most so many seconds.")
@click.option("--wait", is_flag=True, help="Wait for the lock as long as it takes.")
@click.option(
    "--grace",
    type=Seconds(min=0),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds from SIGTERM to SIGKILL once the lock is lost; after an expiry at most a third of the ttl, so that "
    "the command has ended before anyone else can be granted the lock.",
)
@click.option("--note", metavar="TEXT", help="Free text that others see with the lock.")
@common
@click.pass_context
def run(  # noqa: PLR0913 - one parameter an option
    ctx: click.Context,
    *,
    name: str,
    ttl: int | None,
    timeout: float | None,
    wait: bool,
    grace: float,
    note: str | None,
) -> None:
    """Run a command while holding lock NAME; do not run it if someone else holds the lock.

    The command runs in a process group of its own, which gets the signals that tasklock gets. If the lock is lost while
    it runs, the whole group is ended: SIGTERM, then SIGKILL. The lock is released however the command ends. If tasklock
    itself is killed with -9, so is the command (on Linux; not what the command has started in turn: exec the last
    program of a script; nor set-user-ID programs as sudo), and the lock frees itself: waiters have it after 1.1 times
    its ttl.

    Without --wait or --timeout it tries once, but a lock that looks abandoned is watched for a little more than its
    ttl, and taken over if nobody renews it.

    The command sees TASKLOCK_NAME, TASKLOCK_LEASE, and TASKLOCK_TOKEN: a number larger than that of every earlier
    holder. Let the storage that it writes to refuse smaller ones.

    \b
    Example:
      tasklock run nightly-report --ttl 60 -- ./report.sh --all
      tasklock run db-migration --timeout 300 -- sh -c 'migrate "$TASKLOCK_TOKEN"'

    \b
    Exit codes:
      the command's own, 128+n if signal n ended it; and
       75  not run: someone else holds the lock     2  not run: wrong usage or value
       76  the lock was lost while it ran          69  Kubernetes API unavailable
      127  command not found                       77  forbidden
      126  command not executable                130  Ctrl-C while waiting (143: SIGTERM)
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    from tasklock.cli.child import check_executable  # noqa: PLC0415 - not for --help
    from tasklock.cli.supervise import Supervisor  # noqa: PLC0415

    if wait and timeout is not None:
        msg = "--wait and --timeout exclude each other"
        raise click.UsageError(msg, ctx)
    command: Sequence[str] = ctx.meta["tasklock.command"]
    settings: Settings = ctx.obj
    client = settings.client(watch_holds=True, announce_process=os.getpid() == 1)
    patience = None if wait else 0.0 if timeout is None else timeout
    supervisor = Supervisor(client, name, ttl=ttl, timeout=patience, note=note, grace=grace)
    check_executable(command[0])
    ctx.exit(supervisor.run(command))
