"""The same conditional statements on SQLite and PostgreSQL: a row never accepts a smaller token than it has seen."""

from __future__ import annotations

import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from counter import LateWriteError
from sql import SqlCounter, connect

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def counter(database: str) -> Iterator[SqlCounter]:
    counter = connect(database)
    counter.reset()
    counter.begin(1)
    counter.write(0, 1)
    counter.reset()
    yield counter
    counter.close()


def test_the_same_holder_writes_as_often_as_it_likes(counter: SqlCounter) -> None:
    assert counter.begin(5) == 0
    for value in (1, 2, 3):
        counter.write(value, 5)
    assert counter.begin(6) == 3


def test_a_smaller_token_is_refused_and_changes_nothing(counter: SqlCounter) -> None:
    counter.write(7, 50)
    for late in (1, 49):
        with pytest.raises(LateWriteError, match=f"larger token than {late}: the lock was lost"):
            counter.write(8, late)
        with pytest.raises(LateWriteError):
            counter.begin(late)
    assert counter.begin(50) == 7


def test_who_has_begun_shuts_out_everybody_before_even_if_it_writes_nothing_yet(counter: SqlCounter) -> None:
    """An earlier holder that wrote between our read and our write would lose what it wrote."""
    assert counter.begin(10) == 0
    assert counter.begin(20) == 0
    with pytest.raises(LateWriteError):
        counter.write(1, 10)
    counter.write(1, 20)


def test_tokens_are_numbers_of_64_bits(counter: SqlCounter) -> None:
    counter.write(1, 2**62)
    with pytest.raises(LateWriteError):
        counter.write(2, 2**62 - 1)


def test_a_reset_lets_smaller_tokens_in_again(counter: SqlCounter) -> None:
    counter.write(7, 500)
    counter.reset()
    assert counter.begin(5) == 7


def test_writers_that_race_never_lower_it(counter: SqlCounter, database: str) -> None:
    tokens = list(range(1, 41))
    random.Random(7).shuffle(tokens)

    def write(token: int) -> int | None:
        mine = connect(database)
        try:
            mine.write(token, token)
        except LateWriteError:
            return None
        finally:
            mine.close()
        return token

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(write, tokens))
    assert counter.read_unfenced() == 40
    assert 40 in done


def test_the_statement_of_the_readme_does_it(tmp_path: object) -> None:
    db = sqlite3.connect(f"{tmp_path}/invoices.db")
    db.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, total INTEGER, token INTEGER)")
    db.execute("INSERT INTO invoices VALUES (4711, 0, 57)")
    statement = "UPDATE invoices SET total = ?, token = ? WHERE id = 4711 AND token <= ?"
    assert [db.execute(statement, (1, token, token)).rowcount for token in (41, 57, 58)] == [0, 1, 1]
    db.close()
