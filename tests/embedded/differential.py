"""Two API servers side by side: the same requests to both, their answers made comparable.

A request names uids and resourceVersions by symbols (`<uid:a>`: the uid that lease a has on this server), since each
server gives its own. An answer has them replaced by the order of their first appearance, and times of "now" by `<now>`.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# What may differ, and why. Everything else has to be the same, to the letter.
IRRELEVANT = (
    (r"json parse error: .*", "the wording of Go's JSON parser"),
    (r"error decoding patch: .*", "the wording of Go's JSON parser"),
    (r"(?<=parsing time \")(\\.|[^\"\\])*\".*", "the wording of Go's time parser"),
    (r"Invalid value: \"map\[.*", "the wording of Go's converter of untyped objects"),
    (
        r"Invalid value: \"\{.*\": (?=json|parsing|strict|no kind|converting)",
        "the patched object in Go's order of fields",
    ),
    (r"invalid continue token: .*", "the token is opaque"),
)
_WRITTEN_BY_SERVER = {"creationTimestamp", "deletionTimestamp", "time"}
_VERSIONS_IN_TEXT = re.compile(r"(?<=ResourceVersion in the precondition \()\d+|(?<=ResourceVersion in record \()\d+")
_SYMBOL = re.compile(r"<(uid|olduid|rv|oldrv):(\w+)>")
END = "tasklock.dev/end"


@dataclass(frozen=True, kw_only=True)
class Op:
    """One request; `path` is relative to the namespace's leases. A `watch` is read when the sequence is over."""

    method: str
    path: str = ""
    query: str = ""
    body: str | None = None
    content_type: str | None = "application/json"
    accept: str = "application/json"
    watch: bool = False


@dataclass(kw_only=True)
class Side:
    """One of the two servers, with what is known of it."""

    title: str
    url: str
    token: str | None = None
    ca_file: str | None = None
    namespace: str = ""
    start: str = ""
    known: dict[str, str] = field(default_factory=dict)
    incarnations: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        context = ssl.create_default_context(cafile=self.ca_file)
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=20, context=context)

    def close(self) -> None:
        self._connection.close()

    def begin(self, namespace: str) -> None:
        """Start a sequence in a fresh namespace."""
        self.namespace = namespace
        self.known, self.incarnations = {}, {}
        body = json.dumps({"metadata": {"name": namespace}})
        status, _, answer = self._send(Op(method="POST"), "/api/v1/namespaces", body)
        assert status == 201, (self.title, answer)
        self.start = answer["metadata"]["resourceVersion"]

    def run(self, op: Op) -> dict[str, Any]:
        """Send it and return the comparable answer."""
        status, headers, answer = self._send(op, self._target(op), self._resolve(op.body))
        if isinstance(answer, dict):
            self._learn(answer)
        warnings = [value for name, value in headers if name.lower() == "warning"]
        return {"status": status, "warnings": warnings, "body": self.canonical(answer)}

    def send(self, method: str, path: str, body: object, accept: str = "") -> Any:
        """Send one request as it stands and return the answer as it is."""
        text = None if body is None else json.dumps(body)
        return self._send(Op(method=method, accept=accept), path, text)[2]

    def resolved(self, op: Op) -> Op:
        """Give the symbols of a watch their present meaning, for later."""
        return Op(method=op.method, path=op.path, query=self._resolve(op.query) or "", watch=True)

    def read_watch(self, op: Op) -> list[Any]:
        """All events up to the first of an object that marks the end."""
        connection = self._connect()
        connection.request("GET", self._target(op), headers=self._headers(None, ""))
        response = connection.getresponse()
        events: list[Any] = []
        if response.status != 200:
            return [response.status, self.canonical(json.loads(response.read()))]
        for line in response:
            event = json.loads(line)
            events.append({"type": event["type"], "object": self.canonical(event["object"])})
            if event["type"] == "ERROR" or END in event["object"]["metadata"].get("annotations", {}):
                break
        connection.close()
        return events

    def _target(self, op: Op) -> str:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases{op.path}"
        return f"{path}?{self._resolve(op.query)}" if op.query else path

    def _headers(self, content_type: str | None, accept: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"Accept": accept} if accept else {}
        return headers | ({"Content-Type": content_type} if content_type else {})

    def _send(self, op: Op, path: str, body: str | None) -> tuple[int, list[tuple[str, str]], Any]:
        connection = self._connection
        headers = self._headers(op.content_type if body is not None else None, op.accept)
        connection.request(op.method, path, body=None if body is None else body.encode(), headers=headers)
        response = connection.getresponse()
        text = response.read()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = text.decode()
        return response.status, response.getheaders(), answer

    def _resolve(self, text: str | None) -> str | None:
        return None if text is None else _SYMBOL.sub(self._meaning, text)

    def _meaning(self, match: re.Match[str]) -> str:
        kind, name = match.groups()
        seen = self.incarnations.get(name, [])
        if kind == "uid":
            return seen[-1][0] if seen else "no-uid"
        if kind == "olduid":
            uids = [uid for uid, _ in seen if uid != seen[-1][0]]
            return uids[-1] if uids else "no-old-uid"
        versions = [version for _, version in seen]
        return [self.start, self.start, *versions][-1 if kind == "rv" else -2]

    def _learn(self, answer: Mapping[str, Any]) -> None:
        """Remember the versions of leases that were written or read."""
        if answer.get("kind") == "Lease" and "resourceVersion" in answer["metadata"]:
            metadata = answer["metadata"]
            seen = self.incarnations.setdefault(metadata["name"], [])
            if (metadata["uid"], metadata["resourceVersion"]) not in seen:
                seen.append((metadata["uid"], metadata["resourceVersion"]))

    def canonical(self, value: Any, name: str = "") -> Any:
        """Replace what each server makes for itself."""
        if isinstance(value, dict):
            return {self._text(key): self.canonical(item, key) for key, item in _without_versions(value).items()}
        if isinstance(value, list):
            return [self.canonical(item, name) for item in value]
        return self._canonical_text(value, name) if isinstance(value, str) else value

    def _canonical_text(self, text: str, name: str) -> str:
        if name == "uid":
            return self._placeholder("uid", text)
        if name == "resourceVersion" and text.isdecimal():
            return self._placeholder("version", text)
        if name in _WRITTEN_BY_SERVER and _is_now(text):
            return "<now>"
        return self._text(text) if name in {"message", "name", "reason"} else text

    def _placeholder(self, kind: str, value: str) -> str:
        count = sum(1 for known in self.known.values() if known.startswith(f"<{kind}"))
        return self.known.setdefault(f"{kind} {value}", f"<{kind} {count + 1}>")

    def _text(self, text: str) -> str:
        for key, placeholder in self.known.items():
            kind, _, value = key.partition(" ")
            if kind == "uid" and len(value) == 36:
                text = text.replace(value, placeholder)
        text = _VERSIONS_IN_TEXT.sub(lambda match: self._placeholder("version", match[0]), text)
        for pattern, why in IRRELEVANT:
            text = re.sub(pattern, f"<{why}>", text, flags=re.DOTALL)
        return text.replace(self.namespace, "<namespace>")


def _without_versions(value: dict[str, Any]) -> dict[str, Any]:
    """Hide what a list says of itself: the version of the whole server, and the opaque token of the next page."""
    if not str(value.get("kind", "")).endswith(("List", "Table")) or "metadata" not in value:
        return value
    return value | {
        "metadata": {
            key: item if key == "remainingItemCount" else "<of the list>" for key, item in value["metadata"].items()
        }
    }


def _is_now(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return abs(datetime.now(UTC) - moment) < timedelta(minutes=10)
