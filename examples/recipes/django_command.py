"""A Django management command that runs in one pod at a time, whoever starts it: a CronJob, a deploy hook, a person.

Copy ``OneAtATime`` into a module of your project, say ``shop/locked.py``. In front of a command's base class it works
for your own commands and for those of others:

    class Command(OneAtATime):                       # shop/management/commands/rebuild_index.py
        lock = "rebuild-index"
        def handle(self, *args, **options): ...      # self.hold.ensure_held() between two steps

    class Command(OneAtATime, migrate.Command):      # shop/management/commands/migrate.py replaces Django's own
        lock = "migrate"

Without ``--wait`` it does not run while somebody else holds the lock. The exit statuses are those of ``tasklock run``:
75 not run, it is locked; 76 the lock was lost while it ran; 69 not run, the Kubernetes API is of no use.
``call_command`` raises a CommandError with that number as its ``returncode``.

Try it: ``uv run python examples/recipes/api_server.py``, paste what it prints into two more terminals, and in both

    uv run python examples/recipes/django_command.py             # the second says who is at it, and exits with 75
    uv run python examples/recipes/django_command.py --wait      # the second runs after the first

Kill one with ``kill -9``, and the next may run: on the same machine at once, else after 1.1 to 3 times the ttl.
"""

import signal
import sys
import time
from typing import Any

import django
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasklock import Hold, LockClient, LockLostError, TaskLockedException, TaskLockError


class OneAtATime(BaseCommand):
    """A command that runs under the lock that it names, over all pods."""

    client = LockClient(app="shop", watch_holds=True)  # sends nothing before the first use
    lock: str
    hold: Hold

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:  # noqa: ANN401 - Django's
        """Add ``--wait`` to whatever options the command has."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--wait", action="store_true", help="Wait for the lock, as long as it takes.")
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """End in order when the pod is stopped, so that the lock is free at once."""
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        super().run_from_argv(argv)

    def execute(self, *args: object, **options: Any) -> str | None:  # noqa: ANN401 - Django's
        """Run the command, its system checks included, while the lock is held."""
        try:
            with self.acquire(wait=options.pop("wait", False)) as self.hold:
                output: str | None = super().execute(*args, **options)
                return output
        except TaskLockError as error:
            lost, locked = isinstance(error, LockLostError), isinstance(error, TaskLockedException)
            raise CommandError(str(error), returncode=76 if lost else 75 if locked else 69) from error

    def acquire(self, *, wait: bool) -> Hold:
        """Take the lock. Raises TaskLockError."""
        lock = self.client.lock_task(self.lock)
        try:
            return lock.acquire()
        except TaskLockError as error:
            stale = isinstance(error, TaskLockedException) and error.stale  # nobody seems to renew it
            if not (wait or stale):
                raise
            self.stderr.write(f"{error}: waiting")
            return lock.acquire(None if wait else 1.1 * lock.ttl + 1)  # a new process has to see that for itself


class Command(OneAtATime):
    """An example of a command."""

    help = "Rebuild the search index."
    lock = "rebuild-index"

    def handle(self, *_args: object, **_options: object) -> None:
        """Do it in steps, and look before each whether the lock is still ours."""
        for step in range(1, 11):
            self.hold.ensure_held()
            self.stdout.write(f"step {step} of 10 under token {self.hold.token}")
            self.stdout.flush()
            time.sleep(1)


if __name__ == "__main__":
    settings.configure()
    django.setup()
    Command().run_from_argv([sys.argv[0], "rebuild_index", *sys.argv[1:]])
