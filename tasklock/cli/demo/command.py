"""The command ``tasklock demo``: its options, and what happens around the play."""

from __future__ import annotations

import secrets
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import click

from tasklock.cli.exits import SIGNAL
from tasklock.cli.options import Settings, common

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tasklock.cli.demo.play import Play
    from tasklock.client import LockClient

LOCKS: Final = ("invoices", "reports", "backup", "search-index", "thumbnails", "mailing", "imports", "billing")
TTL: Final = 15  # seconds


@click.command("demo")
@click.option("--seconds", type=click.IntRange(2, 30), default=15, show_default=True, metavar="N")
@click.option("--workers", type=click.IntRange(2, 32), default=6, show_default=True, metavar="N", help="Processes.")
@click.option("--locks", type=click.IntRange(1, len(LOCKS)), default=3, show_default=True, metavar="N")
@click.option("--record", metavar="PREFIX", hidden=True, help="Draw PREFIX-light.svg and PREFIX-dark.svg of the end.")
@common
@click.pass_context
def demo(ctx: click.Context, *, seconds: int, workers: int, locks: int, record: str | None) -> None:
    """See it work: processes contend for locks, one is killed with -9, and what they report is checked.

    Without --context or --kubeconfig on an API server of its own, in memory, for as long as it runs; with them on that
    cluster and namespace, under an app of its own (tasklock-demo-...), whose locks are removed at the end.

    \b
    Example:
      tasklock demo
      tasklock demo --context staging -n scratch --workers 12

    \b
    Exit codes:
      0  every promise was kept        69  Kubernetes API unavailable
      1  one was broken                77  forbidden
      2  wrong usage or value         130  Ctrl-C (143: SIGTERM)
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    settings: Settings = ctx.obj
    settings.app = settings.app or f"tasklock-demo-{secrets.token_hex(4)}"
    names = list(LOCKS[:locks])
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        from tasklock.cli.demo.play import Play  # noqa: PLC0415 - rich, only where something is drawn

        play = stack.enter_context(Play(seconds=seconds, record=record))
        own_server = settings.kubeconfig is None and settings.context is None
        if own_server:
            settings.kubeconfig, settings.namespace = play.serve(), None
        client = stack.enter_context(settings.client(ttl=TTL))
        with client.lock_task("rehearsal"):  # says at once what is wrong with the cluster, if anything
            pass
        where = "an API server of its own" if own_server else f"namespace {client.namespace}"
        if not own_server:
            stack.callback(client.flush_locks)
        play.cast(
            [f"worker-{number}" for number in range(1, workers + 1)],
            names,
            title=f"[bold]tasklock demo[/]: {workers} processes, {locks} locks, {where}",
            told={
                "app": settings.app,
                "kubeconfig": settings.kubeconfig,
                "context": settings.context,
                "namespace": client.namespace,
                "ttl": TTL,
            },
        )
        _perform(play, client)
    ctx.exit(play.result)


def _perform(play: Play, client: LockClient) -> None:
    try:
        play.perform()
    finally:
        play.dismiss()
    play.conclude(left_behind=[lock.name for lock in client.locks()])


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end us as Ctrl-C does: in order."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(SIGNAL + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
