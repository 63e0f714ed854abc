"""From ``values.yaml`` to ``values.schema.json``: defaults say the type, comments the meaning and the bounds.

A comment line ``# @schema {…}`` above a key is YAML and is merged into the key's schema; the lines after ``# --``
are its description. A mapping with keys allows no others. A value that the default does not tell the shape of
(an empty list or mapping, null) must have an ``@schema`` line.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_LABEL: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_NAMESPACE: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
_SUBJECT: Final = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["ServiceAccount", "User", "Group"]},
        "name": {"type": "string", "minLength": 1},
        "namespace": _NAMESPACE,
    },
    "required": ["name"],
    "additionalProperties": False,
}
_OURS: Final = r"^(app\.kubernetes\.io/(name|instance|component|version|part-of|managed-by)|helm\.sh/chart)$"

DEFINITIONS: Final[dict[str, Any]] = {
    "binding": {
        "type": "object",
        "properties": {"namespace": _NAMESPACE, "subjects": {"type": "array", "items": _SUBJECT, "minItems": 1}},
        "required": ["namespace", "subjects"],
        "additionalProperties": False,
    },
    "lockClient": {
        **_SUBJECT,
        "if": {"properties": {"kind": {"enum": ["User", "Group"]}}, "required": ["kind"]},
        "then": {"properties": {"namespace": False}},
        "else": {"required": ["name", "namespace"]},
    },
    "labels": {
        "type": "object",
        "propertyNames": {"not": {"pattern": _OURS}},  # a key twice is no YAML
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": _LABEL},
    },
    "probe": {
        "type": "object",
        "properties": {
            f"{name}{unit}": {"type": "integer", "minimum": least}
            for name, unit, least in (
                ("initialDelay", "Seconds", 0),
                ("period", "Seconds", 1),
                ("timeout", "Seconds", 1),
                ("failureThreshold", "", 1),
                ("successThreshold", "", 1),
            )
        },
        "additionalProperties": False,
    },
    "strings": {"type": "array", "items": {"type": "string"}, "minItems": 1},
}


class SchemaError(Exception):
    """Raised when values.yaml does not say enough of a value; the message says of which."""


def schema_of(values: Path) -> str:
    """Return the text of values.schema.json."""
    text = values.read_text()
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        message = f"{values} holds no mapping"
        raise SchemaError(message)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of the chart {values.parent.name}",
        **_mapping(root, yaml.safe_load(text), text.splitlines(), ""),
        "$defs": DEFINITIONS,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _mapping(node: yaml.MappingNode, values: Any, lines: list[str], path: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key, value in node.value:
        here, default, comment = (
            f"{path}.{key.value}".lstrip("."),
            values[key.value],
            _comment(lines, key.start_mark.line),
        )
        if isinstance(value, yaml.MappingNode) and value.value and not _hint(comment, here):
            properties[key.value] = _mapping(value, default, lines, here)
        else:
            properties[key.value] = _property(default, comment, here)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(default: object, comment: list[str], path: str) -> dict[str, Any]:
    hint = _hint(comment, path)
    description = {"description": text} if (text := _description(comment)) else {}
    if not description:
        message = f"{path} has no comment that begins with '# -- '"
        raise SchemaError(message)
    if not hint and default in ({}, [], None):
        message = f"the default of {path} does not tell what it is: add a line '# @schema {{…}}'"
        raise SchemaError(message)
    kind = {} if hint.keys() & {"$ref", "type"} else {"type": _type(default)}
    return {**description, **kind, "default": default, **hint}


def _type(default: object) -> str:
    # bool is an int to Python
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))
    return next(name for kind, name in kinds if isinstance(default, kind))


def _comment(lines: list[str], key_line: int) -> list[str]:
    """Return the comment lines right above a key, without their marks."""
    first = key_line
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return [line.strip().removeprefix("#").strip() for line in lines[first:key_line]]


def _hint(comment: list[str], path: str) -> dict[str, Any]:
    hint: dict[str, Any] = {}
    for line in comment:
        if line.startswith("@schema"):
            found = yaml.safe_load(line.removeprefix("@schema"))
            if not isinstance(found, dict):
                message = f"the line @schema of {path} holds no mapping"
                raise SchemaError(message)
            hint |= found
    return hint


def _description(comment: list[str]) -> str:
    marked = next((number for number, line in enumerate(comment) if line.startswith("-- ")), None)
    text = "" if marked is None else " ".join(comment[marked:]).removeprefix("-- ")
    return re.sub(r"^\([a-z]+\) ", "", text)  # a type that helm-docs cannot tell by itself
