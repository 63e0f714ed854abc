"""What visitors can bring about does not flood the log."""

from __future__ import annotations

import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from tasklock_operator.logs import _is_no_visitors_fault, _Seldom


def record(error: Exception | None = None, created: float = 0.0) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    made = logging.LogRecord("x", logging.ERROR, "x.py", 1, "said", None, info)
    made.created = created
    return made


@pytest.mark.parametrize(
    ("error", "passes"), [(None, True), (ValueError(), True), (BadHttpMessage("Authorization : Bearer x"), False)]
)
def test_what_is_no_http_is_not_logged_with_its_headers(error: Exception | None, passes: bool) -> None:  # noqa: FBT001
    assert _is_no_visitors_fault(record(error)) is passes


def test_a_loop_that_complains_without_end_is_heard_every_ten_seconds() -> None:
    seldom = _Seldom()
    assert [seldom.filter(record(created=at)) for at in (100, 100.1, 109, 111, 112)] == [
        True,
        False,
        False,
        True,
        False,
    ]
