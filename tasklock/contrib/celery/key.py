"""From a task's arguments to the name of its lock."""

from __future__ import annotations

import inspect
import string
import sys
from typing import TYPE_CHECKING, Any, Final

from celery import Task
from celery.local import Proxy

from tasklock.errors import InvalidLockError
from tasklock.naming import lease_name, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_MANY = (list, tuple, dict, set, frozenset)
_INSTEAD: Final = "give the task an argument for it, or take the lock inside the task with client.lock_task(name)"


class Key:
    """A name with arguments of one function in it, as ``user_{user_id}``; checked when it is made."""

    def __init__(self, key: str, function: Callable[..., object]) -> None:
        """Check ``key`` against the arguments of ``function``. Raises InvalidLockError, which says what to do."""
        self.signature = _signature(function)
        self._key = key
        try:
            parts = list(string.Formatter().parse(key))
        except TypeError:
            msg = f"a lock's key must be a string, not {type(key).__name__}: {shortened(key)}"
            raise InvalidLockError(msg) from None
        except ValueError as error:
            msg = f"the key {shortened(key)} cannot be read ({error}): write {{{{ for a brace that stands for itself"
            raise InvalidLockError(msg) from None
        self._fields = [self._checked(field, spec or "") for _, field, spec, _ in parts if field is not None]
        if wrong := [how for _, _, _, how in parts if how and how not in "rsa"]:
            msg = f"the key {shortened(key)} cannot be read (no such conversion: !{wrong[0]}): write !r, !s, !a or none"
            raise InvalidLockError(msg)
        if not self._fields:
            lease_name("celery", key.format())

    def name(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Return the lock's name for a call with these arguments.

        Raises TypeError for arguments that the function does not take, InvalidLockError for such as name no lock.
        """
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        values = {field: self._single(field, call.arguments[field]) for field in self._fields}
        try:
            return self._key.format(**values)
        except (ValueError, TypeError) as error:
            msg = f"the key {shortened(self._key)} does not fit these arguments: {shortened(str(error))}"
            raise InvalidLockError(msg) from None

    def _checked(self, field: str, spec: str) -> str:
        """Return the argument that a field names. No attributes, no indices: only arguments as they are."""
        names = [name for name, one in self.signature.parameters.items() if one.kind in _NAMED]
        if field in names and "{" not in spec:
            return field
        if not field or field.isdecimal():
            what = f"has {{{field}}}, which names no argument: name it"
        elif field.isidentifier() and "{" not in spec:
            what = f"names an argument {shortened(field)} that the task does not have"
        else:
            what = f"has {shortened('{' + field + '}')}, and only whole arguments can be in a key: {_INSTEAD}"
        msg = f"the key {shortened(self._key)} {what}; it has {', '.join(map(ascii, names)) or 'no arguments'}"
        raise InvalidLockError(msg)

    def _single(self, field: str, value: object) -> object:
        """Return ``value`` if each process writes it the same way; else tasks that must not overlap would."""
        kind: Any = type(value)
        nameless = all(getattr(kind, one) is getattr(object, one) for one in ("__format__", "__str__", "__repr__"))
        if not nameless and not isinstance(value, (*_MANY, Task)):
            return value
        msg = (
            f"the key {shortened(self._key)} needs a number or a text as {field!r}, which every worker writes the "
            f"same, not a {kind.__name__}: {_INSTEAD}"
        )
        raise InvalidLockError(msg)


def _signature(function: Callable[..., object]) -> inspect.Signature:
    """Return the signature of what can be locked: a plain function or method. Raises InvalidLockError."""
    if isinstance(function, (Task, Proxy)):
        msg = "@locked was put on a task, and locks a task's function: write it below @app.task, not above"
        raise InvalidLockError(msg)
    ends_late = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if not callable(function) or inspect.isclass(function) or any(check(function) for check in ends_late):
        what = shortened(getattr(function, "__qualname__", function))
        msg = f"@locked takes a plain function, which has done its work when it returns, and {what} is none"
        raise InvalidLockError(msg)
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - annotations may name what is imported for types only

        return inspect.signature(function, annotation_format=Format.STRING)
    return inspect.signature(function)
