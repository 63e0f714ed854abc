"""What the API server refuses in an object that it could read: names, labels, annotations, the Lease's own rules."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .status import Cause, go_quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .kinds import Kind

Json = dict[str, Any]

MAX_ANNOTATIONS = 256 * 1024
MAX_MANAGER = 128
_MAX_LABEL = 63
_MAX_NAME = 253
_SUBDOMAIN_REGEX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN = re.compile(_SUBDOMAIN_REGEX, re.ASCII)
_QUALIFIED_REGEX = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED = re.compile(_QUALIFIED_REGEX, re.ASCII)
_VALUE_REGEX = f"({_QUALIFIED_REGEX})?"
_VALUE = re.compile(_VALUE_REGEX, re.ASCII)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN_REGEX}')"
)
_QUALIFIED_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED_REGEX}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE_REGEX}')"
)


def wrong(field: str, value: object, why: str) -> Cause:
    """Make a `FieldValueInvalid` cause."""
    shown = go_quote(value) if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return Cause(reason="FieldValueInvalid", message=f"Invalid value: {shown}: {why}", field=field)


def subdomain_problems(text: str) -> list[str]:
    """Why this is no DNS-1123 subdomain."""
    problems = [f"must be no more than {_MAX_NAME} characters"] if len(text.encode()) > _MAX_NAME else []
    return problems if _SUBDOMAIN.fullmatch(text) else [*problems, _SUBDOMAIN_RULE]


def qualified_name_problems(text: str) -> list[str]:
    """Why this is no key of a label or annotation."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        rule = f"a valid label key {_QUALIFIED_RULE} with an optional DNS subdomain prefix and '/'"
        return [f"{rule} (e.g. 'example.com/MyName')"]
    problems = []
    if slash:
        found = subdomain_problems(prefix) if prefix else ["must be non-empty"]
        problems += [f"prefix part {problem}" for problem in found]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name.encode()) > _MAX_LABEL:
        problems.append(f"name part must be no more than {_MAX_LABEL} bytes")
    if not _QUALIFIED.fullmatch(name):
        problems.append(f"name part {_QUALIFIED_RULE}")
    return problems


def label_value_problems(text: str) -> list[str]:
    """Why this is no value of a label."""
    problems = [f"must be no more than {_MAX_LABEL} bytes"] if len(text.encode()) > _MAX_LABEL else []
    return problems if _VALUE.fullmatch(text) else [*problems, _VALUE_RULE]


def manager_causes(manager: str) -> list[Cause]:
    """Why this is no field manager."""
    if len(manager.encode()) > MAX_MANAGER:
        message = f"Too long: may not be more than {MAX_MANAGER} bytes"
        return [Cause(reason="FieldValueTooLong", message=message, field="fieldManager")]
    return [
        wrong("fieldManager", manager, f"invalid character U+{ord(char):04X} (at position {index})")
        for index, char in enumerate(manager)
        if not char.isprintable()
    ][:1]


def new_object_causes(kind: Kind, obj: Json) -> list[Cause]:
    """Everything wrong with an object that is to be created."""
    metadata = obj["metadata"]
    causes = []
    generated, name = metadata.get("generateName", ""), metadata.get("name", "")
    if generated:
        masked = generated[:-2] + "a" if len(generated) > 1 and generated.endswith("-") else generated
        causes += [wrong("metadata.generateName", generated, why) for why in subdomain_problems(masked)]
    if name:
        causes += [wrong("metadata.name", name, why) for why in subdomain_problems(name)]
    else:
        message = "Required value: name or generateName is required"
        causes.append(Cause(reason="FieldValueRequired", message=message, field="metadata.name"))
    return [*causes, *_common_causes(metadata), *_finalizer_causes(metadata), *_spec_causes(kind, obj)]


def changed_object_causes(kind: Kind, old: Json, new: Json) -> list[Cause]:
    """Everything wrong with a change. The real one checks metadata in several layers, so some causes come again."""
    before, after = old["metadata"], new["metadata"]
    common = _common_causes(after)
    update = [
        *_immutable_causes(before, after),
        *_new_finalizer_causes(before, after),
        *common,
    ]
    return [*common, *_finalizer_causes(after), *update, *update, *_spec_causes(kind, new)]


def _immutable_causes(before: Json, after: Json) -> Iterable[Cause]:
    for field in ("deletionTimestamp", "uid", "deletionGracePeriodSeconds"):
        if before.get(field) != after.get(field):
            yield wrong(f"metadata.{field}", after.get(field, "null"), "field is immutable")


def _new_finalizer_causes(before: Json, after: Json) -> Iterable[Cause]:
    added = sorted(set(after.get("finalizers", ())) - set(before.get("finalizers", ())))
    if added and "deletionTimestamp" in before:
        listed = ", ".join(go_quote(name) for name in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
            f"[]string{{{listed}}}"
        )
        yield Cause(reason="FieldValueForbidden", message=message, field="metadata.finalizers")


def _common_causes(metadata: Json) -> list[Cause]:
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    causes = []
    if metadata.get("generation", 0) < 0:
        causes.append(wrong("metadata.generation", metadata["generation"], "must be greater than or equal to 0"))
    for key, value in labels.items():
        causes += [wrong("metadata.labels", key, why) for why in qualified_name_problems(key)]
        causes += [wrong("metadata.labels", value, why) for why in label_value_problems(value)]
    for key in annotations:
        causes += [wrong("metadata.annotations", key, why) for why in qualified_name_problems(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        message = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        causes.append(Cause(reason="FieldValueTooLong", message=message, field="metadata.annotations"))
    for owner in metadata.get("ownerReferences", ()):
        causes += _owner_causes(owner)
    return causes


def _owner_causes(owner: Json) -> Iterable[Cause]:
    if not owner["apiVersion"].rpartition("/")[2]:
        yield wrong("metadata.ownerReferences.apiVersion", "", "version must not be empty")
    for field in ("kind", "name", "uid"):
        if not owner[field]:
            yield wrong(f"metadata.ownerReferences.{field}", "", "must not be empty")


def _finalizer_causes(metadata: Json) -> list[Cause]:
    names = metadata.get("finalizers", ())
    causes = [wrong("metadata.finalizers", name, why) for name in names for why in qualified_name_problems(name)]
    if {"orphan", "foregroundDeletion"} <= set(names):
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(wrong("metadata.finalizers", list(names), why))
    return causes


def _spec_causes(kind: Kind, obj: Json) -> Iterable[Cause]:
    if kind.kind != "Lease":
        return
    spec = obj["spec"]
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield wrong("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        yield wrong("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0")
