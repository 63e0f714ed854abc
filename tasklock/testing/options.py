"""What a request says besides its object: query parameters and the body of a delete, checked as the real one does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from . import protobuf
from .deletes import DeleteOptions
from .schema import parse_json
from .status import (
    Cause,
    bad_request,
    go_quote,
    invalid,
    too_large,
    unsupported_media_type,
)
from .validation import manager_causes, wrong
from .writes import FieldValidation, WriteOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


Json = dict[str, Any]

MAX_BODY = 3 * 1024 * 1024
OPTIONS_GROUP = "meta.k8s.io"
_YAML = "application/yaml"
BODY_TYPES = {"", "application/json", _YAML, protobuf.MEDIA_TYPE}
_PROPAGATIONS = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request without its transport; `query` holds the first value of each parameter."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    accept: str = ""
    user_agent: str = ""


def read_body(request: Request) -> bytes:
    """Give the body, unless it is too large. Raises StatusError 413."""
    if len(request.body) > MAX_BODY:
        raise too_large(MAX_BODY)
    return request.body


def read_value(request: Request, *, prefix: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse a JSON or YAML body. Raises StatusError 400, 413, 415."""
    media_type = media(request.content_type)
    if media_type not in BODY_TYPES:
        raise unsupported_media_type(patch=False)
    text = read_body(request)
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.read_metadata(text)
    try:
        if media_type == _YAML:
            import yaml  # noqa: PLC0415 - only people send it

            return yaml.safe_load(text)
        value = parse_json(text)
        if isinstance(value, dict):
            _check_names(value)
    except (ValueError, RecursionError) as error:
        message = f"{prefix}couldn't get version/kind; json parse error: {_parse_error(text, error)}"
        raise bad_request(message) from None
    if not isinstance(value, dict | None):
        message = f"{prefix}couldn't get version/kind; json parse error: json: cannot unmarshal it into an object"
        raise bad_request(message)
    return {} if value is None else value


def read_patch_value(request: Request, *, operations: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Parse a patch: an object, or a list of operations. Raises StatusError 400, 413."""
    text = read_body(request)
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        message = f"error decoding patch: {_parse_error(text, error)}"
        raise bad_request(message) from None
    if value is None and operations:
        return []
    if value is None:
        message = "Invalid JSON Patch"
        raise bad_request(message)
    if not isinstance(value, list if operations else dict):
        message = f"error decoding patch: json: cannot unmarshal a {type(value).__name__}"
        raise bad_request(message)
    return value


def _check_names(value: Json) -> None:
    for name in ("kind", "apiVersion"):
        if not isinstance(value.get(name), str | None):
            message = f"json: cannot unmarshal it into Go struct field .{name} of type string"
            raise ValueError(message)  # noqa: TRY004 - as all that is wrong with JSON


def _parse_error(text: bytes, error: Exception) -> str:
    if "Expecting" in str(error) and getattr(error, "pos", 0) >= len(text.decode(errors="replace").rstrip()):
        return "unexpected end of JSON input"
    return f"invalid character: {error}"


def media(content_type: str) -> str:
    """Give the media type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def write_options(request: Request, options_kind: str) -> WriteOptions:
    """Query parameters of a create, update or patch. Raises StatusError 422."""
    query = request.query
    causes = _dry_run_causes([query["dryRun"]] if query.get("dryRun") else [])
    manager = query.get("fieldManager", "")
    causes += manager_causes(manager)
    validation = query.get("fieldValidation", "")
    if validation not in {"", "Ignore", "Warn", "Strict"}:
        causes.append(unsupported("fieldValidation", go_quote(validation), ("", "Ignore", "Strict", "Warn")))
    if causes:
        raise invalid(OPTIONS_GROUP, options_kind, "", causes)
    agent = "".join(char for char in request.user_agent.partition("/")[0] if char.isprintable())[:128]
    return WriteOptions(
        dry_run=bool(query.get("dryRun")),
        manager=manager or agent or "unknown",
        field_validation=cast("FieldValidation", validation),
    )


def delete_options(request: Request) -> DeleteOptions:
    """Read the body of a delete, else its query parameters. Raises StatusError 400, 413, 415, 422."""
    if read_body(request):
        given = read_value(request, prefix="")
        if given.get("kind") not in {None, "", "DeleteOptions"}:
            kind, version = given["kind"], given.get("apiVersion", "")
            message = f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'
            raise bad_request(message)
    else:
        given = {key: request.query[key] for key in ("propagationPolicy",) if key in request.query}
        if request.query.get("dryRun"):
            given["dryRun"] = [request.query["dryRun"]]
        if request.query.get("gracePeriodSeconds"):
            given["gracePeriodSeconds"] = number(request.query["gracePeriodSeconds"])
    propagation = given.get("propagationPolicy") or ""
    orphan = given.get("orphanDependents")
    causes = []
    if propagation and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(wrong("propagationPolicy", propagation, why))
    elif propagation and propagation not in _PROPAGATIONS:
        supported = (*_PROPAGATIONS, "nil")
        causes.append(unsupported("propagationPolicy", go_quote(propagation), supported))
    causes += _dry_run_causes(given.get("dryRun") or [])
    if causes:
        raise invalid(OPTIONS_GROUP, "DeleteOptions", "", causes)
    preconditions = given.get("preconditions") or {}
    return DeleteOptions(
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=bool(given.get("dryRun")),
        propagation=propagation or {None: "", True: "Orphan", False: "Background"}[orphan],
        grace_seconds=given.get("gracePeriodSeconds"),
    )


def _dry_run_causes(values: list[str]) -> list[Cause]:
    if all(value == "All" for value in values):
        return []
    shown = f"[{', '.join(go_quote(value) for value in values)}]"
    return [unsupported("dryRun", shown, ("All",))]


def unsupported(name: str, shown: str, supported: tuple[str, ...]) -> Cause:
    """Make a `FieldValueNotSupported` cause."""
    listed = ", ".join(go_quote(value) for value in supported)
    return Cause(
        reason="FieldValueNotSupported",
        message=f"Unsupported value: {shown}: supported values: {listed}",
        field=name,
    )


def number(text: str) -> int:
    """Read an integer parameter. Raises StatusError 400."""
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        message = f'strconv.ParseInt: parsing "{text}": invalid syntax'
        raise bad_request(message)
    return int(text)
