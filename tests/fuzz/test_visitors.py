"""Whoever asks the operator's pages for anything, and what strangers wrote shown on them: text, and never a 500."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fuzz.heard import many, written
from fuzz.strategies import TEXT
from status.crowd import NOW, lock
from status.surf import Site
from status.visit import Reader
from tasklock_operator.entry import read_entry
from tasklock_operator.query import FILTERS
from tasklock_operator.text import CUT, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasklock_operator.entry import Entry

MARKUP = st.lists(
    st.sampled_from(
        [
            "<zz>",
            "</td></tr></table><zz>",
            '"',
            "'",
            '" zz=1 onload=zz() ',
            "<script>zz()</script>",
            "</script>",
            "</style>",
            "</title>",
            "<!--",
            "-->",
            "<![CDATA[",
            "&lt;zz&gt;",
            "&#60;zz&#62;",
            "&quot;",
            "{{ 7 * 7 }}",
            "{% raw %}",
            "javascript:zz()",
            "\u202e",
            "\x00",
            "=",
            ">",
            "`",
        ]
    )
    | st.text(max_size=3),
    max_size=5,
).map("".join)
WORDS = MARKUP | TEXT.map(lambda text: text[:300])
MADE_UP = {"zz", "onload"}
AROUND = {"bdi", "span", "small"}
CLASSES = {"name", "who", "dim", "esc", "unseen", "mark", "arrow", "mono", "dot"}
CHARSETS = (b"utf-8", b"latin-1", b"utf-7", b"utf-16", b"unicode_escape", b"idna", b"rot13", b"zz", b'"', b"\xff")
HELD = lock("nightly-report")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def ask(url: str, path: bytes, *head: bytes, method: bytes = b"GET", body: bytes = b"") -> tuple[int, bytes, str]:
    """Send these very bytes; return the status, the headers and the body."""
    host, port = urlsplit(url).netloc.split(":")
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *head]
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body]))
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    start, _, content = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), start, content.decode()


def names(html: str) -> set[str]:
    """Return the names of all elements and attributes of a page."""
    return {name for tag, attributes in Reader(html).elements for name in (tag, *attributes)}


def shape(html: str) -> list[tuple[str, ...]]:
    """Return a page's elements with their attributes' names, but for those around what strangers wrote."""
    page = Reader(html)
    for tag, attributes in page.elements:
        if tag in AROUND:
            assert attributes.keys() <= {"class", "title", "id", "aria-hidden"}
            assert attributes.get("class", "esc") in CLASSES
    return [(tag, *attributes) for tag, attributes in page.elements if tag not in AROUND]


def links(html: str) -> list[str | None]:
    return [one["href"] for one in Reader(html).all("a")]


# ---- queries


ASKED = {
    "state": st.sampled_from(["", "held", "overdue", "stale", "waiting"]) | WORDS,
    "sort": st.sampled_from(["", "age", "-age", "-left", "holder", "--age"]) | WORDS,
    "limit": st.sampled_from(["", "0", "7", "-1", "\u0663", "\u00b2", "9" * 5000, " 5 ", "1e3"]) | WORDS,
    "offset": st.sampled_from(["", "0", "1", "999999999", "1_0"]) | WORDS,
    "part": st.sampled_from(["live", ""]) | WORDS,
}
FILTERED = dict.fromkeys(FILTERS, WORDS)
QUERIES = st.fixed_dictionaries({}, optional=FILTERED | ASKED)
BYTES = st.binary(max_size=100).map(lambda text: text.translate(None, b" \r\n")) | st.sampled_from(
    [b"limit=%ff", b"lock=%ED%A0%80", b"&" * 900, b"lock=%", b"%00=%00", b"lock=+AGEAYg-", b"back=+2AA-"]
)


def written_out(asked: dict[str, str]) -> bytes:
    return urlencode(asked, errors="replace").encode()


@many(3)
@given(query=QUERIES.map(written_out) | BYTES, where=st.sampled_from([b"/?", b"/locks?"]))
@example(query=b"limit=%C2%B2", where=b"/?")
def test_any_query_is_answered_with_a_page_or_as_a_bad_request(site: Site, query: bytes, where: bytes) -> None:
    site.fakes.entries = [HELD]
    for url in (site.url, site.proxied):
        status, _, text = ask(url, where + query)
        assert status in {200, 400}
        if status == 200 and where == b"/locks?":
            assert json.loads(text)["held"] == 1
        elif status == 200:
            assert not names(text) & MADE_UP


@many(2)
@given(asked=st.fixed_dictionaries(FILTERED))
def test_what_was_asked_for_stands_in_its_field_and_nowhere_else(site: Site, asked: dict[str, str]) -> None:
    site.fakes.entries = []
    meant = {name: text.encode(errors="replace").decode().strip() for name, text in asked.items()}
    _, __, text = ask(site.url, b"/?" + written_out(asked))
    _, __, harmless = ask(site.url, b"/?" + written_out({name: text and "w" for name, text in meant.items()}))
    assert {one["name"]: one["value"] for one in Reader(text).all("input")} == meant
    assert shape(text) == shape(harmless)
    assert all(link in {"#locks", "locks", "metrics"} or str(link).startswith("?") for link in links(text))


# ---- what strangers wrote


@many(2)
@given(leases=st.lists(written(WORDS), min_size=1, max_size=3))
def test_what_strangers_wrote_is_text_on_the_page_and_nothing_else(site: Site, leases: list[Any]) -> None:
    entries = [entry for obj in leases if (entry := read_entry(obj, NOW - 1))]
    assume(entries)
    for path in (b"/", b"/?part=live"):
        site.fakes.entries = entries
        status, _, text = ask(site.proxied, path, b"X-Forwarded-User: alice")
        site.fakes.entries = [plainly(entry) for entry in entries]
        _, __, harmless = ask(site.proxied, path, b"X-Forwarded-User: alice")
        assert status == 200
        assert (shape(text), links(text)) == (shape(harmless), links(harmless))
        for entry in entries:
            if entry.queue is None and len(plain(entry.name)) <= CUT:
                assert plain(entry.name) in "".join(Reader(text).words)


def plainly(entry: Entry) -> Entry:
    """Return the same Lease, as somebody wrote it who means no harm."""
    texts: Any = {name: getattr(entry, name) and name for name in ("name", "holder", "pod", "container", "note")}
    return replace(entry, **texts)


@many(2)
@given(leases=st.lists(written(WORDS), max_size=3))
def test_it_is_exact_in_the_json_which_is_ascii(site: Site, leases: list[Any]) -> None:
    site.fakes.entries = [entry for obj in leases if (entry := read_entry(obj, NOW - 1))]
    status, head, text = ask(site.url, b"/locks")
    assert status == 200
    assert b"application/json" in head
    assert text.isascii()
    keys = ("name", "lease", "namespace", "app", "holder", "pod", "container", "note", "token")
    shown = [[one[key] for key in keys] for one in json.loads(text)["locks"] if one["state"] != "free"]
    meant = [[getattr(entry, key) for key in keys] for entry in site.fakes.entries if entry.queue is None]
    assert sorted(shown, key=repr) == sorted(meant, key=repr)


# ---- forms


FORMS = st.fixed_dictionaries(
    {},
    optional={
        "namespace": st.just(HELD.namespace) | WORDS,
        "lease": st.just(HELD.lease) | WORDS,
        "uid": st.just(HELD.uid) | WORDS,
        "back": QUERIES.map(lambda asked: written_out(asked).decode()) | WORDS,
    },
)
RIGHT = {"namespace": HELD.namespace, "lease": HELD.lease, "uid": HELD.uid}
SENT = st.one_of(
    FORMS.map(written_out), FORMS.map(lambda form: written_out(RIGHT | form)), BYTES, st.just(b"x" * 20_000)
)
FORM = b"application/x-www-form-urlencoded"
TYPES = st.sampled_from(
    [
        *[FORM] * 40,
        *(FORM + b"; charset=" + one for one in CHARSETS),
        b"text/plain",
        b"",
        b"\xff",
        b"a/b; c",
        b"multipart/form-data",
    ]
)
HEADERS = st.fixed_dictionaries(
    {
        b"X-Forwarded-User": st.sampled_from([*[b"alice"] * 16, b"<zz>", b"\xff\xfe", b"a" * 300, b""]),
        b"Sec-Fetch-Site": st.sampled_from([*[b"same-origin"] * 16, b"cross-site", b"\xff", b""]),
        b"Content-Type": TYPES,
    },
    optional={
        b"Origin": st.sampled_from([b"http://x", b"https://[", b"null", b"//\xff", b"http://\xe2\x84\xab"]),
        b"X-Forwarded-Host": st.sampled_from([b"x", b",", b"\xff"]),
        b"Cookie": st.sampled_from(
            [b"tasklock-flash=gone.<zz>", b'tasklock-flash="gone.\\303"', b"=;;=\xff", b"a" * 3000]
        ),
    },
)


@many(4)
@given(body=SENT, headers=HEADERS)
def test_any_form_is_refused_in_a_sentence_or_frees_the_very_lock_that_it_names(
    site: Site, body: bytes, headers: dict[bytes, bytes]
) -> None:
    site.fakes.entries, site.released[:] = [HELD], []
    head = [name + b": " + value for name, value in headers.items()]
    status, answered, text = ask(site.proxied, b"/release", *head, method=b"POST", body=body)
    assert status in {303, 400, 403, 413, 415}
    assert text.isascii()
    assert text.count("\n") <= 1
    if status == 303:
        (way,) = [line for line in answered.split(b"\r\n") if line.startswith(b"Location: ")]
        assert way.startswith(b"Location: ./?")
        sent = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        assert bool(site.released) == ({name: sent.get(name) for name in RIGHT} == RIGHT)
    else:
        assert not site.released
    status, _, text = ask(site.proxied, b"/", *head)
    assert status in {200, 400}
    assert not names(text) & MADE_UP
