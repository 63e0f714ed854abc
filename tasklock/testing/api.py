"""The HTTP API over the store, without HTTP: a `Request` in, a `Reply` or a `WatchReply` out. Pure, like the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import discovery, protobuf
from . import patch as patches
from .kinds import KINDS
from .listing import ListOptions, list_options, page, version_number, write_continue
from .options import BODY_TYPES, Request, delete_options, media, read_patch_value, read_value, write_options
from .selectors import make_selector
from .status import (
    StatusError,
    method_not_allowed,
    no_such_resource,
    too_large_version,
    unsupported_media_type,
)
from .table import rendering
from .watch import ERROR, WatchEvent
from .writes import Patch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kinds import Kind
    from .selectors import Selector
    from .store import Store
    from .table import Rendering
    from .writes import WriteOptions, Written

Json = dict[str, Any]

_PATCH_TYPES = {patches.MERGE, patches.STRATEGIC, patches.JSON}
_CREATED, _OK = 201, 200


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: a JSON object, or text; `warnings` become one header each."""

    status: int
    body: Json | str
    headers: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WatchReply:
    """A watch to stream: call `start` with what takes the events; it gives back how to stop."""

    start: Callable[[Callable[[WatchEvent], None]], Callable[[], None]]
    bookmark: Callable[[], WatchEvent]
    render: Rendering
    bookmarks: bool
    timeout: float | None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a path names."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str


def handle(store: Store, request: Request) -> Reply | WatchReply:
    """Answer one request; never raises StatusError."""
    try:
        return _route(store, request)
    except StatusError as error:
        headers = dict(error.headers)
        return Reply(status=error.code, body=error.json, headers=headers, warnings=error.warnings)


def _route(store: Store, request: Request) -> Reply | WatchReply:
    target = _target(request.path)
    if target is None:
        document = discovery.page(request.path)
        if document is None:
            raise no_such_resource()
        if request.method not in {"GET", "HEAD"}:
            raise method_not_allowed()
        return Reply(status=_OK, body=document)
    methods = _COLLECTION if not target.name else _OBJECT
    handler = methods.get(request.method)
    if handler is None or (request.method == "POST" and target.kind.namespaced and target.namespace is None):
        raise method_not_allowed()
    return handler(store, request, target)


def _target(path: str) -> Target | None:
    parts = [part for part in path.split("/") if part]
    for kind in KINDS:
        root = kind.root.split("/")[1:]
        if parts[: len(root)] != root:
            continue
        rest, namespace = parts[len(root) :], None
        if kind.namespaced and len(rest) > 2 and rest[0] == "namespaces":  # noqa: PLR2004 - namespaces/NAME/plural
            namespace, rest = rest[1], rest[2:]
        if rest[:1] != [kind.plural] or (len(rest) > 1 and kind.namespaced and namespace is None):
            continue
        name, subresource = (*rest[1:3], "", "")[:2]
        known = {"", "status"} if kind.has_status else {""}
        if len(rest) <= 3 and subresource in known:  # noqa: PLR2004 - plural/NAME/status
            namespace = namespace if kind.namespaced else ""
            return Target(kind=kind, namespace=namespace, name=name, subresource=subresource)
    return None


def _get(store: Store, request: Request, target: Target) -> Reply:
    render = rendering(target.kind, request)
    revision = version_number(request.query.get("resourceVersion", ""))
    if revision is not None and revision > store.revision:
        raise too_large_version(revision, store.revision)
    return Reply(status=_OK, body=render.one(store.get(target.kind, target.namespace or "", target.name)))


def _list(store: Store, request: Request, target: Target) -> Reply | WatchReply:
    render = rendering(target.kind, request)
    options = list_options(request.query)
    selector = make_selector(target.kind, target.namespace, options.labels, options.fields)
    if options.watch:
        return _watch(store, target, options, selector, render)
    wanted = page(options, current=store.revision, compacted=store.compacted)
    revision = wanted.revision or store.revision
    found = store.list(target.kind, selector, revision=wanted.revision)
    if wanted.after is not None:
        found = [obj for obj in found if _key(obj) > wanted.after]
    metadata: Json = {"resourceVersion": str(revision)}
    if options.limit and len(found) > options.limit:
        metadata["continue"] = write_continue(revision, _key(found[options.limit - 1]))
        if not selector.labels and not selector.fields:
            metadata["remainingItemCount"] = len(found) - options.limit
        found = found[: options.limit]
    return Reply(status=_OK, body=render.many(found, metadata))


