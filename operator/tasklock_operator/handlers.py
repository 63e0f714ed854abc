"""kopf's handlers: ``kopf run --all-namespaces -m tasklock_operator.handlers``, or ``tasklock-operator``.

Only ``on.event``: kopf then writes nothing to Leases or Pods, neither finalizers nor annotations, and has no need of
CRDs, peering or storage. Everything is configured by ``TASKLOCK_OPERATOR_*`` variables; under ``kopf run`` the
namespaces are those of kopf's own options, and have to be the same.
"""

from __future__ import annotations

import logging
import os
import uuid
from typing import TYPE_CHECKING, Final, cast

import kopf

from tasklock.errors import LockApiError
from tasklock.lease import LABEL_MANAGED_BY, MANAGED_BY
from tasklock_operator.app import App
from tasklock_operator.link import SERVER, WATCH_SECONDS
from tasklock_operator.nothing import NoDiffBase, NoProgress
from tasklock_operator.settings import Settings, SettingsError

if TYPE_CHECKING:
    import aiohttp

    from tasklock_operator.link import Event

LEASES: Final = ("coordination.k8s.io", "v1", "leases")
PODS: Final = ("", "v1", "pods")
PAGE: Final = 250  # objects: one page is parsed in some tens of milliseconds, during which nothing else is done
SILENT_SECONDS: Final = 35.0  # a watch that is silent for longer than it may last is dead


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: object) -> None:
    """Set kopf up; start what runs beside it, unless whoever runs kopf has done so."""
    if "app" in memo:
        tune(settings, memo.app.settings)
        return
    try:
        ours = Settings.from_env(os.environ)
    except SettingsError as error:
        raise kopf.PermanentError(str(error)) from None
    if settings.peering.clusterwide and ours.namespaces:
        msg = f"kopf runs for all namespaces, TASKLOCK_OPERATOR_NAMESPACES says {','.join(ours.namespaces)}: use -n"
        raise kopf.PermanentError(msg)
    tune(settings, ours)
    app = App(ours)
    try:
        await app.start()
    except (LockApiError, OSError) as error:
        await app.stop()
        raise kopf.PermanentError(getattr(error, "strerror", None) or str(error)) from None
    memo.app = app


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: object) -> None:
    """End what runs beside kopf, for which kopf would wait in vain."""
    if "app" in memo:
        await memo.app.stop()


@kopf.on.login()
async def login(memo: kopf.Memo, **_: object) -> kopf.AiohttpSession:
    """Have kopf speak to the API server through the link, whose transport knows about credentials."""
    return kopf.AiohttpSession(server=SERVER, aiohttp_session=cast("aiohttp.ClientSession", memo.app.link))


@kopf.on.event(*LEASES)
async def lease(event: Event, memo: kopf.Memo, **_: object) -> None:
    """Have kopf list and watch Leases. What it would tell of them takes a shorter way, see ``link``."""
    memo.app.lease(event)


async def pod(event: Event, memo: kopf.Memo, **_: object) -> None:
    """Pass on what happened to a Pod."""
    memo.app.pod(event)


def tune(settings: kopf.OperatorSettings, ours: Settings) -> None:
    """Have kopf select on the server, store nothing, write nothing, observe nothing else, and be quiet."""
    if ours.pods:
        kopf.on.event(*PODS)(pod)
    settings.watching.label_selectors[LEASES] = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
    if ours.pod_selector:
        settings.watching.label_selectors[PODS] = ours.pod_selector
    settings.watching.chunk_size = PAGE
    settings.watching.initial_streaming = False  # the link counts on lists
    settings.watching.server_timeout = int(WATCH_SECONDS)
    settings.watching.inactivity_timeout = SILENT_SECONDS
    settings.networking.error_backoffs = ()
    settings.networking.request_timeout = None
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.finalizer = f"tasklock.dev/none-{uuid.uuid4()}"  # kopf removes its own from what it sees
    settings.queueing.idle_timeout = 0.5
    if ours.log_level != "debug":
        for name in ("kopf", "kopf.objects"):  # a line for each event
            logging.getLogger(name).setLevel(logging.WARNING)
