"""Force-release from the page: what it takes, and every way in which it must not happen."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from status.crowd import Fakes, lock
from status.visit import Reader, Reply, app_of, visit
from tasklock_operator.release import same_origin

if TYPE_CHECKING:
    from aiohttp import web

    from tasklock_operator.entry import Entry

USER = "X-Forwarded-User"
LOCK = lock("nightly\u202e\nreport")
FORM = {"namespace": LOCK.namespace, "lease": LOCK.lease, "uid": LOCK.uid}
HOST = {"Host": "locks.example.org"}
GOOD = {**HOST, USER: "alice", "Origin": "https://locks.example.org", "Sec-Fetch-Site": "same-origin"}


class Proxied:
    """The application of the proxy's listener, and what it was asked to release."""

    def __init__(self, outcome: str = "gone") -> None:
        self.released: list[tuple[str, str]] = []
        self.outcome = outcome

    async def release(self, entry: Entry, user: str) -> Any:
        self.released.append((entry.uid, user))
        return self.outcome

    @property
    def app(self) -> web.Application:
        return app_of(Fakes([LOCK, lock("other")]), release=self.release, user_header=USER)

    def post(self, headers: dict[str, str] = GOOD, **form: str) -> Reply:
        return visit(self.app, "/release", "POST", headers=headers, data={**FORM, **form})


def test_a_user_of_the_proxy_releases_what_the_page_showed_and_comes_back_to_a_sentence() -> None:
    proxied = Proxied()
    reply = proxied.post(back="?lock=night&sort=lock")
    assert proxied.released == [(LOCK.uid, "alice")]
    assert (reply.status, reply.headers["Location"]) == (303, "./?lock=night&sort=lock")
    cookie = reply.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    back = visit(proxied.app, "/", headers={**HOST, USER: "alice", "Cookie": cookie.partition(";")[0]})
    assert f"Released {LOCK.lease}." in Reader(back.text).text
    assert "Max-Age=0" in back.headers["Set-Cookie"]  # told once


def test_who_released_what_is_logged_on_one_harmless_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Proxied().post({**GOOD, USER: "mallory\x1b[31m\u202e".encode().decode("latin-1").replace("\x1b", "")})
    (record,) = [record for record in caplog.records if record.name.startswith("tasklock_operator")]
    line = record.getMessage()
    assert (record.levelname, line.isascii(), "\n" in line) == ("WARNING", True, False)
    for part in ("'mallory", LOCK.lease, LOCK.uid, LOCK.holder, "force-released", "gone"):
        assert str(part) in line


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        ("changed", "was not released: somebody else has taken it"),
        ("failed", "could not be released. The operator's log says why."),
    ],
)
def test_a_release_that_did_not_happen_says_so(outcome: str, sentence: str) -> None:
    proxied = Proxied(outcome)
    cookie = proxied.post().headers["Set-Cookie"].partition(";")[0]
    assert sentence in Reader(visit(proxied.app, "/", headers={USER: "alice", "Cookie": cookie}).text).text


