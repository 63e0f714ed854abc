"""How objects are written out: as they are, as metadata only, or as the Table that `kubectl get` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .columns import COLUMNS
from .status import StatusError

if TYPE_CHECKING:
    from .kinds import Kind
    from .options import Request
    from .watch import WatchEvent

Json = dict[str, Any]

_META = {"apiVersion": "meta.k8s.io/v1"}
_TABLE, _PARTIAL = "Table", "PartialObjectMetadata"


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Writes out objects of one kind in the `form` that the request accepts.

    That is Table, PartialObjectMetadata, or "" for the objects as they are.
    `include` says what the rows of a Table carry: Metadata (the default), Object, None.
    """

    kind: Kind
    form: str
    include: str

    def one(self, obj: Json) -> Json:
        """Write a single object."""
        if self.form == _TABLE:
            return self._table([obj], _version_of(obj))
        return _partial(obj) if self.form else obj

    def many(self, objects: list[Json], metadata: Json) -> Json:
        """Write a list, with its metadata."""
        if self.form == _TABLE:
            return self._table(objects, metadata)
        if self.form:
            items = [_partial(obj) for obj in objects]
            return {"kind": f"{_PARTIAL}List", **_META, "metadata": metadata, "items": items}
        hidden = {"kind", "apiVersion"}
        items = [{key: value for key, value in obj.items() if key not in hidden} for obj in objects]
        named = {"kind": f"{self.kind.kind}List", "apiVersion": self.kind.api_version}
        return {**named, "metadata": metadata, "items": items}

    def event(self, event: WatchEvent, *, first: bool) -> Json:
        """Write an event of a watch; only the first Table says what its columns are."""
        obj = event.object
        if self.form == _TABLE and event.type != "ERROR":
            obj = self._table([obj], _version_of(obj), columns=first)
        elif self.form and event.type != "ERROR":
            obj = _partial(obj)
        return {"type": event.type, "object": obj}

    def _table(self, objects: list[Json], metadata: Json, *, columns: bool = True) -> Json:
        definitions = [column.json for column in COLUMNS[self.kind.stored_as]]
        return {
            "kind": _TABLE,
            **_META,
            "metadata": metadata,
            "columnDefinitions": definitions if columns else None,
            "rows": [self._row(obj) for obj in objects],
        }

    def _row(self, obj: Json) -> Json:
        columns = COLUMNS[self.kind.stored_as]
        now = datetime.now(UTC)
        bookmark = "name" not in obj["metadata"]
        row: Json = {"cells": ["" if bookmark else column.cell(obj, now) for column in columns]}
        if self.include == "Object":
            row["object"] = obj
        elif self.include != "None":
            row["object"] = _partial(obj)
        return row


def rendering(kind: Kind, request: Request) -> Rendering:
    """Choose the form by the Accept header. Raises StatusError 406."""
    form = _accepted(request.accept)
    if form is None:
        message = (
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf"
        )
        raise StatusError(code=406, reason="NotAcceptable", message=message, details={})
    return Rendering(kind=kind, form=form, include=request.query.get("includeObject", ""))


def _accepted(accept: str) -> str | None:
    """Find the form of the first clause that can be met; None when none can."""
    if not accept.strip():
        return ""
    for clause in accept.split(","):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        wanted = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media_type not in {"application/json", "application/*", "*/*"}:
            continue
        form = wanted.get("as", "")
        if form in {"", _TABLE}:
            return form
        if form.startswith(_PARTIAL):
            return _PARTIAL
    return None


def _version_of(obj: Json) -> Json:
    version = obj["metadata"].get("resourceVersion")
    return {"resourceVersion": version} if version else {}


def _partial(obj: Json) -> Json:
    return {"kind": _PARTIAL, **_META, "metadata": obj["metadata"]}
