"""The link hides every failure from kopf, and sees what kopf does not tell."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from reaping.fakes import Api, Counting, Stream, listing, ok, status, unanswered
from tasklock.protocol.effects import Reply
from tasklock.transport.clock import clock
from tasklock_operator import link as module
from tasklock_operator import place as place_module
from tasklock_operator import trouble
from tasklock_operator.health import Health
from tasklock_operator.link import SERVER, Link, StartAgainError
from tasklock_operator.place import Place
from tasklock_operator.trouble import Trouble

if TYPE_CHECKING:
    from tasklock.transport.aio import AsyncApi

LEASES = f"{SERVER}/apis/coordination.k8s.io/v1/leases"
PODS = f"{SERVER}/api/v1/namespaces/a/pods"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(trouble, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(place_module, "SETTLE_SECONDS", 0.0)
    caplog.set_level(logging.INFO, logger="tasklock_operator")


@pytest.fixture(autouse=True)
def _only_the_operators_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep out what the library tells of locks that tests before have left behind."""
    monkeypatch.setattr(logging.getLogger("tasklock"), "disabled", True)


class Silent(Stream):
    """A watch that is open, and brings nothing."""

    async def lines(self) -> list[bytes]:
        await asyncio.Event().wait()
        raise AssertionError


class Linked:
    """A link over a scripted API, for leases of the cluster and pods of namespace a."""

    def __init__(self, *script: Any) -> None:
        self.api = Api(*script)
        self.discovery = Trouble("ask the API server what it serves")
        self.leases, self.pods = Place("leases", None), Place("pods", "a")
        self.renewed: list[str] = []
        self.types: list[str] = []
        self.listed: list[tuple[str, str]] = []
        self.fresh: list[tuple[str, set[str]]] = []
        self.link = Link(
            cast("AsyncApi", self.api),
            [self.leases, self.pods],
            discovery=self.discovery,
            relisted=self._relisted,
            seen=self._see,
        )
        self.link.metrics = cast("Any", Counting())
        self.health = Health([self.leases, self.pods], self.discovery)

    def _see(self, resource: str, event: Any) -> None:
        if event["type"] is None:
            self.listed.append((resource, event["object"]["metadata"]["uid"]))
        else:
            assert resource == "leases"
            assert event["at"] <= clock()
            self.renewed.append(event["object"]["metadata"]["resourceVersion"])
            self.types.append(event["type"])

    def _relisted(self, place: Place) -> None:
        assert place.asked <= clock()
        self.fresh.append((place.name, set(place.uids)))

    def get(self, *urls: str, within: float | None = None) -> list[Any]:
        async def run() -> list[Any]:
            async with asyncio.timeout(within):
                return [await self._read(await self.link.request(method="get", url=url)) for url in urls]

        return asyncio.run(run())

    @staticmethod
    async def _read(answer: Any) -> Any:
        async with answer:
            if hasattr(answer, "json"):
                return await answer.json()
            return b"".join([chunk async for chunk in answer.iter_chunked(1)]).splitlines()


def test_a_list_that_fails_is_asked_again_until_it_works_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = status(403, "Forbidden", 'leases is forbidden: User "x" cannot list')
    linked = Linked(forbidden, forbidden, forbidden, listing(["u"]), Stream())
    linked.get(f"{LEASES}?limit=250")
    assert linked.leases.trouble, "listed, but not yet watched"
    linked.get(f"{LEASES}?watch=true&resourceVersion=7")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("cannot list and watch leases in the whole cluster: 403 ")
    assert "bind the operator's Role" in told[0]
    assert told[1].startswith("able to list and watch leases in the whole cluster again, after ")
    assert cast("Any", linked.link.metrics).errors == [("list", 403)] * 3


def test_what_is_listed_goes_straight_to_the_book_and_kopf_gets_an_empty_list() -> None:
    linked = Linked(listing(["a", "b"], more="next"), listing(["c"]), listing(["c"]))
    (first,) = linked.get(f"{LEASES}?limit=2")
    assert first == {"items": [], "metadata": {"resourceVersion": "7", "continue": "next"}}
    assert not linked.fresh
    assert not linked.leases.listed
    (second,) = linked.get(f"{LEASES}?limit=2&continue=next")
    assert second["items"] == []
    assert linked.listed == [("leases", "a"), ("leases", "b"), ("leases", "c")]
    assert linked.fresh == [("leases", {"a", "b", "c"})], "the last page completes it"
    assert linked.leases.listed
    linked.get(f"{LEASES}?limit=2")
    assert linked.fresh[1] == ("leases", {"c"})


def test_a_list_of_one_namespace_is_told_with_its_name() -> None:
    linked = Linked(listing(["p"]))
    linked.get(f"{PODS}?limit=250")
    assert (linked.listed, linked.fresh) == ([("pods", "p")], [("pods/a", {"p"})])


