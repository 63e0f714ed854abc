"""The root of the command line: which commands there are, and how every error becomes one sentence and an exit code."""

from __future__ import annotations

import errno
import importlib
import logging
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from tasklock import __version__
from tasklock.cli.exits import SIGNAL, SOFTWARE, UNAVAILABLE, code_of
from tasklock.cli.options import Settings, common
from tasklock.cli.text import say, shown
from tasklock.errors import TaskLockError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {  # name: (module, what it does)
    "run": ("run", "Run a command under a lock."),
    "ls": ("ls", "List the locks that are held."),
    "is-locked": ("manage", "Tell by the exit code whether a lock is held."),
    "release": ("manage", "Force locks free, whoever holds them."),
    "flush": ("manage", "Force all locks of an app free, or those that nobody renews."),
    "watch": ("watch", "Watch locks being taken and released."),
    "demo": ("demo.command", "See it work: processes contend, one is killed, nothing overlaps."),
}


class Root(click.Group):
    """Imports a command when it is used; turns whatever goes wrong into one sentence on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands' names, in the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tasklock.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override] # noqa: ANN401 - click's overloads
        """Run the command line and exit."""
        try:
            result = super().main(args, prog_name, **{**extra, "standalone_mode": False})
            code = result if isinstance(result, int) else 0
        except click.UsageError as error:
            usage = error.ctx.command_path if error.ctx else "tasklock"
            say(f"{_sentence(error)} (see '{usage} --help')", of=usage)
            code = error.exit_code
        except click.ClickException as error:
            say(_sentence(error))
            code = error.exit_code
        except click.Abort as abort:
            interrupted = isinstance(abort.__cause__, KeyboardInterrupt)
            code = SIGNAL + signal.SIGINT if interrupted else 1
        except TaskLockError as error:
            say(shown(error))
            code = code_of(error)
        except OSError as error:
            code = 1 if error.errno == errno.EPIPE else _unexpected(error)
            if code == 1:  # whoever read our output has gone: nothing more to say, at exit neither
                sys.stdout = sys.stderr = _Nowhere()
        except ModuleNotFoundError as error:
            if error.name not in {"rich", "aiohttp"}:
                code = _unexpected(error)
            else:
                say(f"this command needs {error.name}: pip install 'tasklock[cli,testing]'")
                code = UNAVAILABLE
        except Exception as error:  # noqa: BLE001 - 1 means "not locked", so Python's own exit code will not do
            code = _unexpected(error)
        sys.exit(code)


def _sentence(error: click.ClickException) -> str:
    message = " ".join(shown(line.strip()) for line in error.format_message().splitlines() if line.strip())
    return message[:1].lower() + message[1:].removesuffix(".")


def _unexpected(error: Exception) -> int:
    if logging.getLogger("tasklock").isEnabledFor(logging.INFO):
        traceback.print_exc()
    say(f"an error of its own: {type(error).__name__}: {shown(error)} (-v shows where)")
    return SOFTWARE


class _Nowhere:
    """A closed pipe's replacement."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="tasklock %(version)s")
@common
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Kubernetes-native task locks: a lock is one Lease, taken by creating it, released by deleting it.

    The options below can also follow the command.

    \b
    Example:
      tasklock run nightly-report -- ./report.sh    run it, unless it runs already
      tasklock ls                                   who holds what
      tasklock demo                                 see it work, no cluster needed

    \b
    Exit codes:
      0  done                          75  the lock is held by someone else
      2  wrong usage or value          76  the lock was lost
     69  Kubernetes API unavailable    77  forbidden
    130  Ctrl-C (143: SIGTERM)         70  an error of tasklock's own
    """  # noqa: D301 - \b is click's mark for a paragraph kept as it is
    ctx.ensure_object(Settings)
