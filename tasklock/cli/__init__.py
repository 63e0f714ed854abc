"""The command line: ``tasklock``, ``kubectl tasklock``, ``python -m tasklock``. Needs the extra ``tasklock[cli]``.

Each command lives in a module of its own, imported when it is used: ``tasklock --help`` costs little more than Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tasklock.cli.exits import USAGE


def main() -> None:
    """Run the command line and exit."""
    try:
        from tasklock.cli.commands import cli  # noqa: PLC0415 - click is an extra
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("tasklock: the command line needs click and rich: pip install 'tasklock[cli]'\n")
        sys.exit(USAGE)
    called = Path(sys.argv[0]).name
    cli.main(prog_name="kubectl tasklock" if called.startswith("kubectl-") else "tasklock")
