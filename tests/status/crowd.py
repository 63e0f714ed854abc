"""Locks to look at: as many as one likes, as real ones look, and as hostile ones do."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256

from tasklock.naming import lease_name
from tasklock_operator.entry import Entry

NOW = 100_000.0
WALL = datetime(2026, 11, 23, 18, 40, 0, tzinfo=UTC)

XSS = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'><b>"
HOSTILE = (
    XSS,
    "evil\u202eexe.fdp\u2066name\u2069",  # turns text around
    "zero\u200bwidth\ufeff and \u3164 filler",
    "line one\nline two\r\x1b[31mred\x00",
    "{{ 7 * 7 }}${7*7}{% raw %}",
    "שלום עולם العربية",
    "z̷̢̛a̸̡͓̝͔̦̹l̵̢̛͇͚g̷o̴̬̊̽" * 6,
    "x" * 1_000,
    "a very long name with words " * 35,
    "\ud800 lone",
    "日本語のロック 🔒",
)


def lock(name: str = "nightly-report", **fields: object) -> Entry:
    """Make a lock that was taken 100 s ago and renewed just now."""
    app, namespace = str(fields.pop("app", "shop")), str(fields.pop("namespace", "default"))
    safe = name.encode("utf-8", "replace").decode()
    lease = str(fields.pop("lease", lease_name(app, safe)))
    entry = Entry(
        namespace=namespace,
        lease=lease,
        app=app,
        name=name[:1_000],
        holder="worker-7d9f-x2x4q_3f9c21ab",
        pod="worker-7d9f-x2x4q",
        pod_uid="5e8c0000-0000-4000-8000-000000000000",
        container="worker",
        note=None,
        acquired=WALL - timedelta(seconds=100),
        renewed=WALL,
        ttl=30,
        token=2082,
        uid=uid_of(namespace, lease),
        version="2090",
        queue=None,
        first_seen=NOW - 100,
        last_changed=NOW - 2,
    )
    return replace(entry, **fields)  # type: ignore[arg-type] # a test's own words


def ticket(of: Entry, number: int, **fields: object) -> Entry:
    """Make the ticket of somebody who waits for ``of``."""
    lease = f"{of.lease}.q.{number:08x}"
    own = {
        "lease": lease,
        "uid": uid_of(of.namespace, lease),
        "queue": sha256(of.lease.encode()).hexdigest()[:16],
        "holder": f"waiter-{number}_00000000",
        "pod": f"waiter-{number}",
        "token": 3_000 + number,
        "note": None,
        "last_changed": NOW - 1,
    }
    return replace(of, **{**own, **fields})  # type: ignore[arg-type] # a test's own words


def uid_of(namespace: str, lease: str) -> str:
    """Make a uid as an API server would."""
    digest = sha256(f"{namespace}/{lease}".encode("utf-8", "replace")).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def crowd(count: int) -> list[Entry]:
    """Make ``count`` locks as a cluster has them, most of them in order, and those who wait for some."""
    return list(_crowd(count))


@cache
def _crowd(count: int) -> tuple[Entry, ...]:
    dice = random.Random(4)
    apps = ("billing", "shop", "search-indexer", "reports", "mail", "sessions")
    works = ("user_count_update", "nightly-report", "reindex", "send-invoices", "Import GLS Versanddaten", "cleanup",
             "rates/EUR", "thumbnail", "vacuum", "sync:crm", "Bestände abgleichen", "backup.db-main")  # fmt: skip
    spaces = ("production", "staging", "default", "team-data", "payments-eu-central-1")
    made: dict[tuple[str, str], Entry] = {}
    number = 0
    while len(made) < count:
        number += 1
        app, work, namespace = dice.choice(apps), dice.choice(works), dice.choice(spaces)
        name = work if number < 40 else f"{work}-{number}"
        pod = f"{app}-worker-{dice.randrange(16**9):09x}-{dice.choice('bcdfghjk')}{dice.randrange(16**4):04x}"
        ttl, age = dice.choice((15, 30, 30, 30, 60, 120)), dice.paretovariate(0.5) * 3 % 90_000
        fresh = dice.random()
        gone = ttl * (fresh / 3 if fresh < 0.97 else 1.05 if fresh < 0.98 else 1.1 + dice.random() * 4)
        entry = lock(
            name,
            app=app,
            namespace=namespace,
            holder=f"{pod}_{dice.randrange(16**8):08x}",
            pod=pod,
            container=dice.choice(("worker", "worker", None)),
            note=dice.choice((None, None, None, "task 8f4e2c, queue high", "run by cron")),
            acquired=WALL - timedelta(seconds=age + gone),
            renewed=WALL - timedelta(seconds=gone),
            ttl=ttl,
            first_seen=NOW - min(age, 40_000) - gone,
            last_changed=NOW - gone,
        )
        made[namespace, entry.lease] = entry
    entries = list(made.values())
    for held in dice.sample(entries, min(len(entries), len(entries) // 20 + (count > 3))):
        entries += [ticket(held, one) for one in range(dice.choice((1, 1, 1, 2, 5)))]
    return tuple(entries)


def hostile_crowd() -> list[Entry]:
    """Make locks whose every text means harm."""
    return [
        lock(text, app="evil", namespace="tenant", holder=text[:1_000], pod=text[:1_000], container=text, note=text)
        for text in HOSTILE
    ]


@dataclass
class Fakes:
    """A book and a health that say what they are told to."""

    entries: list[Entry] = field(default_factory=list)
    is_ready: tuple[bool, str] = (True, "ready")
    is_alive: tuple[bool, str] = (True, "alive")
    ages: dict[str, float] = field(default_factory=lambda: {"leases": 1.5, "pods": 2.5})

    def locks(self) -> list[Entry]:
        return list(self.entries)

    def ready(self) -> tuple[bool, str]:
        return self.is_ready

    def alive(self) -> tuple[bool, str]:
        return self.is_alive

    def watch_age(self) -> dict[str, float]:
        return dict(self.ages)
