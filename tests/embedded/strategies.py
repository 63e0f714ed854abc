"""Hypothesis strategies for requests about leases: mostly sound ones, and each kind of wrong one."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from embedded.differential import END, Op

NAMES = ("a", "b", "c")
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

# Each with labels that match it, so that a last object can end every watch.
LABEL_SELECTORS: tuple[tuple[str, dict[str, str]], ...] = (
    ("x=1", {"x": "1"}),
    ("x==2", {"x": "2"}),
    ("x!=1", {}),
    ("x in (1,2)", {"x": "1"}),
    ("x notin (1,3)", {}),
    ("x", {"x": "1"}),
    ("!x", {}),
    ("x,y", {"x": "1", "y": ""}),
    ("x>1", {"x": "2"}),
    ("y=", {"y": ""}),
)
BAD_SELECTORS = ("x~1", "x=1,", "=1", "x in (1", "a b", "x=$", "x>y")
_FIELD_SELECTORS = ("metadata.name=a", "metadata.name!=a", "metadata.name==b", "metadata.name=b,metadata.name!=c")
_BAD_FIELD_SELECTORS = ("spec.holderIdentity=x", "metadata.name", "metadata.uid=x")
_TIMES = ("2024-01-01T00:00:00.000000Z", "2024-02-03T04:05:06.123456Z", "2024-02-03T04:05:06.000001+02:00")
_FORGED = {
    "manager": "forger",
    "operation": "Update",
    "apiVersion": "coordination.k8s.io/v1",
    "time": "2001-01-01T00:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:holderIdentity": {}}},
}

_sound_spec = st.fixed_dictionaries(
    {},
    optional={
        "holderIdentity": st.sampled_from(["h1", "h2", "", "worker ünï ☃"]),
        "leaseDurationSeconds": st.sampled_from([1, 30, 2**31 - 1]),
        "renewTime": st.sampled_from(_TIMES),
        "acquireTime": st.sampled_from(_TIMES),
        "leaseTransitions": st.sampled_from([0, 1, 7]),
    },
)
_sound_metadata = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from(["x", "y", "k8s.io/z"]), st.sampled_from(["", "1", "2"]), max_size=2),
        "annotations": st.dictionaries(st.sampled_from(["n", "tasklock.dev/n"]), st.sampled_from(["", "any\n text"])),
    },
)
_owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u-1"}
_ODD_METADATA: tuple[dict[str, Any], ...] = (
    {"uid": "<uid:a>"},
    {"uid": "<olduid:a>"},
    {"uid": "wrong"},
    {"resourceVersion": "<oldrv:a>"},
    {"resourceVersion": "1"},
    {"resourceVersion": "0"},
    {"resourceVersion": "x"},
    {"uid": "wrong", "resourceVersion": "1"},
    {"uid": "<uid:a>", "resourceVersion": "<rv:a>"},
    {"namespace": "other"},
    {"name": "other"},
    {"name": "A_b"},
    {"name": ""},
    {"labels": {"a b": ""}},
    {"labels": {"": "x"}},
    {"labels": {"a/b/c": "x"}},
    {"labels": {"/c": "x"}},
    {"labels": {"A_.b/c": "x"}},
    {"labels": {"k": "x" * 64}},
    {"labels": {"k" * 64: "x"}},
    {"labels": {"k": "a b"}},
    {"labels": {"k": 3}},
    {"labels": []},
    {"labels": None},
    {"annotations": {"a b": ""}},
    {"annotations": {"Up/Case": "x"}},
    {"annotations": {"n": "x" * (256 * 1024)}},
    {"annotations": {"n": None}},
    {"finalizers": ["x.io/f"]},
    {"finalizers": ["x.io/f", "y.io/g"]},
    {"finalizers": ["y.io/g"]},
    {"finalizers": []},
    {"finalizers": None},
    {"finalizers": ["a b"]},
    {"finalizers": "x"},
    {"finalizers": ["orphan", "foregroundDeletion"]},
    {"ownerReferences": [_owner]},
    {"ownerReferences": [_owner | {"controller": True, "blockOwnerDeletion": False}]},
    {"ownerReferences": [{"kind": "Pod"}]},
    {"ownerReferences": None},
    {"managedFields": [{}]},
    {"managedFields": []},
    {"managedFields": [_FORGED]},
    {"managedFields": [_FORGED | {"operation": "Apply"}]},
    {"managedFields": [{"manager": "no more"}]},
    {"deletionTimestamp": "2001-01-01T00:00:00Z"},
    {"deletionTimestamp": None},
    {"deletionGracePeriodSeconds": 4},
    {"creationTimestamp": "2001-01-01T00:00:00Z"},
    {"creationTimestamp": "yesterday"},
    {"creationTimestamp": None},
    {"generation": 4},
    {"generation": -4},
    {"generateName": "gen-"},
    {"generateName": "Gen_"},
    {"selfLink": "/x"},
    {"unknown": 1},
)
_ODD_SPEC: tuple[dict[str, Any], ...] = (
    {"holderIdentity": None},
    {"holderIdentity": 5},
    {"holderIdentity": ["x"]},
    {"leaseDurationSeconds": 0},
    {"leaseDurationSeconds": -1},
    {"leaseDurationSeconds": 1.5},
    {"leaseDurationSeconds": 30.0},
    {"leaseDurationSeconds": "30"},
    {"leaseDurationSeconds": True},
    {"leaseDurationSeconds": 2**31},
    {"leaseDurationSeconds": None},
    {"leaseDurationSeconds": 0, "leaseTransitions": -1},
    {"leaseTransitions": -1},
    {"leaseTransitions": None},
    {"renewTime": "2024-01-01T00:00:00Z"},
    {"renewTime": "2024-01-01T00:00:00.123Z"},
    {"renewTime": "2024-01-01T00:00:00.1234567Z"},
    {"renewTime": "2024-13-01T00:00:00.000000Z"},
    {"renewTime": "2024-01-01 00:00:00.000000Z"},
    {"renewTime": "2024-01-01T00:00:00,000000Z"},
    {"renewTime": ""},
    {"renewTime": 5},
    {"renewTime": None},
    {"acquireTime": "now"},
    {"strategy": "OldestEmulationVersion"},
    {"preferredHolder": "p"},
    {"unknown": {"deep": 1}},
    {"unknown": None},
)
_ODD_TOP: tuple[dict[str, Any], ...] = (
    {"kind": "Pod", "apiVersion": "v1"},
    {"kind": "Thing"},
    {"apiVersion": "coordination.k8s.io/v9"},
    {"kind": None},
    {"kind": ""},
    {"spec": None},
    {"spec": "x"},
    {"spec": []},
    {"metadata": None},
    {"metadata": "x"},
    {"unknown": {"x": [1]}},
    {"status": {}},
)
_RAW_BODIES = (
    "",
    "{",
    "[]",
    '"x"',
    "null",
    "5",
    '{"metadata":{"name":"a","name":"b"}}',
    '{"spec":{"spec":1,"spec":2}}',
)
_QUERIES = (
    "dryRun=All",
    "dryRun=None",
    "fieldValidation=Strict",
    "fieldValidation=Ignore",
    "fieldValidation=Warn",
    "fieldValidation=x",
    "fieldManager=me",
    "fieldManager=" + "m" * 129,
    "fieldManager=%07",
    "dryRun=All&fieldManager=me",
)


def _now_and_then(strategy: st.SearchStrategy[Any], otherwise: Any, *, one_in: int) -> st.SearchStrategy[Any]:
    return st.integers(0, one_in - 1).flatmap(lambda number: strategy if number == 0 else st.just(otherwise))


@st.composite
def _bodies(draw: st.DrawFn, name: str | None, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Draw a body: sound, or sound but for one thing."""
    metadata = {**({"name": name} if name else {}), **draw(_sound_metadata), **(extra or {})}
    body: dict[str, Any] = {"metadata": metadata, "spec": draw(_sound_spec)}
    odd = draw(st.sampled_from(["", "", "", "metadata", "metadata", "spec", "top"]))
    if odd == "metadata":
        metadata |= _of(draw(st.sampled_from(_ODD_METADATA)), name)
    elif odd == "spec":
        body["spec"] |= draw(st.sampled_from(_ODD_SPEC))
    elif odd == "top":
        body |= draw(st.sampled_from(_ODD_TOP))
    return body


