"""The options that every command has, before or after its name, and the client that they describe."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from tasklock.cli.text import shown
from tasklock.client import LockClient
from tasklock.naming import DEFAULT_APP

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


@dataclass
class Settings:
    """What the options that all commands share said; None where they said nothing."""

    app: str | None = None
    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    verbose: int = 0

    def client(self, **options: Any) -> LockClient:  # noqa: ANN401 - LockClient's own
        """Return a client as the options describe it. Raises InvalidLockError."""
        return LockClient(
            DEFAULT_APP if self.app is None else self.app,
            namespace=self.namespace,
            kubeconfig=self.kubeconfig,
            context=self.context,
            **options,
        )


class Seconds(click.FloatRange):
    """A number of seconds; ``nan`` and ``inf`` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        """Read it."""
        seconds = super().convert(value, param, ctx)
        if not isfinite(seconds):
            self.fail(f"{seconds} is no number of seconds", param, ctx)
        return seconds


def _remember(ctx: click.Context, option: click.Parameter, value: object) -> None:
    settings = ctx.ensure_object(Settings)
    if option.name == "verbose":
        settings.verbose += int(str(value))
        _log_to_stderr(settings.verbose)
    elif value is not None and option.name is not None:
        setattr(settings, option.name, value)


def _option(*names: str, **more: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's own
    return click.option(*names, expose_value=False, callback=_remember, **more)


_OPTIONS: Final = (
    _option("--app", metavar="APP", help=f"Whose locks.  [default: {DEFAULT_APP}; for ls and watch: all apps]"),
    _option("-n", "--namespace", metavar="NS", help="Else TASKLOCK_NAMESPACE, the pod's, or the context's."),
    _option("--context", metavar="CTX", help="Of the kubeconfig."),
    _option("--kubeconfig", metavar="PATH", help="Else in-cluster, KUBECONFIG, ~/.kube/config."),
    _option("-v", "--verbose", count=True, help="Say more on stderr; -vv: each request."),
)


def common(command: F) -> F:
    """Give a command the options that all commands have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _Line(logging.Formatter):
    """One line a record, harmless whatever it quotes."""

    def format(self, record: logging.LogRecord) -> str:
        return f"tasklock: {shown(record.getMessage())}"


def _log_to_stderr(verbose: int) -> None:
    log = logging.getLogger("tasklock")
    for old in [handler for handler in log.handlers if isinstance(handler.formatter, _Line)]:
        log.removeHandler(old)
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    log.addHandler(handler)
    log.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])
    log.propagate = False
