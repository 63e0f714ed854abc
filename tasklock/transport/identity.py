"""Who we are, without the downward API: pod, container and process, as the Lease tells others.

Sources: ``/proc/self/mountinfo`` (the kubelet mounts ``/dev/termination-log`` from
``…/pods/<uid>/containers/<name>/…``), the claims of a pod-bound service account token, the host name.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from tasklock.lease import CONTAINER, POD, POD_UID, PROCESS

MOUNTINFO: Final = Path("/proc/self/mountinfo")
TOKEN_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_TERMINATION_LOG = re.compile(r"/pods/([0-9a-f-]{36})/containers/([a-z0-9-]+)/[^/ ]+$")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where this process runs.

    Attributes:
        who: the pod's name, or the host's.
        pod, pod_uid, container: None outside of pods, or where it cannot be told.

    """

    who: str
    pod: str | None = None
    pod_uid: str | None = None
    container: str | None = None

    def annotations(self, *, process: bool) -> dict[str, str]:
        """Return what a Lease says of its holder; with ``process``, also the very process that holds it."""
        facts = {
            POD: self.pod,
            POD_UID: self.pod_uid,
            CONTAINER: self.container,
            PROCESS: process_mark(os.getpid()) if process else None,
        }
        return {key: value for key, value in facts.items() if value}


@cache
def identity() -> Identity:
    """Find out where this process runs; asked once per process."""
    pod_uid, container = _from_mountinfo(_read(MOUNTINFO))
    pod, claimed_uid = _from_token(_read(TOKEN_FILE))
    import socket  # noqa: PLC0415 - slow to import, and ssl does so anyway at the first connection

    host = socket.gethostname() or "unknown-host"
    container = container or os.environ.get("TASKLOCK_CONTAINER") or None
    if pod is None and pod_uid is not None:
        pod = host
    return Identity(who=pod or host, pod=pod, pod_uid=pod_uid or claimed_uid, container=container)


def _from_mountinfo(text: str) -> tuple[str | None, str | None]:
    """Return pod uid and container name from the mount of the termination log."""
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] == "/dev/termination-log" and (found := _TERMINATION_LOG.search(fields[3])):  # noqa: PLR2004 - the mount point is the fifth field
            return found[1], found[2]
    return None, None


def _from_token(token: str) -> tuple[str | None, str | None]:
    """Return pod name and uid from the claims of a pod-bound service account token. They are ours: not verified."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        pod = claims["kubernetes.io"]["pod"]
        return str(pod["name"]), str(pod["uid"])
    except (IndexError, KeyError, RecursionError, TypeError, ValueError):
        return None, None


@lru_cache(maxsize=1)
def process_mark(pid: int) -> str | None:
    """Name a process for its neighbours: boot id, PID namespace, pid, start time. None where /proc does not tell."""
    place = _place(os.getpid())
    started = _start_time(pid)
    return f"{place}/{pid}/{started}" if place and started else None


def is_dead(mark: str) -> bool | None:
    """Say whether the process named ``mark`` is surely dead; None where it is no neighbour that we could see.

    A zombie, an unreadable or a hidden entry proves nothing.
    """
    place = _place(os.getpid())
    found = re.fullmatch(r"(.+)/([0-9]{1,10})/([0-9]{1,20})", mark)
    if not place or not found or found[1] != place or not 0 < (pid := int(found[2])) < 2**31:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return None
    started = _start_time(pid)
    if started is None or started == found[3]:
        return False
    return True if _same_time(pid) else None


@lru_cache(maxsize=1)
def _place(me: int) -> str | None:
    """Return boot id and PID namespace of this process, where /proc is its own; else None. Neither ever changes."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        if Path("/proc/self").readlink().name != str(me):
            return None
        return f"{_BOOT_ID.read_text().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - one call, no object
    except OSError:
        return None


if hasattr(os, "register_at_fork"):  # a forked child may have the pid of a process that is dead by then

    def _forget_process() -> None:
        process_mark.cache_clear()
        _place.cache_clear()

    os.register_at_fork(after_in_child=_forget_process)


def _same_time(pid: int) -> bool:
    """Whether a process counts its start time as we do: in another time namespace it does not."""
    try:
        return os.stat(f"/proc/{pid}/ns/time").st_ino == os.stat("/proc/self/ns/time").st_ino  # noqa: PTH116 - as above
    except OSError:
        return not os.path.exists("/proc/self/ns/time")  # noqa: PTH110 - a kernel without them


def _start_time(pid: int) -> str | None:
    """Return field 22 of ``/proc/<pid>/stat``: clock ticks since boot; None where it cannot be read."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    fields = stat.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else None  # noqa: PLR2004 - counted from the third field


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
