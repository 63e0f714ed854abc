"""The errors: one tree, drawn in the docstring; and each can cross to another process."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from tasklock import errors
from tasklock.errors import (
    InvalidLockError,
    LockApiError,
    LockForbiddenError,
    LockLostError,
    LockTimeoutError,
    TaskLockedException,
    TaskLockError,
)
from unit.script import EPOCH

EXAMPLES = [
    TaskLockError("a"),
    TaskLockedException("b", name="n", holder="h", since=EPOCH, pod="p", ttl=5, stale=True),
    LockTimeoutError("c", name="n", holder="h", since=EPOCH, pod="p", ttl=5, stale=True),
    LockLostError("d", name="n", reason="expired"),
    LockApiError("e", status=503, reason="ServiceUnavailable"),
    LockForbiddenError("f", verb="create"),
    InvalidLockError("g"),
]


def drawn() -> dict[str, str]:
    """Read the tree of the module's docstring: each class and its parent."""
    parents: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │]*(?:[├└]── )?)([A-Z]\w+(?:Error|Exception))\b", line)
        if found and line.startswith("    "):
            depth = len(found[1])
            while stack and stack[-1][0] >= depth:
                stack.pop()
            parents[found[2]] = stack[-1][1] if stack else "Exception"
            stack.append((depth, found[2]))
    return parents


def defined() -> dict[str, type[Exception]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, Exception) and thing.__module__ == errors.__name__
    }


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    real = {name: thing.__bases__[0].__name__ for name, thing in defined().items()}
    assert drawn() == real
    assert len(real) == 7


def test_every_class_says_when_it_is_raised_and_what_it_carries() -> None:
    for thing in defined().values():
        assert thing.__doc__


def test_a_timeout_is_a_timeout_and_a_bad_value_a_value_error() -> None:
    assert issubclass(LockTimeoutError, TimeoutError)
    assert issubclass(LockTimeoutError, TaskLockedException)
    assert issubclass(InvalidLockError, ValueError)
    assert not issubclass(TaskLockedException, (LockApiError, OSError))
    assert not issubclass(LockApiError, TaskLockedException)


def test_there_is_an_example_of_every_class() -> None:
    assert {type(error) for error in EXAMPLES} == set(defined().values())


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling_with_all_it_carries(error: Exception) -> None:
    """A pool of processes that cannot read a worker's error breaks, and takes all its tasks along."""
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(made) is type(error)
        assert str(made) == str(error)
        assert vars(made) == vars(error)
