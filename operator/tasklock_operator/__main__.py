"""``tasklock-operator``, ``python -m tasklock_operator``. Needs the extra ``tasklock[operator]``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.util import find_spec
from typing import Final

USAGE: Final = 2
EXTRA: Final = ("aiohttp", "click", "jinja2", "kopf", "prometheus_client")


def main() -> None:
    """Run the operator until a signal ends it; exit 0 then, 2 for a configuration that cannot be used, 1 otherwise."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # PID 1 has none by default; kopf sets its own
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        sys.stderr.write(f"tasklock-operator: it needs {', '.join(missing)}: pip install 'tasklock[operator]'\n")
        sys.exit(USAGE)
    import click  # noqa: PLC0415 - of the extra

    from tasklock_operator.settings import PREFIX, VARIABLES  # noqa: PLC0415 - after the check for the extra

    width = max(len(name) for name, _, _ in VARIABLES)
    lines = [f"{PREFIX}{name:<{width}}  {what} [{default}]" for name, default, what in VARIABLES]
    command = click.Command(
        "tasklock-operator",
        callback=run,
        help="Free the locks whose holder died or stopped renewing, and show what is held.\n\n"
        "Environment (defaults in brackets):\n\n\b\n" + "\n".join(lines) + "\n\n"
        "The cluster is that of the pod, else of KUBECONFIG. Ends in order on SIGTERM.",
        context_settings={"max_content_width": 150, "help_option_names": ["-h", "--help"]},
    )
    click.version_option(package_name="tasklock")(command)
    command.main(prog_name="tasklock-operator")


def run() -> None:
    """Run the operator."""
    from tasklock.errors import LockApiError  # noqa: PLC0415 - --help needs none of it
    from tasklock_operator.logs import configure  # noqa: PLC0415 - likewise
    from tasklock_operator.settings import Settings, SettingsError  # noqa: PLC0415 - likewise

    try:
        settings = Settings.from_env(os.environ)
        configure(settings)
        from tasklock_operator.serve import serve  # noqa: PLC0415 - slow to import

        asyncio.run(serve(settings))
    except (SettingsError, LockApiError) as error:
        sys.stderr.write(f"tasklock-operator: {error}\n")
        sys.exit(USAGE)
    except OSError as error:
        sys.stderr.write(f"tasklock-operator: {error.strerror or error}\n")
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
