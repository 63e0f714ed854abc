"""Runs kopf with what it does not have of its own: our tasks beside it, and no memory of objects."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import kopf

from tasklock_operator import handlers  # noqa: F401 - registers them
from tasklock_operator.app import App
from tasklock_operator.nothing import NoMemories

if TYPE_CHECKING:
    from tasklock_operator.settings import Settings


_log = logging.getLogger("tasklock_operator")


async def serve(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT. Raises LockApiError and OSError where it cannot start."""
    app = App(settings)
    try:
        await app.start()
        await kopf.operator(
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            memo=kopf.Memo(app=app),
            memories=NoMemories(),
        )
        _log.info("stopped")
    finally:
        await app.stop()