def _key(obj: Json) -> tuple[str, str]:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _watch(store: Store, target: Target, options: ListOptions, selector: Selector, render: Rendering) -> WatchReply:
    kind, since = target.kind, version_number(options.version) or None

    def bookmark() -> WatchEvent:
        return discovery.bookmark(kind, store.revision)

    def start(deliver: Callable[[WatchEvent], None]) -> Callable[[], None]:
        try:
            stop = store.watch(kind, selector, deliver, since=None if options.initial_events else since)
        except StatusError as error:
            deliver(WatchEvent(type=ERROR, object=error.json))
            return lambda: None
        if options.initial_events and options.bookmarks:
            deliver(discovery.bookmark(kind, store.revision, initial_events_end=True))
        return stop

    return WatchReply(
        start=start, bookmark=bookmark, render=render, bookmarks=options.bookmarks, timeout=options.timeout
    )


def _create(store: Store, request: Request, target: Target) -> Reply:
    render, options, value = _write_input(request, target, "CreateOptions")
    return _written(render, store.create(target.kind, target.namespace or "", value, options))


def _update(store: Store, request: Request, target: Target) -> Reply:
    render, options, value = _write_input(request, target, "UpdateOptions")
    return _written(render, store.update(target.kind, target.namespace or "", target.name, value, options))


def _write_input(request: Request, target: Target, options_kind: str) -> tuple[Rendering, WriteOptions, Any]:
    render = rendering(target.kind, request)
    prefix = f"the object provided is unrecognized (must be of type {target.kind.kind}): "
    if not _readable(request, target):
        raise unsupported_media_type(patch=False)
    options = replace(write_options(request, options_kind), subresource=target.subresource)
    return render, options, read_value(request, prefix=prefix)


def _readable(request: Request, target: Target) -> bool:
    media_type = media(request.content_type)
    return media_type in BODY_TYPES and (media_type != protobuf.MEDIA_TYPE or target.kind.plural == "namespaces")


def _patch(store: Store, request: Request, target: Target) -> Reply:
    render = rendering(target.kind, request)
    media_type = media(request.content_type)
    if media_type not in _PATCH_TYPES:
        raise unsupported_media_type(patch=True)
    options = replace(write_options(request, "PatchOptions"), subresource=target.subresource)
    namespace = target.namespace or ""
    store.get(target.kind, namespace, target.name)
    value = read_patch_value(request, operations=media_type == patches.JSON)
    change = Patch(media_type=media_type, value=value)
    return _written(render, store.patch(target.kind, namespace, target.name, change, options))


def _written(render: Rendering, written: Written) -> Reply:
    status = _CREATED if written.created else _OK
    return Reply(status=status, body=render.one(written.obj), warnings=written.warnings)


def _delete(store: Store, request: Request, target: Target) -> Reply:
    render = rendering(target.kind, request)
    kind = target.kind
    if target.subresource:
        raise method_not_allowed()
    deleted = store.delete(kind, target.namespace or "", target.name, delete_options(request))
    if kind.returns_deleted or not deleted.gone:
        return Reply(status=_OK, body=render.one(deleted.obj))
    metadata = deleted.obj["metadata"]
    details = {"name": metadata["name"], "group": kind.group, "kind": kind.plural, "uid": metadata["uid"]}
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }
    return Reply(status=_OK, body=body)


def _delete_collection(store: Store, request: Request, target: Target) -> Reply:
    render = rendering(target.kind, request)
    deleting, listing = delete_options(request), list_options(request.query)
    selector = make_selector(target.kind, target.namespace, listing.labels, listing.fields)
    found = store.delete_collection(target.kind, selector, deleting)
    return Reply(status=_OK, body=render.many(found, {"resourceVersion": str(store.revision)}))


_COLLECTION: dict[str, Callable[[Store, Request, Target], Reply | WatchReply]] = {
    "GET": _list,
    "POST": _create,
    "DELETE": _delete_collection,
}
_OBJECT: dict[str, Callable[[Store, Request, Target], Reply | WatchReply]] = {
    "GET": _get,
    "PUT": _update,
    "PATCH": _patch,
    "DELETE": _delete,
}
