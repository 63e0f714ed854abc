"""JSON that nests deeper than Python reads: an API server stores it in anybody's managedFields."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasklock.transport.wire import DEEPEST, event_of, parse, read_reply, shallow

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"{}[]\\\n\u2028é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a"{}[]\\'), inner, max_size=3),
)


def nested(levels: int) -> bytes:
    return b'{"items":[{"metadata":{"name":"a"}}],"deep":' + b'{"}":[' * levels + b'"]"' + b"]}" * levels + b"}"


def test_what_nests_by_thousands_is_dropped_and_the_rest_is_read() -> None:
    found = parse(nested(20_000))
    assert found["items"] == [{"metadata": {"name": "a"}}]
    reply = read_reply(200, nested(20_000), {}, sent=0.0, dated=False)
    assert reply.body is not None
    assert reply.body["items"] == found["items"]


def test_a_watch_line_that_nests_by_thousands_is_an_event() -> None:
    line = b'{"type":"MODIFIED","object":' + nested(20_000) + b"}"
    event = event_of(line)
    assert event is not None
    assert event.kind == "MODIFIED"


@given(JSON_VALUES)
def test_json_of_ordinary_depth_stays_what_it_is(value: object) -> None:
    data = json.dumps(value).encode()
    assert json.loads(shallow(data)) == value


@pytest.mark.parametrize("levels", [DEEPEST - 1, DEEPEST, DEEPEST + 1])
def test_the_depth_that_is_kept_is_exact(levels: int) -> None:
    found = json.loads(shallow(b"[" * levels + b"1" + b"]" * levels))
    depth = 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert (depth, found) == (min(levels, DEEPEST), 1 if levels <= DEEPEST else None)


def test_what_is_no_json_is_a_value_error_however_deep() -> None:
    with pytest.raises(ValueError, match=r"Expecting|Extra|double"):
        parse(b"[" * 20_000 + b"1")
