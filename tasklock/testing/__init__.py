"""An API server for tests and demos, in this very process: `ApiServer`, and faults to play on it.

It is **for tests and demos only**: no authentication worth the name, no authorisation, everything in memory and gone
at exit. What it answers is checked against a real kube-apiserver by a differential test.

    with tasklock.testing.ApiServer() as api:
        client = LockClient(kubeconfig=api.kubeconfig)

With pytest, the fixture `tasklock_api` is such a server for one test. Needs the extra `tasklock[testing]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .faults import Fault
    from .server import ApiServer

__all__ = ["ApiServer", "Fault"]


def __getattr__(name: str) -> object:
    """Import aiohttp only for whoever starts a server."""
    if name == "ApiServer":
        from .server import ApiServer  # noqa: PLC0415

        return ApiServer
    if name == "Fault":
        from .faults import Fault  # noqa: PLC0415

        return Fault
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
