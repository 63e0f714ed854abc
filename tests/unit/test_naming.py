"""Names: two different locks never share a Lease, and every Lease's name is one that the API server takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasklock.errors import InvalidLockError
from tasklock.naming import MAX_TEXT, check_app, check_text, check_timeout, check_ttl, lease_name, shortened

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

LABEL_TEXT = st.text("abc-01", min_size=1, max_size=63)
APPS = LABEL_TEXT.filter(lambda text: not text.startswith("-") and not text.endswith("-"))
PLAIN = st.text("ab0-.", min_size=1, max_size=12)  # small, so that collisions would be met
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
NAMES = st.one_of(PLAIN, TEXT, st.from_regex(r"[ab]{0,2}-[0-9a-f]{16}", fullmatch=True))


def test_a_plain_dns_name_is_used_as_it_is() -> None:
    assert lease_name("locking-app", "nightly.report-7") == "locking-app.nightly.report-7"


def test_the_designs_example() -> None:
    assert re.fullmatch(r"locking-app\.user-count-update-[0-9a-f]{16}", lease_name("locking-app", "user_count_update"))


def test_the_first_dot_separates() -> None:
    assert lease_name("a-b", "c") != lease_name("a", "b-c")
    assert lease_name("a", "b.c") == "a.b.c"


@given(one=st.tuples(APPS, NAMES), other=st.tuples(APPS, NAMES))
@example(one=("a", "x_y"), other=("a", "x-y"))
@example(one=("a", "X"), other=("a", "x"))
@example(one=("a", "x\u0301"), other=("a", "x"))
def test_two_different_locks_never_meet(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (lease_name(*one) == lease_name(*other)) is (one == other)


@given(app=APPS, name=NAMES)
def test_naming_the_lease_of_a_lease_never_gives_the_same_lock(app: str, name: str) -> None:
    """A hashed name, used as a lock's name, is hashed again: it never meets the lock that it came from."""
    slug = lease_name(app, name).removeprefix(f"{app}.")
    assert slug == name or lease_name(app, slug) != lease_name(app, name)


@given(app=APPS, name=NAMES)
@example(app="a" * 63, name="x" * 170)
@example(app="a" * 63, name="x" * 171)
@example(app="a", name="\x00")
@example(app="a", name="İ" * 400)
def test_every_leases_name_is_a_dns_subdomain_of_at_most_234_characters(app: str, name: str) -> None:
    lease = lease_name(app, name)
    assert SUBDOMAIN.fullmatch(lease)
    assert len(lease) <= 234
    assert lease.partition(".")[0] == app


@given(app=APPS, name=NAMES, number=st.integers(0, 2**32 - 1))
def test_no_lock_ever_has_the_name_of_a_ticket_or_a_slot(app: str, name: str, number: int) -> None:
    lease = lease_name(app, name)
    for inner in (f"{lease}.q.{number:08x}", f"{lease}.s.{number}"):
        assert SUBDOMAIN.fullmatch(inner)
        assert len(inner) <= 253
        assert lease_name(app, inner.removeprefix(f"{app}.")) != inner


@pytest.mark.parametrize(
    "name", ["a.q.b", "a.s.0", "x-0123456789abcdef", "a" * 171, "-a", "a-", ".a", "a..b", "A", "a\n"]
)
def test_a_name_that_could_be_mistaken_is_hashed(name: str) -> None:
    assert re.fullmatch(r"app\..*-[0-9a-f]{16}", lease_name("app", name))


def test_a_long_name_has_a_readable_slug_of_at_most_a_hundred_characters() -> None:
    slug = lease_name("app", "Customer Report " * 700).removeprefix("app.")
    assert slug.startswith("customer-report-customer-report-")
    assert len(slug) <= 117


@pytest.mark.parametrize("app", ["", "A", "a.b", "a_b", "-a", "a-", "a" * 64, "ä", "a\n", None, 5, b"a", ["a"]])
def test_an_app_is_a_dns_label(app: object) -> None:
    with pytest.raises(InvalidLockError, match="DNS label"):
        check_app(app)  # type: ignore[arg-type]


def test_a_text_of_the_largest_size_is_taken() -> None:
    check_text("a note", "x" * MAX_TEXT)
    with pytest.raises(InvalidLockError):
        check_text("a note", "ä" * MAX_TEXT)


@pytest.mark.parametrize("ttl", [1, 30, 86_400])
def test_a_ttl_is_whole_seconds_up_to_a_day(ttl: int) -> None:
    assert check_ttl(ttl) == ttl


@pytest.mark.parametrize(
    ("timeout", "meant"),
    [(0, 0.0), (0.5, 0.5), (7, 7.0), (None, None), (float("inf"), None), (10**400, None), (1e300, None)],
)
def test_a_timeout_is_seconds_or_none(timeout: float | None, meant: float | None) -> None:
    assert check_timeout(timeout) == meant


class Nasty:
    """Something that shows itself badly."""

    def __init__(self, shown: object) -> None:
        self.shown = shown

    def __repr__(self) -> str:
        if isinstance(self.shown, Exception):
            raise self.shown
        return str(self.shown)


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=ANY | st.builds(Nasty, st.text()), limit=st.integers(10, 400))
@example(value=Nasty("\x1b[31m\nred\n"), limit=80)
@example(value=10**5000, limit=80)
@example(value="\x1b]0;title\x07" * 100, limit=80)
@example(value="ä" * 100, limit=80)
def test_what_is_shown_is_one_short_line_of_printable_ascii(value: object, limit: int) -> None:
    shown = shortened(value, limit=limit)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= limit


def test_what_cannot_be_shown_at_all_is_named_by_its_type() -> None:
    assert shortened(Nasty(ValueError("no"))) == "'<Nasty>'"
    assert shortened(10**5000) == "'<int>'"


def test_a_short_text_is_shown_whole_and_quoted() -> None:
    assert shortened("a b") == "'a b'"
    assert shortened("it's") == '"it\'s"'
