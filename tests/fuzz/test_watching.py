"""What a watch brings the operator: any bytes, in any pieces. kopf is given nothing that it would end with."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.heard import OURS, PODS, many
from fuzz.strategies import EVENTS, LEASES, LISTS, NESTED, RAW, almost, encoded
from reaping.fakes import Api
from tasklock.protocol.effects import Reply
from tasklock.transport.aio import Stream
from tasklock_operator import trouble
from tasklock_operator.book import Book
from tasklock_operator.link import SERVER, Link, Watching
from tasklock_operator.place import Place
from tasklock_operator.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock_operator.link import Answer

EXPIRED = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}
CHANGES = ("ADDED", "MODIFIED", "DELETED")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_PAUSE", 0.0)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def event(kind: st.SearchStrategy[str], obj: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": kind, "object": obj})


METADATA = st.fixed_dictionaries({"uid": st.just("u"), "resourceVersion": st.integers(1, 99).map(str)})
RIGHT = event(st.sampled_from(CHANGES), st.fixed_dictionaries({"metadata": METADATA}))
BOOKMARKS = event(st.just("BOOKMARK"), st.fixed_dictionaries({"metadata": METADATA}))
ERRORS = event(st.just("ERROR"), st.just({"code": 500}))
LINES = st.one_of(
    RIGHT.map(compact),
    event(st.sampled_from(CHANGES), OURS | PODS | LEASES).map(compact),
    almost(st.one_of(RIGHT, BOOKMARKS, ERRORS)).map(compact) | st.one_of(RIGHT, BOOKMARKS, ERRORS, EVENTS).map(encoded),
    RAW | st.sampled_from([b"", b" \r", b"\xef\xbb\xbf{}", '{"type":"ADDED","object":{}}'.encode("utf-16")]),
)


class Pieces:
    """A response whose body comes in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.content = self
        self._pieces = iter(pieces)

    async def readany(self) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        pass


class Heard:
    """What a watch told the book, in order, and what it told kopf."""

    def __init__(self, resource: str, pieces: list[bytes]) -> None:
        self.book = Book()
        self.seen: list[tuple[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.version: str | None = None  # from where kopf would go on; None: it lists again
        stream = Stream(cast("Any", Pieces([piece for piece in pieces if piece])))
        asyncio.run(self._read(Watching(Place(resource, None), stream, self._see)))

    def _see(self, _: str, event: Any) -> None:
        (self.book.lease_gone if event["type"] == "DELETED" else self.book.lease_seen)(event["object"], event["at"])
        self.seen.append((event["type"], event["object"]))

    async def _read(self, watching: Watching) -> None:
        text = b"".join([chunk async for chunk in watching.iter_chunked(1)])
        assert not text or text.endswith(b"\n")
        for line in text.split(b"\n")[:-1]:
            self._take(json.loads(line.decode()))

    def _take(self, told: dict[str, Any]) -> None:
        """Read a line as kopf does, which ends with any error but one."""
        if told["type"] == "ERROR":
            assert told["object"] == EXPIRED
            self.told.append({"type": "ERROR"})
            self.version = None
            return
        assert self.told[-1:] != [{"type": "ERROR"}], "it is over then"
        assert told["type"] in {*CHANGES, "BOOKMARK"}
        self.version = told["object"]["metadata"].get("resourceVersion", self.version)
        assert self.version is None or isinstance(self.version, str)
        assert urlencode({"resourceVersion": self.version})
        if told["type"] != "BOOKMARK":
            assert isinstance(told["object"]["metadata"]["uid"], str)
            assert isinstance(told.pop("at"), float)
            self.told.append(told)
            (self.book.pod_gone if told["type"] == "DELETED" else self.book.pod_seen)(told["object"], 1.0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Heard) and self._all() == other._all()

    __hash__ = None  # type: ignore[assignment]

    def _all(self) -> str:
        return repr((self.seen, self.told, self.version))  # by its text, for no NaN equals itself


PLACES = st.sampled_from(["leases", "pods"])
WRITERS = st.sampled_from([compact, encoded])
WRONG = ERRORS.flatmap(lambda error: st.sampled_from([compact(error), encoded(error)])) | st.sampled_from(
    [
        b"{",
        b"null",
        b"[]",
        NESTED,
        b"\xff",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":[]}',
        b'{"type":"TOLD","object":{}}',
        b'{"type":[],"object":{}}',
        b'{"type":"MODIFIED","object":{"metadata":{"generation":%s}}}' % (b"9" * 5000),
    ]
)
LISTED = {"items": [{"metadata": {"uid": "u"}}], "metadata": {"resourceVersion": "7"}}


def changed(**metadata: Any) -> bytes:
    return compact({"type": "MODIFIED", "object": {"metadata": metadata}}) + b"\n"


@many(5)
@given(resource=PLACES, whole=st.lists(LINES, max_size=5).map(b"\n".join), places=st.lists(st.floats(0, 1), max_size=6))
@example(resource="leases", whole=changed(uid="u", resourceVersion=7), places=[])
@example(resource="leases", whole=changed(uid="u", resourceVersion='"'), places=[])
@example(resource="leases", whole=changed(uid="u", resourceVersion="\ud800"), places=[])
@example(resource="pods", whole=changed(uid=["u"]), places=[])
@example(resource="pods", whole=changed(name="p"), places=[])
def test_a_watch_is_heard_the_same_in_whatever_pieces_its_bytes_come(
    resource: str, whole: bytes, places: list[float]
) -> None:
    cuts = sorted(int(place * len(whole)) for place in places)
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert Heard(resource, pieces) == Heard(resource, [whole])


@many(5)
@given(resource=PLACES, right=st.lists(RIGHT | BOOKMARKS, max_size=4), wrong=st.none() | WRONG, write=WRITERS)
def test_whatever_happens_is_heard_once_and_in_order_up_to_a_line_that_is_none(
    resource: str, right: list[dict[str, Any]], wrong: bytes | None, write: Callable[[object], bytes]
) -> None:
    lines = [write(one) for one in right] + ([] if wrong is None else [wrong, write(right)])
    heard = Heard(resource, [b"".join(line + b"\n" for line in lines)])
    happened = [(one["type"], one["object"]) for one in right if one["type"] != "BOOKMARK"]
    versions = [one["object"]["metadata"]["resourceVersion"] for one in right]
    told = [(one["type"], one.get("object")) for one in heard.told]
    ended = [] if wrong is None else [("ERROR", None)]
    assert (heard.seen, told) == (([], happened + ended) if resource == "pods" else (happened, ended))
    assert heard.version == (None if wrong is not None or not right else versions[-1])


@many(2)
@given(body=LISTS | almost(st.just(LISTED)), status=st.sampled_from([*[200] * 8, 404, 500]))
def test_a_list_that_is_none_is_asked_for_again(body: Any, status: int) -> None:
    api, places = Api(Reply(status=status, body=body), Reply(status=200, body=LISTED)), [Place("leases", None)]
    link = Link(cast("Any", api), places, discovery=Trouble("ask"), relisted=lambda _: None, seen=lambda _, __: None)

    async def asked() -> Any:
        answer = await link.request(method="get", url=f"{SERVER}/apis/coordination.k8s.io/v1/leases?limit=9")
        return await cast("Answer", answer).json()

    told = asyncio.run(asked())
    assert told["items"] == []
    assert all(isinstance(text, str) and text.isascii() for text in told["metadata"].values())
    right = status == 200 and isinstance(body.get("items"), list) and isinstance(body.get("metadata"), dict)
    assert len(api.asked) == (1 if right else 2)
