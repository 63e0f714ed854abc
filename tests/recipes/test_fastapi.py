"""The FastAPI recipe: real workers of uvicorn, of which some are killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from recipes.children import PATIENCE, RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from contract.place import Place
    from recipes.children import Child, Start

UVICORN = (sys.executable, "-m", "uvicorn", "--app-dir", RECIPES, "--port", "0", "--no-access-log")
STARTED = "Application startup complete."


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def serve(start: Start, database: Path) -> Callable[[int], Child]:
    """Return what starts a server with so many workers."""
    return lambda workers: start(*UVICORN, "--workers", str(workers), "fastapi_startup:app", DATABASE=str(database))


@pytest.fixture
def recipe(embedded: Place, database: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give the recipe in this process, with a lock that is lost soon once the API server is away."""
    monkeypatch.setenv("DATABASE", str(database))
    import fastapi_startup  # noqa: PLC0415 - reads its environment

    monkeypatch.setattr(fastapi_startup, "DATABASE", str(database))
    monkeypatch.setattr(fastapi_startup, "client", embedded.client("shop", ttl=2))
    return fastapi_startup


def writers(database: Path) -> list[int]:
    """Return which process wrote each of the prices."""
    with closing(sqlite3.connect(database, timeout=30)) as db:
        return [by for (by,) in db.execute("SELECT by FROM prices ORDER BY rowid")]


def migrations(server: Child) -> list[str]:
    return re.findall(r"makes migration (\d+)", server.said)


def test_one_worker_migrates_one_refreshes_and_another_goes_on_where_it_is_killed(
    place: Place, serve: Callable[[int], Child], database: Path
) -> None:
    server = serve(3)
    server.until_said(STARTED, times=3)
    assert migrations(server) == ["1", "2"], "while the others waited"
    server.until(lambda: len(writers(database)) >= 2, "prices were written")
    leader = writers(database)[0]

    os.kill(leader, signal.SIGKILL)
    server.until(lambda: writers(database)[-1] != leader, "another refreshed")
    server.until_said(STARTED, times=4)  # uvicorn starts a worker in its place
    assert migrations(server) == ["1", "2"]
    assert len([by for by, _ in groupby(writers(database))]) == 2, "one at a time"

    before = len(writers(database))
    assert place.client("shop").flush_locks("refresh") == {"refresh"}
    server.until_said("stops refreshing: lost its lock")
    server.until(lambda: len(writers(database)) > before + 2, "somebody refreshed again")
    url = re.search(r"http://127\.0\.0\.1:\d+", server.said)
    assert url is not None
    assert httpx.get(url[0], timeout=60).json()["newest"][1] in writers(database)

    assert len(place.client("shop").locks()) == 1
    assert server.end() == 0, server.said
    assert place.client("shop").locks() == []
    assert "Traceback" not in server.said


def test_a_worker_that_is_killed_at_a_migration_leaves_it_to_another(
    serve: Callable[[int], Child], database: Path
) -> None:
    server = serve(2)
    server.until_said("makes migration 2")
    migrating = re.findall(r"(\d+) makes migration 2", server.said)
    os.kill(int(migrating[0]), signal.SIGKILL)
    server.until_said(STARTED, times=2)
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    server.until(lambda: writers(database), "prices were written")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what it waits for is not told
            await asyncio.sleep(0.02)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return what returns all that was printed so far."""
    parts: list[str] = []

    def said() -> str:
        parts.append(capsys.readouterr().out)
        return "".join(parts)

    return said


def test_an_api_server_that_is_away_ends_the_refreshing_until_it_is_back(
    recipe: ModuleType, embedded: Place, database: Path, said: Callable[[], str]
) -> None:
    server = embedded.server
    assert server is not None

    async def told() -> None:
        async with recipe.lifespan(recipe.app):
            await until(lambda: writers(database))
            server.stop()
            await until(lambda: "stops refreshing: lost its lock" in said())
            before = len(writers(database))
            server.start()
            await until(lambda: len(writers(database)) > before)

    asyncio.run(told())
    assert embedded.client("shop").locks() == [], "released at shutdown"


def test_a_database_that_is_up_to_date_needs_no_api_server_to_start(recipe: ModuleType, embedded: Place) -> None:
    recipe.migrate()
    assert embedded.requests().count("POST") == 1
    recipe.migrate()
    assert embedded.requests() == []


def test_what_goes_wrong_in_a_round_is_told_and_tried_again(
    recipe: ModuleType, database: Path, said: Callable[[], str]
) -> None:
    recipe.migrate()
    rename(database, "prices", "hidden")

    async def told() -> None:
        async with recipe.lifespan(recipe.app):
            await until(lambda: "stops refreshing: OperationalError('no such table: prices')" in said())
            rename(database, "hidden", "prices")
            await until(lambda: writers(database))

    asyncio.run(told())


def rename(database: Path, table: str, name: str) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"ALTER TABLE {table} RENAME TO {name}")
