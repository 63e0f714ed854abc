"""What the server says about itself: versions, groups, resources, health, and as much OpenAPI as kubectl asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .kinds import KINDS
from .watch import BOOKMARK, WatchEvent

if TYPE_CHECKING:
    from .kinds import Kind

Json = dict[str, Any]

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3-tasklock",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "tests/demos",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]


def page(path: str) -> Json | str | None:
    """Find the document at a path that names no object; None when there is none."""
    path = path.rstrip("/") or "/"
    groups = _groups()
    fixed: dict[str, Json | str] = {
        "/healthz": "ok",
        "/livez": "ok",
        "/readyz": "ok",
        "/version": dict(VERSION),
        "/": {"paths": ["/api", "/api/v1", "/apis", *sorted(groups), "/healthz", "/version"]},
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(kind) for kind in groups.values()]},
    }
    if path in fixed:
        return fixed[path]
    if path in groups:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(groups[path])}
    if path.startswith("/openapi/v3"):
        return _openapi(path.removeprefix("/openapi/v3").lstrip("/"))
    return _resources(path)


def bookmark(kind: Kind, revision: int, *, initial_events_end: bool = False) -> WatchEvent:
    """Make a BOOKMARK event: nothing up to this revision is still to come."""
    metadata: Json = {"resourceVersion": str(revision)}
    if initial_events_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
    if "spec" in kind.shape.fields:
        obj["spec"] = {}
    return WatchEvent(type=BOOKMARK, object=obj)


def _groups() -> dict[str, Kind]:
    return {f"/apis/{kind.group}": kind for kind in KINDS if kind.group}


def _group(kind: Kind) -> Json:
    version = {"groupVersion": kind.api_version, "version": kind.version}
    return {"name": kind.group, "versions": [version], "preferredVersion": version}


def _resources(path: str) -> Json | None:
    kinds = [kind for kind in KINDS if kind.root == path]
    if not kinds:
        return None
    resources = []
    for kind in kinds:
        about = {"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced}
        names = {"shortNames": list(kind.short_names)} if kind.short_names else {}
        resources.append({**about, "kind": kind.kind, "verbs": _VERBS, **names})
        if kind.has_status:
            status = {"name": f"{kind.plural}/status", "singularName": "", "namespaced": kind.namespaced}
            resources.append({**status, "kind": kind.kind, "verbs": _STATUS_VERBS})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": kinds[0].api_version,
        "resources": resources,
    }


def _openapi(path: str) -> Json | None:
    """Enough of OpenAPI v3 that kubectl leaves the validation of fields to the server."""
    documents = {kind.root.lstrip("/") for kind in KINDS}
    if not path:
        return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in sorted(documents)}}
    if path not in documents:
        return None
    paths = {}
    for kind in KINDS:
        if kind.root.lstrip("/") == path:
            scope = "/namespaces/{namespace}" if kind.namespaced else ""
            paths[f"{kind.root}{scope}/{kind.plural}/{{name}}"] = {"patch": _patch_operation(kind)}
    about = {"title": "tasklock.testing", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": about, "paths": paths, "components": {"schemas": {}}}


def _patch_operation(kind: Kind) -> Json:
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    parameters = [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names]
    gvk = {"group": kind.group, "kind": kind.kind, "version": kind.version}
    return {
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": gvk,
    }