def test_a_page_that_is_too_large_is_asked_for_in_smaller_pieces_from_then_on() -> None:
    large = Reply(status=0, oversized=True, error="a reply of more than 16,777,216 bytes")
    linked = Linked(large, listing(["a"], more="next"), large, listing(["b"]))
    linked.get(f"{LEASES}?limit=250", f"{LEASES}?limit=250&continue=next")
    limits = [path.partition("limit=")[2] for _, path in linked.api.asked]
    assert limits == ["250", "31", "31&continue=next", "3&continue=next"]
    assert linked.fresh == [("leases", {"a", "b"})]
    assert not linked.leases.trouble


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED"])
def test_what_nests_by_thousands_in_a_watch_ends_nothing(kind: str) -> None:
    deep = b'{"f":[' * 5_000 + b"1" + b"]}" * 5_000
    line = b'{"type":"%s","object":{"metadata":{"uid":"a","resourceVersion":"8","managedFields":%s}}}'
    linked = Linked(Stream([line % (kind.encode(), deep)]))
    linked.get(f"{LEASES}?watch=true")
    assert linked.renewed == ["8"]
    (got,) = Linked(Stream([line % (kind.encode(), deep)])).get(f"{PODS}?watch=true")
    told = [json.loads(one)["object"]["metadata"]["resourceVersion"] for one in got]
    assert told == ["8"]


def test_odd_objects_in_a_list_are_left_out() -> None:
    linked = Linked(ok({"items": [None, 7, {}, {"metadata": 7}, {"metadata": {"uid": 7}}], "metadata": {}}))
    linked.get(f"{LEASES}?limit=250")
    assert linked.fresh == [("leases", set())]


def test_pages_that_grew_too_old_make_kopf_start_again_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    linked = Linked(listing(["a"], more="next"), status(410, "Expired"))
    with pytest.raises(StartAgainError) as caught:
        linked.get(f"{LEASES}?limit=1", f"{LEASES}?limit=1&continue=next")
    assert isinstance(caught.value, aiohttp.ClientPayloadError)
    assert not caplog.records
    assert not linked.fresh


def test_watched_lines_carry_the_time_they_came_at() -> None:
    before = clock()
    lines = [b'{"type":"ADDED","object":{"metadata":{"uid":"a"}}}', b'{"type":"BOOKMARK","object":{}}']
    (got,) = Linked(Stream(lines)).get(f"{PODS}?watch=true")
    told = [json.loads(line) for line in got]
    assert [one["type"] for one in told] == ["ADDED", "BOOKMARK"]
    assert before <= told[0]["at"] <= clock()
    assert told[0]["object"] == {"metadata": {"uid": "a"}}


def test_what_happens_to_a_lease_goes_straight_to_the_book_and_kopf_learns_now_and_then_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = [
        b'{"type":"%s","object":{"metadata":{"uid":"a","resourceVersion":"%d"}}}' % (kind, version)
        for version, kind in enumerate((b"ADDED", b"MODIFIED", b"DELETED"), 8)
    ]

    def told() -> list[tuple[str, str]]:
        linked = Linked(Stream(changes[:2], changes[2:]))
        (got,) = linked.get(f"{LEASES}?watch=true")
        assert linked.renewed == ["8", "9", "10"]
        assert linked.types == ["ADDED", "MODIFIED", "DELETED"]
        return [(one["type"], one["object"]["metadata"]["resourceVersion"]) for one in map(json.loads, got)]

    assert told() == [("BOOKMARK", "10")], "where the next watch goes on"
    monkeypatch.setattr(module, "BOOKMARK_SECONDS", 0.0)
    assert told() == [("BOOKMARK", "9"), ("BOOKMARK", "10")]


def test_a_line_that_is_none_makes_kopf_list_again() -> None:
    linked = Linked(Stream([b'{"type":"MODIFIED","object":{"met', b"never"]))
    (got,) = linked.get(f"{LEASES}?watch=true")
    assert [json.loads(line)["object"]["code"] for line in got] == [410]
    assert not linked.renewed


def test_a_changed_pod_goes_the_long_way() -> None:
    linked = Linked(Stream([b'{"type":"MODIFIED","object":{}}']))
    (got,) = linked.get(f"{PODS}?watch=true")
    assert json.loads(got[0])["type"] == "MODIFIED"
    assert not linked.renewed


@pytest.mark.parametrize("code", [410, 500, 403])
def test_any_error_in_a_watch_makes_kopf_list_again(code: int) -> None:
    """It ends with any but 410."""
    error = json.dumps({"type": "ERROR", "object": {"code": code}}, separators=(",", ":")).encode()
    (got,) = Linked(Stream([b'{"type":"ADDED","object":{}}', error], [b"never"])).get(f"{PODS}?watch=true")
    assert [json.loads(line)["type"] for line in got] == ["ADDED", "ERROR"]
    assert json.loads(got[1])["object"]["code"] == 410


def test_a_watch_that_is_refused_as_too_old_makes_kopf_list_again() -> None:
    (got,) = Linked(status(410, "Expired")).get(f"{LEASES}?watch=true")
    assert [json.loads(line)["object"]["code"] for line in got] == [410]


