"""The record: whatever is in the cluster can be read, and what we write the API server takes."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasklock.lease import Lease, LockInfo, describe, microtime, parse_time
from unit.script import EPOCH, LEASE, NAME, claim, lease, my_lease

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
TIMES = st.text() | st.datetimes().map(lambda moment: moment.isoformat() + "Z") | JSON
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "name": JSON,
        "namespace": JSON,
        "uid": JSON,
        "resourceVersion": JSON,
        "labels": JSON | st.dictionaries(st.sampled_from(["app.kubernetes.io/managed-by", "tasklock.dev/app"]), JSON),
        "annotations": JSON
        | st.dictionaries(
            st.sampled_from([f"tasklock.dev/{key}" for key in ("name", "token", "pod", "process")]), JSON
        ),
        "managedFields": JSON | st.lists(st.fixed_dictionaries({}, optional={"time": TIMES})),
    },
)
SPEC = st.fixed_dictionaries(
    {},
    optional={
        "holderIdentity": JSON,
        "leaseDurationSeconds": JSON,
        "acquireTime": TIMES,
        "renewTime": TIMES,
    },
)
ODD = JSON | st.fixed_dictionaries({}, optional={"metadata": METADATA | JSON, "spec": SPEC | JSON})


@given(obj=ODD, now=st.none() | st.datetimes(timezones=st.just(UTC)))
@example(obj={"metadata": {"annotations": {"tasklock.dev/token": "²"}}}, now=None)
@example(obj={"spec": {"renewTime": "0001-01-01T00:00:00+23:59"}}, now=EPOCH)
@example(obj={"spec": {"renewTime": "9999-12-31T23:59:59-23:59"}}, now=EPOCH)
@example(obj={"spec": {"leaseDurationSeconds": True}}, now=EPOCH)
def test_any_json_can_be_read_shown_and_judged(obj: object, now: datetime | None) -> None:
    found = Lease.parse(obj)
    hints = get_type_hints(Lease, localns={"datetime": datetime})
    for field in fields(Lease):
        value, hint = getattr(found, field.name), hints[field.name]
        if field.name != "spec":
            assert isinstance(value, hint)
    assert 1 <= found.ttl <= 86_400
    assert found.is_of("app", NAME) in {True, False}
    assert found.looks_stale(now) in {True, False}
    assert describe(found).isprintable()
    LockInfo.of(found, now=now or EPOCH)


def test_what_we_write_we_read() -> None:
    found = Lease.parse(my_lease(uid="u", version="5", ttl=45))
    assert found.is_of("app", NAME)
    assert (found.lease, found.uid, found.version, found.ttl) == (LEASE, "u", "5", 45)
    assert found.acquired == found.renewed == EPOCH
    assert (found.token, found.pod, found.note) == (None, None, None)


def test_the_body_has_exactly_the_fields_of_the_wire_format() -> None:
    body = claim().body(EPOCH)
    assert set(body) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(body["metadata"]) == {"name", "labels", "annotations"}, "no ownerReference, no finalizers"
    assert set(body["spec"]) == {"holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime"}


@pytest.mark.parametrize(
    ("token", "read"), [("2082", 2082), ("", None), ("-1", None), ("1e3", None), ("²", None), ("9" * 20, None)]
)
def test_a_token_is_a_number_of_64_bits(token: str, read: int | None) -> None:
    assert Lease.parse(lease(token=token)).token == read


@given(moment=st.datetimes(timezones=st.timezones() | st.just(UTC)).filter(lambda it: 2 < it.year < 9998))
@example(moment=datetime(2026, 1, 1, tzinfo=UTC))
@example(moment=datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=timezone(timedelta(hours=14))))
def test_a_written_time_has_exactly_six_digits_and_reads_as_the_same(moment: datetime) -> None:
    text = microtime(moment)
    date, _, rest = text.partition(".")
    assert len(date) == 19
    assert len(rest) == 7
    assert rest.endswith("Z")
    assert parse_time(text) == moment.astimezone(UTC)


@given(text=st.text() | JSON)
@example(text="2026-01-01T00:00:00")
@example(text="2026-01-01")
@example(text="2026-01-01T00:00:00.000000Z" * 1000)
def test_a_time_that_is_none_is_none(text: object) -> None:
    read = parse_time(text)
    assert read is None or read.tzinfo is UTC


def test_a_time_without_a_zone_is_none_for_it_could_be_anywhere() -> None:
    assert parse_time("2026-01-01T00:00:00") is None


def info(obj: Any, *, after: float = 10) -> LockInfo:
    return LockInfo.of(Lease.parse(obj), now=EPOCH + timedelta(seconds=after))


def test_info_says_who_since_when_and_how_long_it_still_lasts() -> None:
    shown = info(lease(pod="p", note="task 7", token="12", container="c"))
    assert (shown.name, shown.lease, shown.namespace, shown.app) == (NAME, LEASE, "default", "app")
    assert (shown.pod, shown.container, shown.note, shown.token) == ("p", "c", "task 7", 12)
    assert (shown.since, shown.age, shown.expires_in, shown.ttl, shown.stale) == (EPOCH, 10.0, 20.0, 30, False)


def test_info_of_a_lease_without_times() -> None:
    shown = info({"metadata": {"name": "x"}})
    assert (shown.since, shown.age, shown.expires_in, shown.ttl, shown.name) == (None, None, None, 30, "x")


@pytest.mark.parametrize(("after", "stale"), [(60, False), (61, True)])
def test_info_hints_that_it_is_stale(after: float, stale: bool) -> None:  # noqa: FBT001
    assert info(lease(), after=after).stale is stale


def test_whatever_a_holder_calls_itself_is_shown_safely() -> None:
    assert describe(Lease.parse(lease("\x1b[2J\nroot"))) == "'\\x1b[2J\\nroot' since 2026-01-01 00:00:00 UTC"