def _of(fragment: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Make the symbols of a fragment about this lease."""
    about: dict[str, Any] = json.loads(json.dumps(fragment).replace(":a>", f":{name or 'a'}>"))
    return about


_names = st.sampled_from((*NAMES, "a", "a"))
_queries = _now_and_then(st.sampled_from(_QUERIES), "", one_in=5)


@st.composite
def _creates(draw: st.DrawFn) -> Op:
    body = draw(_bodies(draw(_names)))
    return Op(method="POST", query=draw(_queries), body=json.dumps(body))


@st.composite
def _puts(draw: st.DrawFn) -> Op:
    name = draw(_names)
    fresh = draw(st.sampled_from([{}, {"resourceVersion": f"<rv:{name}>"}, {"resourceVersion": f"<rv:{name}>"}]))
    return Op(method="PUT", path=f"/{name}", query=draw(_queries), body=json.dumps(draw(_bodies(name, fresh))))


@st.composite
def _patches(draw: st.DrawFn) -> Op:
    name = draw(_names)
    with_uid = draw(st.sampled_from([{}, {"uid": f"<uid:{name}>"}]))
    body = draw(_bodies(None, with_uid))
    if not draw(st.booleans()):
        body.pop("spec", None)
    media_type = draw(st.sampled_from([MERGE, MERGE, MERGE, STRATEGIC]))
    return Op(method="PATCH", path=f"/{name}", query=draw(_queries), body=json.dumps(body), content_type=media_type)


_JSON_PATCHES: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"op": "add", "path": "/spec/holderIdentity", "value": "j"}],
    [{"op": "replace", "path": "/spec/holderIdentity", "value": "k"}],
    [{"op": "remove", "path": "/spec/holderIdentity"}],
    [
        {"op": "test", "path": "/metadata/uid", "value": "<uid:a>"},
        {"op": "add", "path": "/spec/leaseTransitions", "value": 2},
    ],
    [{"op": "test", "path": "/metadata/uid", "value": "wrong"}],
    [{"op": "replace", "path": "/metadata/uid", "value": "wrong"}],
    [{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}],
    [{"op": "add", "path": "/metadata/annotations", "value": {"n": "j"}}],
    [{"op": "add", "path": "/spec/leaseDurationSeconds", "value": 0}],
    [{"op": "copy", "from": "/metadata/name", "path": "/spec/holderIdentity"}],
    [{"op": "move", "from": "/spec/acquireTime", "path": "/spec/renewTime"}],
    [{"op": "frobnicate", "path": "/spec"}],
    [{"op": "add", "path": "/metadata/labels/x", "value": "1"}],
)


@st.composite
def _json_patches(draw: st.DrawFn) -> Op:
    name = draw(_names)
    body = json.dumps(draw(st.sampled_from(_JSON_PATCHES))).replace(":a>", f":{name}>")
    return Op(method="PATCH", path=f"/{name}", body=body, content_type=JSON_PATCH)


_DELETE_BODIES: tuple[dict[str, Any] | None, ...] = (
    None,
    None,
    {},
    {"kind": "DeleteOptions", "apiVersion": "v1"},
    {"preconditions": {"uid": "<uid:a>"}},
    {"preconditions": {"uid": "<uid:a>", "resourceVersion": "<rv:a>"}},
    {"preconditions": {"uid": "<olduid:a>"}},
    {"preconditions": {"uid": "wrong"}},
    {"preconditions": {"resourceVersion": "<oldrv:a>"}},
    {"preconditions": {"uid": "<uid:a>", "resourceVersion": "1"}},
    {"preconditions": {"uid": ""}},
    {"preconditions": {"resourceVersion": ""}},
    {"preconditions": {}},
    {"dryRun": ["All"]},
    {"dryRun": ["None"]},
    {"dryRun": ["All"], "preconditions": {"uid": "wrong"}},
    {"propagationPolicy": "Foreground"},
    {"propagationPolicy": "Background"},
    {"propagationPolicy": "Orphan"},
    {"propagationPolicy": "x"},
    {"propagationPolicy": "Orphan", "orphanDependents": True},
    {"orphanDependents": True},
    {"orphanDependents": False},
    {"gracePeriodSeconds": 5},
    {"unknown": 1},
    {"kind": "Pod", "apiVersion": "v9"},
)


@st.composite
def _deletes(draw: st.DrawFn) -> Op:
    name = draw(_names)
    body = draw(st.sampled_from(_DELETE_BODIES))
    text = None if body is None else json.dumps(body).replace(":a>", f":{name}>")
    query = draw(_now_and_then(st.sampled_from(["dryRun=All", "propagationPolicy=x", "dryRun=x"]), "", one_in=6))
    return Op(method="DELETE", path=f"/{name}", query=query, body=text)


_selectors = st.one_of(
    st.just(""),
    st.sampled_from(LABEL_SELECTORS).map(lambda pair: "labelSelector=" + quote(pair[0])),
    st.sampled_from(BAD_SELECTORS).map(lambda text: "labelSelector=" + quote(text)),
    st.sampled_from(_FIELD_SELECTORS + _BAD_FIELD_SELECTORS).map(lambda text: "fieldSelector=" + quote(text)),
)
_LIST_QUERIES = (
    "limit=1",
    "limit=2",
    "limit=x",
    "resourceVersion=0",
    "resourceVersion=1",
    "resourceVersion=x",
    "resourceVersion=<rv:a>&resourceVersionMatch=Exact",
    "resourceVersion=<oldrv:b>&resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=Exact",
    "resourceVersion=1&resourceVersionMatch=x",
    "continue=x",
    "watch=true&timeoutSeconds=x",
    "watch=true&resourceVersion=x",
    "watch=true&sendInitialEvents=true",
)


@st.composite
def _lists(draw: st.DrawFn) -> Op:
    more = draw(_now_and_then(st.sampled_from(_LIST_QUERIES), "", one_in=4))
    return Op(method="GET", query="&".join(part for part in (draw(_selectors), more) if part))


@st.composite
def _watches(draw: st.DrawFn) -> Op:
    labels = st.sampled_from(LABEL_SELECTORS).map(lambda pair: "labelSelector=" + quote(pair[0]))
    fields = st.sampled_from(_FIELD_SELECTORS).map(lambda text: "fieldSelector=" + quote(text))
    selector = draw(st.one_of(st.just(""), labels, fields))
    version = draw(st.sampled_from(["<rv:a>", "<oldrv:a>", "<rv:b>", "<oldrv:c>"]))
    query = "&".join(part for part in ("watch=true&timeoutSeconds=15", f"resourceVersion={version}", selector) if part)
    return Op(method="GET", query=query, watch=True)


@st.composite
def _malformed(draw: st.DrawFn) -> Op:
    method = draw(st.sampled_from(["POST", "PUT", "PATCH", "PATCH", "DELETE"]))
    usual = MERGE if method == "PATCH" else "application/json"
    other = draw(st.sampled_from(["application/json", "text/plain", "application/merge-patch+json; charset=utf-8"]))
    media_type = draw(_now_and_then(st.just(other), usual, one_in=4))
    path = "" if method == "POST" else f"/{draw(_names)}"
    return Op(method=method, path=path, body=draw(st.sampled_from(_RAW_BODIES)), content_type=media_type)


_gets = st.builds(
    lambda name, accept: Op(method="GET", path=f"/{name}", accept=accept),
    st.sampled_from((*NAMES, "none")),
    st.sampled_from(
        ["application/json", "", "*/*", "text/html", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"]
    ),
)
_delete_collections = st.builds(
    lambda selector, query: Op(method="DELETE", query="&".join(part for part in (selector, query) if part)),
    _selectors,
    st.sampled_from(["", "dryRun=All"]),
)
_OTHERS = (
    Op(method="POST", path="/a", body="{}"),
    Op(method="PUT", path="", body="{}"),
    Op(method="GET", path="/a/status"),
    Op(method="PATCH", path="/a/b/c", body="{}", content_type=MERGE),
)

operations = st.one_of(
    _creates(),
    _creates(),
    _puts(),
    _patches(),
    _patches(),
    _patches(),
    _json_patches(),
    _deletes(),
    _deletes(),
    _lists(),
    _watches(),
    _gets,
    _malformed(),
    st.one_of(_delete_collections, st.sampled_from(_OTHERS)),
)


def last_writes() -> list[Op]:
    """Delete all, then create objects that mark the end: one for every selector."""
    ops = []
    for name in (*NAMES, "other"):
        ops.append(Op(method="PATCH", path=f"/{name}", body='{"metadata":{"finalizers":null}}', content_type=MERGE))
        ops.append(Op(method="DELETE", path=f"/{name}"))
    for index, labels in enumerate(({}, *(labels for _, labels in LABEL_SELECTORS))):
        metadata = {"labels": labels, "annotations": {END: "1"}}
        names = NAMES if index == 0 else (f"end-{index}",)
        ops += [Op(method="POST", body=json.dumps({"metadata": {"name": name, **metadata}})) for name in names]
    return ops