def test_a_watch_that_ends_at_once_is_not_opened_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    linked = Linked(*(Stream() for _ in range(12)))
    for _ in range(12):
        linked.get(f"{LEASES}?watch=true")
    assert pauses == sorted(pauses)
    assert (len(pauses), pauses[0], pauses[-1]) == (11, 0.1, 5.0)


def test_watches_that_kopf_gives_up_as_silent_are_told_once_until_one_brings_something(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BRIEF", 0.0)
    linked = Linked(Stream(), Silent(), Silent(), Stream([b'{"type":"BOOKMARK","object":{}}']))

    def told_after_giving_up() -> list[str]:
        with pytest.raises(TimeoutError):
            linked.get(f"{LEASES}?watch=true", within=0.01)
        linked.leases.heard -= 35
        return [record.getMessage() for record in caplog.records]

    linked.get(f"{LEASES}?watch=true")
    assert told_after_giving_up() == [], "not before another is opened: an operator that ends gives them up too"
    (told,) = told_after_giving_up()
    assert told.startswith("cannot hear of leases: its watch brought nothing for 35 s (")
    linked.get(f"{LEASES}?watch=true")
    (over,) = caplog.records[1:]
    assert over.getMessage().startswith("able to hear of leases again, after ")
    assert not linked.leases.trouble, "what is due is freed all the while"


def test_a_watch_that_kopf_gives_up_early_was_not_silent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock runs on while the API server refuses to open one."""
    monkeypatch.setattr(module, "BRIEF", 0.0)
    linked = Linked(Silent(), Stream())
    with pytest.raises(TimeoutError):
        linked.get(f"{LEASES}?watch=true", within=0.01)
    linked.leases.heard -= 20
    linked.get(f"{LEASES}?watch=true")
    assert not caplog.records


def test_discovery_is_waited_for_too_and_what_is_not_served_is_told_to_kopf() -> None:
    linked = Linked(unanswered(), status(503, "ServiceUnavailable"), ok({"versions": ["v1"]}))
    assert linked.get(f"{SERVER}/api") == [{"versions": ["v1"]}]
    with pytest.raises(aiohttp.ClientResponseError):
        asyncio.run(
            Linked(status(404, "NotFound")).link.request(method="get", url=f"{SERVER}/apis/x/v1")
        ).raise_for_status()


@pytest.mark.parametrize("method", ["patch", "post", "put", "delete"])
def test_kopf_never_writes(method: str) -> None:
    linked = Linked()
    with pytest.raises(PermissionError):
        asyncio.run(linked.link.request(method=method, url=f"{PODS}/x"))
    assert not linked.api.asked


def test_another_trouble_is_told_only_if_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that starts refuses, then knows nobody, then all is well: one outage."""
    script = [unanswered(), status(403, "Forbidden"), unanswered(), status(403, "Forbidden"), listing(["u"])]
    Linked(*script).get(f"{LEASES}?limit=250")
    assert len(caplog.records) == 1
    caplog.clear()
    monkeypatch.setattr(trouble, "OTHERWISE", 0.0)
    Linked(unanswered(), *([status(403, "Forbidden")] * 9), listing(["u"])).get(f"{LEASES}?limit=250")
    assert len(caplog.records) == 2


def test_alive_while_it_knows_why_it_sees_nothing_and_not_while_it_does_not() -> None:
    linked = Linked(unanswered())
    assert linked.health.alive() == (True, "alive")
    linked.leases.heard -= 121
    alive, why = linked.health.alive()
    assert not alive
    assert "nothing was heard of leases for 121 s" in why
    linked.leases.trouble.met(unanswered())
    assert linked.health.alive()[0]
    assert linked.health.blind("any")
    linked.leases.trouble.over()
    assert not linked.health.blind("any")


def test_alive_for_as_long_as_the_api_server_is_away_from_the_start() -> None:
    linked = Linked(ok({"versions": ["v1"]}))
    linked.discovery.met(unanswered())
    linked.leases.heard -= 3600
    assert linked.health.alive() == (True, "alive")
    assert linked.health.ready() == (False, "cannot ask the API server what it serves")
    linked.get(f"{SERVER}/api")
    assert linked.health.alive() == (True, "alive"), "counted from now on"


def test_alive_only_while_its_tasks_are() -> None:
    async def run() -> tuple[bool, str]:
        linked = Linked()
        linked.health.tasks = [asyncio.create_task(asyncio.sleep(0), name="reaper")]
        await linked.health.tasks[0]
        return linked.health.alive()

    assert asyncio.run(run()) == (False, "the task reaper has ended")


def test_ready_says_what_is_missing() -> None:
    linked = Linked(listing([]), listing(["p"]))
    assert linked.health.ready() == (False, "waiting for the first list of leases")
    linked.get(f"{LEASES}?limit=250")
    assert linked.health.ready() == (False, "waiting for the first list of pods/a")
    linked.get(f"{PODS}?limit=250")
    assert linked.health.ready() == (True, "ready")
    assert set(linked.health.watch_age()) == {"leases", "pods/a"}