@pytest.mark.parametrize("field", ["namespace", "lease", "uid"])
def test_only_the_very_grant_that_was_shown_is_released(field: str) -> None:
    proxied = Proxied()
    reply = proxied.post(**{field: "another"})
    assert (reply.status, proxied.released) == (303, [])
    assert "free." in reply.headers["Set-Cookie"]
    assert proxied.post(**{field: ""}).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {**GOOD, "Origin": "https://evil.example"},
        {**GOOD, "Origin": "null"},
        {**GOOD, "Origin": "https://locks.example.org.evil.example"},
        {**GOOD, "Origin": "https://locks.example.org:8443"},
        {**GOOD, "Origin": "https://[broken"},
        {**GOOD, "Origin": "file://locks.example.org"},
        {**GOOD, "Sec-Fetch-Site": "cross-site"},
        {**GOOD, "Sec-Fetch-Site": "same-site"},
        {**GOOD, "Sec-Fetch-Site": "none"},
        {**HOST, USER: "alice"},
        {**HOST, USER: "alice", "Referer": "https://locks.example.org/"},
    ],
)
def test_a_request_that_another_site_makes_is_refused(headers: dict[str, str]) -> None:
    proxied = Proxied()
    reply = proxied.post(headers)
    assert (reply.status, proxied.released) == (403, [])
    assert "did not come from the operator's own page" in reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {name: value for name, value in GOOD.items() if name != USER},
        {**GOOD, USER: ""},
        {**GOOD, USER: "   "},
        {**GOOD, USER: "a" * 300},
        [*GOOD.items(), (USER, "somebody-else")],
    ],
)
def test_without_one_name_from_the_proxy_nothing_is_released(headers: Any) -> None:
    proxied = Proxied()
    reply = proxied.post(headers)
    assert (reply.status, proxied.released) == (403, [])
    assert USER in reply.text


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"Host": "a:80", "Origin": "http://a:80"}, True),
        ({"Host": "A", "Origin": "https://a"}, True),
        ({"Host": "10.0.0.1:8081", "X-Forwarded-Host": "locks.example, b", "Origin": "https://locks.example"}, True),
        ({"Host": "a", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "a"}, False),
        ({"Origin": "https://"}, False),
        ({"Host": "a", "Origin": "https://a", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_the_same_origin_is_what_the_browser_says_in_every_way_it_can(headers: dict[str, str], *, same: bool) -> None:
    assert same_origin(headers) == same


def test_only_a_form_is_taken_and_only_by_post_and_only_a_small_one() -> None:
    proxied = Proxied()
    assert visit(proxied.app, "/release", "POST", headers=GOOD, json=FORM).status == 415
    assert visit(proxied.app, "/release", headers=GOOD).status == 405
    assert visit(proxied.app, "/release?uid=" + LOCK.uid, "PUT", headers=GOOD).status == 405
    assert proxied.post(back="x" * 20_000).status == 413
    assert proxied.released == []


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "?sort=evil", "?a\r\nSet-Cookie: b=c", "?" + "&" * 500]
)
def test_the_way_back_leads_nowhere_else(back: str) -> None:
    reply = Proxied().post(back=back)
    assert (reply.status, reply.headers["Location"]) == (303, "./?")


@pytest.mark.parametrize("value", ["gone.<script>", "evil.shop.a", "gone.", "gone.A", '"gone.a"x'])
def test_a_made_up_cookie_puts_no_words_into_the_page(value: str) -> None:
    plain, forged = (
        visit(Proxied().app, "/", headers={USER: "alice", **more}).text
        for more in ({}, {"Cookie": f"tasklock-flash={value}"})
    )
    assert plain == forged


def test_the_page_offers_a_release_with_a_second_step_to_those_whom_the_proxy_names() -> None:
    page = Reader(visit(Proxied().app, "/", headers={USER: "<b>alice</b>"}).text)
    assert "Signed in as <b>alice</b>" in page.text
    forms = [form for form in page.all("form") if form.get("method") == "post"]
    assert [form["action"] for form in forms] == ["release", "release"]
    assert len(page.all("details")) == 2
    assert LOCK.uid in {field.get("value") for field in page.all("input")}


def test_to_others_it_says_why_it_offers_none() -> None:
    page = Reader(visit(Proxied().app, "/").text)
    assert f"Nothing can be released: the proxy names no user in the header {USER}." in page.text
    assert not [form for form in page.all("form") if form.get("method") == "post"]


def test_the_main_listener_neither_offers_nor_takes_a_release() -> None:
    app = app_of(Fakes([LOCK]))
    page = visit(app, "/", headers={USER: "alice"}).text
    assert "Release" not in Reader(page).text
    assert 'method="post"' not in page
    assert visit(app_of(Fakes([LOCK])), "/release", "POST", headers=GOOD, data=FORM).status == 404


def test_a_release_without_a_header_to_trust_is_a_mistake_that_shows_at_once() -> None:
    with pytest.raises(ValueError, match="go together"):
        app_of(Fakes(), release=Proxied().release)
