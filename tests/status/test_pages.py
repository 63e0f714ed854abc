"""The page, the JSON and the probes, as they come over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version

import pytest
from aiohttp.test_utils import TestClient, TestServer

from status.crowd import HOSTILE, NOW, XSS, Fakes, crowd, hostile_crowd, lock, ticket
from status.visit import Reader, app_of, visit
from tasklock.cli.ls import as_json as ls_json
from tasklock.lease import LockInfo
from tasklock_operator.query import MOST
from tasklock_operator.status import MAX_QUEUES, MAX_UNDER_WAY

PATHS = ("/", "/locks", "/metrics", "/healthz", "/readyz")


def page_of(fakes: Fakes, path: str = "/") -> Reader:
    reply = visit(app_of(fakes), path)
    assert reply.status == 200
    return Reader(reply.text)


def test_the_page_shows_who_holds_what_for_how_long_and_who_waits() -> None:
    held = lock("user_count_update", note="task 8f4e")
    text = page_of(Fakes([held, ticket(held, 1), ticket(held, 2)])).text
    for shown in ("user_count_update", held.lease, "task 8f4e", "default", "shop", "worker-7d9f-x2x4q_3f9c21ab",
                  "container worker", "1m40s", "28s of 30s", "2 waiting", "waiter-1_00000000", "1 held"):  # fmt: skip
        assert shown in text


def test_a_stale_lock_says_so_in_words_and_in_its_class() -> None:
    page = page_of(Fakes([lock(last_changed=NOW - 95)]))
    assert "stale 1m5s ago" in page.text
    assert page.all("tr")[1]["class"] == "stale"


def test_nothing_held_nothing_found_and_not_ready_each_have_a_sentence() -> None:
    assert "No locks are held." in page_of(Fakes()).text
    assert "No lock matches. 1 lock is held. Show all" in page_of(Fakes([lock()]), "/?lock=zzz").text
    waiting = Fakes(is_ready=(False, "waiting for the first list of leases"))
    assert "Not ready yet, so this may not be all: waiting for the first list of leases" in page_of(waiting).text


def test_a_silent_watch_is_told_with_the_age_of_what_is_shown() -> None:
    assert "silent for 2m14s" in page_of(Fakes([lock()], ages={"leases": 134.0, "pods": 1.0})).text
    assert "silent" not in page_of(Fakes([lock()], ages={"leases": 5.0, "pods": 500.0})).text
    assert "silent" not in page_of(Fakes(ages={"leases": float("inf")}, is_ready=(False, "starting"))).text


def test_of_ten_thousand_locks_a_page_shows_some_and_says_how_many_there_are() -> None:
    fakes = Fakes(crowd(10_000))
    page = page_of(fakes, "/?sort=lock&offset=200")
    assert "Showing 201\u2013400 of 10,000" in page.text
    assert len(page.all("tr")) == 201
    links = {a.get("id"): a["href"] for a in page.all("a")}
    assert (links["before"], links["after"]) == ("?sort=lock", "?sort=lock&offset=400")
    assert "Nothing on this page. Back to the first" in page_of(fakes, "/?offset=20000").text


def test_filters_and_order_are_in_the_form_and_the_headers_as_they_were_asked_for() -> None:
    page = page_of(Fakes([lock(), lock("b", app="mail")]), "/?app=%22%3E%3Cscript%3E&sort=-lock&state=held")
    assert {i["name"]: i["value"] for i in page.all("input")}["app"] == '"><script>'
    assert [o["value"] for o in page.all("option") if "selected" in o] == ["held", "-lock"]
    page = page_of(Fakes([lock(), lock("b", app="mail")]), "/?sort=lock")
    assert [th.get("aria-sort") for th in page.all("th")][:2] == ["ascending", None]
    assert {o.get("value") for o in page.all("option")} >= {"shop", "mail"}  # suggested


def test_the_part_that_is_fetched_again_is_the_same_as_in_the_page() -> None:
    fakes = Fakes(crowd(5))
    whole, part = visit(app_of(fakes), "/?sort=lock"), visit(app_of(fakes), "/?sort=lock&part=live")
    assert part.text in whole.text
    assert "<html" not in part.text


@pytest.mark.parametrize("path", ["/", "/?part=live"])
def test_hostile_text_makes_no_element_no_attribute_and_no_link(path: str) -> None:
    page = page_of(Fakes(hostile_crowd()), path)
    harmless = page_of(Fakes([lock(f"Name {n}", app="evil") for n in range(len(HOSTILE))]), path)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements} | {"small", "span", "bdi"}
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert {a["href"] for a in page.all("a")} == {a["href"] for a in harmless.all("a")}
    assert XSS in page.text
    assert r"evil\u202eexe.fdp\u2066name\u2069" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_the_policy_lets_this_style_and_this_script_run_and_nothing_else() -> None:
    reply = visit(app_of(Fakes()), "/")
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (source,) = re.findall(f"<{tag}>(.*?)</{tag}>", reply.text, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(source.encode()).digest()).decode()}';" in policy
    assert "unsafe" not in policy
    assert not Reader(reply.text).all("link")[1:]
    assert not [a for _, a in Reader(reply.text).elements if "style" in a or (a.get("src") or "")]


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/?limit=x"])
def test_every_answer_carries_the_headers_that_keep_browsers_careful(path: str) -> None:
    headers = visit(app_of(Fakes()), path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "aiohttp" not in headers["Server"]


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_like_get_without_a_body(path: str) -> None:
    reply = visit(app_of(Fakes()), path, "HEAD")
    assert (reply.status, reply.text) == (200, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", PATHS)
def test_no_other_method_is_allowed(path: str, method: str) -> None:
    assert visit(app_of(Fakes()), path, method).status == 405


@pytest.mark.parametrize("path", ["/nothing", "/release", "/locks/", "/%00", "/../etc/passwd", "/favicon.ico"])
def test_an_unknown_path_is_not_found_in_few_words(path: str) -> None:
    reply = visit(app_of(Fakes()), path)
    assert reply.status == 404
    assert len(reply.text) < 100


def test_a_query_that_cannot_be_meant_is_a_bad_request() -> None:
    for path in ("/", "/locks"):
        reply = visit(app_of(Fakes()), f"{path}?limit=many")
        assert (reply.status, reply.text) == (400, "limit must be a whole number\n")


def test_the_probes_say_what_health_says() -> None:
    good = Fakes()
    assert (visit(app_of(good), "/healthz").status, visit(app_of(good), "/readyz").text) == (200, "ready\n")
    bad = Fakes(is_ready=(False, "cannot list leases"), is_alive=(False, "the task reaper has ended"))
    ready, alive = visit(app_of(bad), "/readyz"), visit(app_of(bad), "/healthz")
    assert (ready.status, ready.text) == (503, "cannot list leases\n")
    assert (alive.status, alive.text) == (503, "the task reaper has ended\n")


def test_the_json_of_a_lock_is_that_of_tasklock_ls_and_more() -> None:
    held = lock("user_count_update", note="n")
    body = json.loads(visit(app_of(Fakes([held, ticket(held, 1)])), "/locks").text)
    (one,) = body.pop("locks")
    assert body == {
        "ready": True, "message": "ready", "watch_age_seconds": 1.5, "held": 1, "waiting": 1, "overdue": 0, "stale": 0,
        "matching": 1, "offset": 0, "limit": 200,
    }  # fmt: skip
    assert one == {
        "name": "user_count_update", "namespace": "default", "app": "shop", "lease": held.lease, "uid": held.uid,
        "holder": "worker-7d9f-x2x4q_3f9c21ab", "pod": "worker-7d9f-x2x4q", "container": "worker", "note": "n",
        "since": "2026-11-23T18:38:20+00:00", "age_seconds": 100.0, "expires_in_seconds": 28.0, "ttl_seconds": 30,
        "token": 2082, "stale": False, "state": "held", "waiting": 1,
        "queue": [{"holder": "waiter-1_00000000", "pod": "waiter-1", "since": "2026-11-23T18:38:20+00:00"}],
    }  # fmt: skip
    info = LockInfo(
        name="", lease="", namespace="", app="", holder=None, pod=None, container=None, note=None, since=None,
        age=None, expires_in=None, ttl=1, token=None, stale=False,
    )  # fmt: skip
    assert set(ls_json(info)) <= set(one)


def test_the_json_takes_the_same_filters_and_is_ascii_whatever_names_hold() -> None:
    reply = visit(app_of(Fakes([*hostile_crowd(), lock("plain")])), "/locks?app=evil&limit=3&offset=1&sort=lock")
    assert reply.text.isascii()
    assert reply.headers["Content-Type"].startswith("application/json")
    body = json.loads(reply.text)
    assert (len(body["locks"]), body["matching"], body["held"]) == (3, len(HOSTILE), len(HOSTILE) + 1)


def test_a_lock_that_only_has_waiters_is_free_in_the_json() -> None:
    (one,) = json.loads(visit(app_of(Fakes([ticket(lock("a"), 1)])), "/locks").text)["locks"]
    assert (one["state"], one["holder"], one["uid"], one["waiting"], one["lease"]) == ("free", None, None, 1, "shop.a")


def test_the_package_knows_its_version() -> None:
    assert f'tasklock_operator_info{{version="{version("tasklock")}"}} 1.0' in visit(app_of(Fakes()), "/metrics").text


def test_more_visitors_at_once_than_it_can_serve_are_asked_to_come_again() -> None:
    async def rush() -> list[int]:
        async with TestClient(TestServer(app_of(Fakes(crowd(400))))) as client:
            return [reply.status for reply in await asyncio.gather(*(client.get("/locks") for _ in range(40)))]

    statuses = asyncio.run(rush())
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= MAX_UNDER_WAY


def test_what_strangers_write_makes_an_answer_only_so_large() -> None:
    text = "\U000e0100" * 253  # written out, each takes ten characters; in JSON, twelve
    wild = {"holder": text, "pod": text[:-1], "container": text, "note": text}
    held = [replace(lock(f"n{n}", **wild), name=text) for n in range(MOST)]
    app = app_of(Fakes([*held, *(ticket(one, n, holder=text, pod=text) for one in held for n in range(8))]))
    page = visit(app, f"/?limit={10 * MOST}&part=live").text
    assert page.count("<tr ") == MOST + 1
    assert len(page.encode()) < 6_000 * MOST
    assert page.count("<li>") == 5 * MOST + 5  # the figures are a list too
    body = json.loads(
        visit(app_of(Fakes([*held, *(ticket(one, n) for one in held for n in range(8))])), "/locks?limit=10000").text
    )
    assert sum(len(one["queue"]) for one in body["locks"]) == MAX_QUEUES
    assert {one["waiting"] for one in body["locks"]} == {8}
