"""What Prometheus is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from status.crowd import HOSTILE, NOW, WALL, Fakes, crowd, hostile_crowd, lock, ticket
from status.visit import app_of, visit
from tasklock.protocol.effects import Time
from tasklock_operator.metrics import OPEN_METRICS, Metrics, format_of
from tasklock_operator.series import IDLE, MAX_APPS, MAX_PAIRS, OTHER

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

WHOSE = ("app", "namespace")


class Scraped:
    """A Metrics and the clock it goes by."""

    def __init__(self, *entries: object, per_lock: bool = False) -> None:
        self.now = NOW
        self.fakes = Fakes(list(entries))  # type: ignore[arg-type]
        self.metrics = Metrics(self.fakes, self.fakes, per_lock=per_lock, clocks=lambda: Time(self.now, WALL))

    def samples(self) -> list[Sample]:
        self.metrics._written.clear()  # each look is a new one here
        body, _ = asyncio.run(self.metrics.page(""))
        return [sample for family in plain_text(body.decode()) for sample in family.samples]

    def held(self) -> dict[tuple[str, str], float]:
        """Return the gauge of held locks, without writing and reading all the others."""
        self.metrics._now.look()
        (family,) = [family for family in self.metrics._now.collect() if family.name == "tasklock_locks_held"]
        return {(s.labels["namespace"], s.labels["app"]): s.value for s in family.samples}

    def value(self, name: str, **labels: str) -> float | None:
        found = [s.value for s in self.samples() if s.name == name and s.labels == labels]
        assert len(found) <= 1
        return found[0] if found else None


def test_however_many_ask_within_a_second_the_page_is_written_once() -> None:
    scraped = Scraped(lock())
    page, metrics = asyncio.run, scraped.metrics

    async def crowd() -> list[tuple[bytes, str]]:
        return await asyncio.gather(*(metrics.page("") for _ in range(50)))

    first = {body for body, _ in page(crowd())}
    scraped.metrics.api_error("delete", 403)
    assert {body for body, _ in page(crowd())} == first
    assert len(first) == 1
    scraped.now += 1
    assert b'verb="delete"' in page(metrics.page(""))[0]


def test_no_mixture_of_formats_has_it_written_more_than_once_each() -> None:
    metrics = Scraped(lock()).metrics

    async def crowd() -> set[bytes]:
        versions = [f"application/openmetrics-text;version={n}.0.0;escaping=e{n}" for n in range(20)]
        return {(await metrics.page(accept))[0] for accept in [*versions, "", "text/plain"] * 2}

    assert len(asyncio.run(crowd())) == 2
    assert len(metrics._written) == 2


def test_the_format_that_is_named_first_is_taken_and_no_stranger_invents_another() -> None:
    assert format_of("text/html, application/openmetrics-text;version=x;q=0.7, text/plain") == OPEN_METRICS
    assert not format_of("text/plain;version=1.0.0;escaping=allow-utf-8, application/openmetrics-text")
    assert not format_of("*/*")
    odd = {"Accept": "application/openmetrics-text;version=x"}
    assert visit(app_of(Fakes()), "/metrics", headers=odd).status == 200


def test_the_names_and_labels_are_those_that_dashboards_rely_on() -> None:
    scraped = Scraped(lock())
    scraped.metrics.reaped("shop", "default", "expired", 0.2)
    scraped.metrics.released("shop", "default", 12)
    scraped.metrics.api_error("delete", 403)
    scraped.metrics.handled(0.01)
    body, _ = asyncio.run(scraped.metrics.page(""))
    found = {
        (family.name, family.type): {tuple(sorted(set(s.labels) - {"le"})) for s in family.samples}
        for family in plain_text(body.decode())
        if family.name.startswith("tasklock")
    }
    assert found == {
        ("tasklock_locks_held", "gauge"): {WHOSE},
        ("tasklock_locks_waiting", "gauge"): {WHOSE},
        ("tasklock_oldest_hold_seconds", "gauge"): {WHOSE},
        ("tasklock_locks_stale", "gauge"): {WHOSE},
        ("tasklock_reaped", "counter"): {(*WHOSE, "reason")},
        ("tasklock_reap_delay_seconds", "histogram"): {("reason",)},
        ("tasklock_hold_duration_seconds", "histogram"): {WHOSE},
        ("tasklock_watch_age_seconds", "gauge"): {("resource",)},
        ("tasklock_api_errors", "counter"): {("status", "verb")},
        ("tasklock_handler_lag_seconds", "histogram"): {()},
        ("tasklock_operator_info", "gauge"): {("version",)},
    }


def test_locks_are_counted_per_namespace_and_app_and_tickets_apart() -> None:
    one, two, mail = lock("a"), lock("b"), lock("c", app="mail", namespace="prod")
    scraped = Scraped(one, two, mail, ticket(one, 1), ticket(one, 2))
    shop = {"namespace": "default", "app": "shop"}
    assert scraped.value("tasklock_locks_held", **shop) == 2
    assert scraped.value("tasklock_locks_waiting", **shop) == 2
    assert scraped.value("tasklock_locks_held", namespace="prod", app="mail") == 1
    assert scraped.value("tasklock_locks_waiting", namespace="prod", app="mail") == 0


def test_the_oldest_hold_is_by_the_holders_clock_unless_that_is_beyond_belief() -> None:
    shop = {"namespace": "default", "app": "shop"}
    assert Scraped(lock("a"), lock("b", acquired=None)).value("tasklock_oldest_hold_seconds", **shop) == 100
    past, future = WALL.replace(year=1), WALL.replace(year=2999)
    assert Scraped(lock(acquired=past)).value("tasklock_oldest_hold_seconds", **shop) == 100
    assert Scraped(lock(acquired=future)).value("tasklock_oldest_hold_seconds", **shop) == 100


def test_a_lock_is_stale_when_ttl_and_margin_have_passed_without_a_change() -> None:
    shop = {"namespace": "default", "app": "shop"}
    assert Scraped(lock(last_changed=NOW - 32.9)).value("tasklock_locks_stale", **shop) == 0
    assert Scraped(lock(last_changed=NOW - 33.1)).value("tasklock_locks_stale", **shop) == 1


def test_counters_begin_at_zero_so_that_the_first_reap_is_a_rise() -> None:
    scraped = Scraped(lock())
    shop = {"namespace": "default", "app": "shop"}
    for reason in ("expired", "container-terminated", "pod-finished"):
        assert scraped.value("tasklock_reaped_total", **shop, reason=reason) == 0
    scraped.metrics.reaped("shop", "default", "pod-finished", 0.03)
    assert scraped.value("tasklock_reaped_total", **shop, reason="pod-finished") == 1
    assert scraped.value("tasklock_reap_delay_seconds_bucket", reason="pod-finished", le="0.05") == 1


def test_what_happens_is_counted() -> None:
    scraped = Scraped()
    scraped.metrics.released("shop", "default", 45)
    scraped.metrics.released("shop", "default", -3)  # a clock that was set back is no reason to fail
    scraped.metrics.api_error("watch", 0)
    scraped.metrics.handled(0.2)
    assert scraped.value("tasklock_hold_duration_seconds_sum", namespace="default", app="shop") == 45
    assert scraped.value("tasklock_hold_duration_seconds_count", namespace="default", app="shop") == 2
    assert scraped.value("tasklock_api_errors_total", verb="watch", status="0") == 1
    assert scraped.value("tasklock_handler_lag_seconds_sum") == 0.2


def test_the_operator_tells_of_itself() -> None:
    scraped = Scraped()
    assert scraped.value("tasklock_watch_age_seconds", resource="leases") == 1.5
    assert scraped.value("tasklock_watch_age_seconds", resource="pods") == 2.5
    assert [s.value for s in scraped.samples() if s.name == "tasklock_operator_info"] == [1]
    assert scraped.value("process_resident_memory_bytes")


@pytest.mark.parametrize("per_lock", [False, True])
def test_nothing_that_a_holder_wrote_is_in_a_label(*, per_lock: bool) -> None:
    entries = [replace(entry, app="evil", namespace="tenant") for entry in hostile_crowd()]
    values = {value for s in Scraped(*entries, per_lock=per_lock).samples() for value in s.labels.values()}
    assert not values & {text[:1_000] for text in HOSTILE}
    assert any(value.startswith("evil.") for value in values) == per_lock


def test_a_series_per_lock_is_only_made_on_demand() -> None:
    names = {s.name for s in Scraped(lock()).samples()}
    assert "tasklock_lock_held_seconds" not in names
    scraped = Scraped(lock(), per_lock=True)
    assert scraped.value("tasklock_lock_held_seconds", namespace="default", app="shop", lease="shop.nightly-report")


def test_ten_thousand_apps_make_no_more_series_than_the_bounds_allow() -> None:
    scraped = Scraped(*(lock("a", app=f"app-{n}", namespace=f"ns-{n % 50}") for n in range(10_000)))
    held = scraped.held()
    assert len(held) == MAX_PAIRS + 1
    assert sum(held.values()) == 10_000
    lines = asyncio.run(scraped.metrics.page(""))[0].count(b"\n")
    assert lines < 20 * MAX_PAIRS


def test_one_namespace_cannot_use_up_what_is_there_for_all() -> None:
    greedy = [lock("a", app=f"app-{n}", namespace="greedy") for n in range(2 * MAX_PAIRS)]
    held = Scraped(*greedy, lock("b", app="shop", namespace="prod")).held()
    assert held["prod", "shop"] == 1
    assert held["greedy", OTHER] == 2 * MAX_PAIRS - MAX_APPS
    assert len(held) == MAX_APPS + 2


def test_namespaces_that_come_and_go_for_years_are_counted_apart_as_long_as_they_are_there() -> None:
    scraped = Scraped()
    for year in range(4):
        scraped.fakes.entries = [lock("a", namespace=f"ns-{year}-{n}") for n in range(MAX_PAIRS)]
        assert set(scraped.held()) == {(f"ns-{year}-{n}", "shop") for n in range(MAX_PAIRS)}
        scraped.now += IDLE


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", plain_text),
        ("text/plain;version=0.0.4;q=0.3", "text/plain; version=0.0.4", plain_text),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text", open_metrics),
    ],
)
def test_a_scrape_comes_in_the_format_that_was_asked_for(accept: str, content_type: str, parse: object) -> None:
    reply = visit(app_of(Fakes([lock()])), "/metrics", headers={"Accept": accept})
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith(content_type)
    families = {family.name for family in parse(reply.text)}  # type: ignore[operator]
    assert {"tasklock_locks_held", "tasklock_reaped"} <= families


def test_a_scrape_of_ten_thousand_locks_takes_a_fraction_of_a_tenth_of_a_second() -> None:
    scraped = Scraped(*crowd(10_000))
    asyncio.run(scraped.metrics.page(""))
    spent = []
    for _ in range(3):
        before = time.process_time()
        asyncio.run(scraped.metrics.page(""))
        spent.append(time.process_time() - before)
    assert min(spent) < 0.1  # measured: 0.02 to 0.03
