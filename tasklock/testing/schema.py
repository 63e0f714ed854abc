"""The decoder that reads JSON into shapes as the API server's Go decoder does.

Decoding drops what Go drops (nulls, empty optional fields), brings times to their one form, refuses a value of the
wrong type with Go's words, and collects unknown and duplicate fields for `fieldValidation`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .shapes import STRING, ListOf, Loose, Scalar, Struct
from .times import parse_micro_time, parse_time

if TYPE_CHECKING:
    from .shapes import Shape

Json = dict[str, Any]


class DecodeError(Exception):
    """Raised when JSON does not fit the shape; the message is Go's."""


def duplicate_fields(value: object, path: str = "") -> list[str]:
    """Every key that came twice anywhere in a parsed value, as problems in Go's words."""
    if isinstance(value, dict):
        own = [f'duplicate field "{_join(path, key)}"' for key in getattr(value, "duplicates", ())]
        return own + [found for key, item in value.items() for found in duplicate_fields(item, _join(path, key))]
    if isinstance(value, list):
        return [f for index, item in enumerate(value) for f in duplicate_fields(item, f"{path}[{index}]")]
    return []


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys came twice."""

    duplicates: tuple[str, ...] = ()


def parse_json(text: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON, remembering duplicate keys for `Decoder`. Raises ValueError."""
    return json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)


def _pairs(pairs: list[tuple[str, Any]]) -> _Object:
    value = _Object(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        value.duplicates = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return value


def _no_constant(name: str) -> None:
    msg = f"invalid character {name[0]!r} looking for beginning of value"
    raise ValueError(msg)


class Decoder:
    """Reads one JSON value into a shape; `problems` lists unknown and duplicate fields in Go's words."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def decode(self, shape: Struct, value: Any) -> Json:  # noqa: ANN401 - foreign JSON
        """Return a fresh object of that shape. Raises DecodeError."""
        if not isinstance(value, dict):
            msg = f"json: cannot unmarshal {_json_type(value)} into Go value of type v1.{shape.name}"
            raise DecodeError(msg)
        result = self._struct(shape, value, "")
        assert isinstance(result, dict)  # noqa: S101 - a struct gives an object
        return result

    def _struct(self, shape: Struct, value: Any, path: str) -> Json:  # noqa: ANN401
        read: Json = {}
        for key in getattr(value, "duplicates", ()):
            if key in shape.fields:
                self.problems.append(f'duplicate field "{_join(path, key)}"')
        for key, item in value.items():
            field = shape.fields.get(key)
            if field is None:
                self.problems.append(f'unknown field "{_join(path, key)}"')
            elif item is not None:
                read[key] = self._value(field, item, f"{shape.name}.{_join(path, key)}", _join(path, key))
        written: Json = {}
        for key, field in shape.fields.items():
            item = read.get(key)
            if key in shape.required:
                written[key] = _zero(field) if item is None else item
            elif item is not None and (item or getattr(field, "pointer", False)):
                written[key] = item
        return written

    def _value(self, shape: Shape, value: Any, where: str, path: str) -> Any:  # noqa: ANN401
        if isinstance(shape, Loose):
            return _without_nulls(value)
        if isinstance(shape, Scalar):
            return _scalar(shape, value, where)
        if isinstance(shape, ListOf):
            return self._list(shape, value, where, path)
        if not isinstance(value, dict):
            raise _mismatch(value, where, shape.go)
        if isinstance(shape, Struct):
            return self._struct(shape, value, path)
        self.problems += [f'duplicate field "{_join(path, key)}"' for key in getattr(value, "duplicates", ())]
        return {key: "" if item is None else _scalar(STRING, item, where) for key, item in value.items()}

    def _list(self, shape: ListOf, value: Any, where: str, path: str) -> list[Any]:  # noqa: ANN401
        if not isinstance(value, list):
            raise _mismatch(value, where, shape.go)
        return [
            _zero(shape.item) if item is None else self._value(shape.item, item, where, f"{path}[{index}]")
            for index, item in enumerate(value)
        ]


def _scalar(shape: Scalar, value: Any, where: str) -> Any:  # noqa: ANN401
    if shape.bits:
        if type(value) is int and -(1 << shape.bits - 1) <= value < 1 << shape.bits - 1:
            return value
        raise _mismatch(value, where, shape.go, literal=True)
    if shape.go == "bool":
        if isinstance(value, bool):
            return value
        raise _mismatch(value, where, shape.go)
    if not isinstance(value, str):
        raise _mismatch(value, where, "string" if "Time" in shape.go else shape.go)
    try:
        if shape.go == "MicroTime":
            return parse_micro_time(value)
        return parse_time(value) if shape.go == "Time" else value
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _mismatch(value: object, where: str, go: str, *, literal: bool = False) -> DecodeError:
    return DecodeError(
        f"json: cannot unmarshal {_json_type(value, literal=literal)} into Go struct field {where} of type {go}"
    )


def _json_type(value: object, *, literal: bool = False) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {json.dumps(value)}" if literal else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _zero(shape: Shape) -> Any:  # noqa: ANN401
    if isinstance(shape, Struct):
        return {key: _zero(field) for key, field in shape.fields.items() if key in shape.required}
    if isinstance(shape, Scalar):
        return 0 if shape.bits else None if "Time" in shape.go else ""
    return [] if isinstance(shape, ListOf) else {}


def _without_nulls(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
