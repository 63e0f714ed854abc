"""The service of the example: what it answers to which token, also after a restart."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from http_service import make_app
from sql import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import web


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    counter = connect(str(folder / "counter.db"))
    async with TestClient(TestServer(make_app(counter))) as client:
        yield client
    counter.close()


async def put(client: Any, value: int, token: str | None) -> tuple[int, str]:
    headers = {} if token is None else {"Fencing-Token": token}
    async with client.put("/counters/visits", json={"value": value}, headers=headers) as response:
        return response.status, await response.text()


async def read(client: Any) -> int:
    async with client.get("/counters/visits") as response:
        return int((await response.json())["value"])


def test_a_smaller_token_is_answered_412_with_a_sentence(tmp_path: Path) -> None:
    async def told() -> None:
        async with service(tmp_path) as client:
            assert await put(client, 1, "57") == (204, "")
            status, text = await put(client, 2, "41")
            assert (status, text) == (
                412,
                "row 'visits' was written under a larger token than 41: the lock was lost\n",
            )
            assert await put(client, 3, "57") == (204, "")
            assert await read(client) == 3

    asyncio.run(told())


def test_beginning_raises_the_token_before_anything_is_written(tmp_path: Path) -> None:
    async def told() -> None:
        async with service(tmp_path) as client:
            async with client.post("/counters/visits/begin", headers={"Fencing-Token": "60"}) as response:
                assert await response.json() == {"value": 0}
            assert (await put(client, 1, "59"))[0] == 412

    asyncio.run(told())


def test_a_restart_forgets_no_token(tmp_path: Path) -> None:
    async def told(token: str, expected: int) -> None:
        async with service(tmp_path) as client:
            assert (await put(client, 1, token))[0] == expected

    asyncio.run(told("57", 204))
    asyncio.run(told("41", 412))


@pytest.mark.parametrize(
    ("token", "status"), [(None, 428), ("", 400), ("-1", 400), ("1e3", 400), ("9" * 19, 400), ("a", 400)]
)
def test_a_token_that_is_missing_or_none_is_told_so(tmp_path: Path, token: str | None, status: int) -> None:
    async def told() -> None:
        async with service(tmp_path) as client:
            found, text = await put(client, 1, token)
            assert found == status
            assert "Fencing-Token" in text
            assert await read(client) == 0

    asyncio.run(told())
