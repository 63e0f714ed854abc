"""FastAPI with several workers and replicas: one migrates the database while the others wait; one refreshes the prices.

**At start-up** each worker looks whether the database is up to date; only if not, it takes the lock, looks again, and
migrates. When it is killed at that, the next one goes on. After 300 s without an API server start-up fails.

**In the background** whoever holds the second lock refreshes the prices. When it is killed, another takes over: on the
same machine at once, else after 1.1 times the ttl. When it loses the lock, it is cancelled and queues up again; at
shutdown it releases it. A worker that was paused may do a round too many: let that do no harm.

Try it: ``uv run python examples/recipes/api_server.py``, paste what it prints into another terminal, and there

    DATABASE=/tmp/shop.db uv run uvicorn --app-dir examples/recipes --workers 3 fastapi_startup:app

``curl localhost:8000`` tells who refreshed last: ``kill -9`` it. SQLite stands for the database that replicas share.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from tasklock import LockClient

DATABASE = os.environ["DATABASE"]
MIGRATIONS = ["CREATE TABLE prices (gold REAL)", "ALTER TABLE prices ADD COLUMN by INTEGER"]
client = LockClient(app="shop", watch_holds=True)


def connect() -> closing[sqlite3.Connection]:
    """Open the database; nothing begins a transaction by itself."""
    return closing(sqlite3.connect(DATABASE, timeout=30, isolation_level=None))


def version(db: sqlite3.Connection) -> int:
    """Return how many migrations were made."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate() -> None:
    """Bring the database up to date, in one process of all. Blocks."""
    with connect() as db:
        if version(db) == len(MIGRATIONS):
            return  # as a rule: no lock, no request
        with client.lock_task("migrate", timeout=300) as hold:
            for number in range(version(db), len(MIGRATIONS)):
                print(f"{os.getpid()} makes migration {number + 1}", flush=True)
                time.sleep(0.5)  # real ones take their time
                hold.ensure_held()
                db.execute("BEGIN IMMEDIATE")
                if version(db) == number:  # else this process was paused, and another has made it
                    db.execute(MIGRATIONS[number])
                    db.execute(f"PRAGMA user_version = {number + 1}")
                db.execute("COMMIT")


async def refresh() -> None:
    """Refresh the prices for ever."""
    while True:
        with connect() as db:  # an asynchronous driver, in earnest; a thread would go on after a cancellation
            db.execute("INSERT INTO prices VALUES (?, ?)", (2400 + time.time() % 10, os.getpid()))
        await asyncio.sleep(0.5)


async def refresh_in_turn() -> None:
    """Refresh the prices while this process holds the lock; wait for it in between, without blocking the loop."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with asyncio.timeout(None) as turn:  # ended, with all within, by on_lost, which runs in a thread
                on_lost = lambda _, turn=turn: loop.call_soon_threadsafe(turn.reschedule, 0)  # noqa: E731
                await client.lock_task("refresh", timeout=None, on_lost=on_lost)(refresh)()
        except Exception as error:  # noqa: BLE001 - whatever it was: queue up again
            print(f"{os.getpid()} stops refreshing: {'lost its lock' if turn.expired() else repr(error)}", flush=True)
            await asyncio.sleep(1)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Migrate, then serve and refresh."""
    await asyncio.to_thread(migrate)
    refreshing = asyncio.create_task(refresh_in_turn())
    yield
    refreshing.cancel()
    await asyncio.wait([refreshing])  # until it has released the lock
    await asyncio.to_thread(client.close)  # and until nothing is left of an attempt to get it


app = FastAPI(lifespan=lifespan)


@app.get("/")
def read() -> dict[str, object]:
    """Return the newest price, and which process wrote it."""
    with connect() as db:
        return {"newest": db.execute("SELECT gold, by FROM prices ORDER BY rowid DESC LIMIT 1").fetchone()}
