"""``python -m tasklock``: the command line."""

from __future__ import annotations

from tasklock.cli import main

if __name__ == "__main__":
    main()
