"""The patches, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from tasklock.testing.patch import PatchError, json_patch, merge, strategic_merge

# The examples of RFC 7386, appendix A.
RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


STRATEGIC = [
    ({"a": 1}, {"a": None, "b": 2}, {"b": 2}),
    ({"finalizers": ["x"]}, {"finalizers": ["y"]}, {"finalizers": ["y", "x"]}),
    ({"finalizers": ["x", "y"]}, {"$deleteFromPrimitiveList/finalizers": ["x"]}, {"finalizers": ["y"]}),
    (
        {"conditions": [{"type": "Ready", "status": "False", "reason": "r"}]},
        {"conditions": [{"type": "Ready", "status": "True"}], "$setElementOrder/conditions": [{"type": "Ready"}]},
        {"conditions": [{"type": "Ready", "status": "True", "reason": "r"}]},
    ),
    ({"volumes": [{"name": "v"}]}, {"volumes": [{"name": "v", "$patch": "delete"}]}, {"volumes": []}),
    ({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}),
    ({"state": {"running": {}}}, {"state": {"$patch": "replace", "waiting": {}}}, {"state": {"waiting": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), STRATEGIC)
def test_strategic_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert strategic_merge(target, patch) == result


JSON = [
    ([{"op": "add", "path": "/a/b", "value": 1}], {"a": {"b": 1}, "l": [1, 2]}),
    ([{"op": "add", "path": "/l/0", "value": 0}], {"a": {}, "l": [0, 1, 2]}),
    ([{"op": "add", "path": "/l/-", "value": 3}], {"a": {}, "l": [1, 2, 3]}),
    ([{"op": "remove", "path": "/l/0"}], {"a": {}, "l": [2]}),
    ([{"op": "replace", "path": "/l/1", "value": 9}], {"a": {}, "l": [1, 9]}),
    ([{"op": "move", "from": "/l", "path": "/m"}], {"a": {}, "m": [1, 2]}),
    ([{"op": "copy", "from": "/l/0", "path": "/a/x~1y"}], {"a": {"x/y": 1}, "l": [1, 2]}),
    ([{"op": "test", "path": "/l/0", "value": 1}], {"a": {}, "l": [1, 2]}),
    ([{"op": "replace", "path": "", "value": {}}], {}),
]


@pytest.mark.parametrize(("operations", "result"), JSON)
def test_json_patch(operations: list[Any], result: Any) -> None:
    target = {"a": {}, "l": [1, 2]}
    assert json_patch(target, operations) == result
    assert target == {"a": {}, "l": [1, 2]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/l/0", "value": 2},
        {"op": "remove", "path": "/nothing"},
        {"op": "add", "path": "/nothing/below", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "remove"},
        {"op": "remove", "path": "a"},
        {"op": "invent", "path": "/a"},
    ],
)
def test_an_operation_that_cannot_be_done_is_an_error(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": {}, "l": [1, 2]}, [operation])
