"""The page in Chromium: how it looks at any width, what it does by itself, and what a visitor may do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from status.crowd import NOW, XSS, crowd, hostile_crowd, lock, ticket
from status.surf import USER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from status.surf import Site, Visitor

expect.set_options(timeout=30_000)

LOOKS = Path(__file__).with_name("looks.js").read_text()


def names(page: Page) -> list[str]:
    return page.locator("tbody .name").all_inner_texts()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [("desk", "light"), ("desk", "dark"), ("tablet", "light"), ("phone", "light"), ("phone", "dark")],
)
def test_it_can_be_read_at_any_width_in_light_and_in_dark(
    site: Site, visitor: Visitor, width: str, scheme: str
) -> None:
    odd = [lock("overdue one", last_changed=NOW - 31), lock("stale one", last_changed=NOW - 90, note="why")]
    page = visitor.open(site.proxied, width=width, scheme=scheme, extra_http_headers={USER: "alice@example.org"})
    for entries, query in (([], ""), ([*crowd(12), *odd, *hostile_crowd()], ""), (odd, "?lock=zzz")):
        site.fakes.entries = entries
        site.fakes.ages = {"leases": 134.0} if query else {"leases": 1.0}
        page.goto(site.proxied + query)
        for summary in page.locator("summary").all()[:4]:
            summary.click()
        page.emulate_media(reduced_motion="reduce")
        looks = page.evaluate(LOOKS)
        assert (looks["wide"], looks["faint"]) == (0, [])
        assert looks["measured"] > 3


def test_hostile_text_is_only_text(live: Site, visitor: Visitor) -> None:
    live.fakes.entries = hostile_crowd()
    page = visitor.open(live.url)
    assert XSS in names(page)
    assert page.locator("img").count() == 0
    page.wait_for_timeout(500)  # a few refreshes on, the script has put it all in again
    live.fakes.entries = [replace(entry, holder=f"{XSS}{entry.uid}", pod=None) for entry in live.fakes.entries]
    expect(page.locator("tbody .who").first).to_contain_text("onerror=alert(1)")
    assert page.locator("img").count() == 0


def test_a_script_that_got_in_would_not_run(site: Site, visitor: Visitor) -> None:
    page = visitor.open(site.url)
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
    }""")
    assert page.evaluate("window.ran") is None
    (complaint,) = visitor.complaints
    assert "Content Security Policy" in complaint
    visitor.complaints.clear()


def test_typing_filters_at_once_and_the_address_says_so(site: Site, visitor: Visitor) -> None:
    site.fakes.entries = [lock("alpha"), lock("beta", app="mail"), lock("gamma")]
    page = visitor.open(site.url)
    page.get_by_label("Lock", exact=True).type("et")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert names(page) == ["beta"]
    expect(page).to_have_url(site.url + "?lock=et")
    page.get_by_label("State").select_option("stale")
    expect(page.locator("h2")).to_have_text("No lock matches.")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("tbody tr")).to_have_count(3)


def test_a_click_on_a_header_sorts_and_the_next_one_turns_it_round(site: Site, visitor: Visitor) -> None:
    site.fakes.entries = [lock("b"), lock("c"), lock("a")]
    page = visitor.open(site.url)
    page.get_by_role("link", name="Lock", exact=True).click()
    expect(page.locator("tbody .name")).to_have_text(["a", "b", "c"])
    expect(page.get_by_role("columnheader", name="Lock")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Lock", exact=True).click()
    expect(page.locator("tbody .name")).to_have_text(["c", "b", "a"])


def test_without_scripts_everything_works_but_the_live_view(site: Site, visitor: Visitor) -> None:
    held = lock("alpha")
    site.fakes.entries = [held, lock("beta"), ticket(held, 1)]
    page = visitor.open(site.proxied, java_script_enabled=False, extra_http_headers={USER: "alice"}, width="phone")
    assert page.locator("noscript").first.inner_html() == '<meta http-equiv="refresh" content="10">'
    page.get_by_label("Order").select_option("lock")
    page.get_by_label("Lock", exact=True).fill("alp")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody .name")).to_have_text(["alpha"])
    page.locator("summary", has_text="1 waiting").click()
    expect(page.get_by_text("waiter-1_00000000")).to_be_visible()
    page.locator("summary", has_text="Release").click()
    page.get_by_role("button", name="Release it now").click()
    expect(page.get_by_text(f"Released {held.lease}.")).to_be_visible()
    assert site.released == [(held.uid, "alice")]
    assert "lock=alp" in page.url


def test_a_row_changes_under_the_visitors_hands_without_taking_the_focus(live: Site, visitor: Visitor) -> None:
    held = lock("alpha", ttl=60)
    others = [lock(f"other-{n}", first_seen=NOW - 50, acquired=None) for n in range(40)]
    live.fakes.entries = [held, *others, ticket(held, 1)]
    page = visitor.open(live.url)
    summary = page.locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.get_by_role("searchbox", name="Holder").evaluate("one => one.value = 'half-typed'")
    page.evaluate("window.scrollTo(0, 120)")
    row = page.locator(f"#l-{held.uid}")
    same = row.element_handle()
    live.fakes.entries = [replace(held, pod="worker-b", holder="worker-b_1"), *others, ticket(held, 1), ticket(held, 2)]
    expect(row.get_by_text("worker-b")).to_be_visible()
    expect(page.get_by_text("waiter-2_00000000")).to_be_visible()  # still open
    expect(summary).to_be_focused()
    assert page.evaluate("window.scrollY") == 120
    assert page.evaluate("one => one.isConnected", same)
    assert page.get_by_role("searchbox", name="Holder").input_value() == "half-typed"


def test_rows_come_and_go_in_their_order(live: Site, visitor: Visitor) -> None:
    one, two, three = (lock(name) for name in ("one", "three", "two"))
    live.fakes.entries = [one, two]
    page = visitor.open(live.url + "?sort=lock")
    page.locator(f"#l-{one.uid}").evaluate("row => row.dataset.kept = 'yes'")
    live.fakes.entries = [three, one]
    expect(page.locator("tbody .name")).to_have_text(["one", "two"])
    assert page.locator("[data-kept]").count() == 1
    live.fakes.entries = []
    expect(page.locator("h2")).to_have_text("No locks are held.")
    live.fakes.entries = [two, one, three]
    expect(page.locator("tbody .name")).to_have_text(["one", "three", "two"])
    expect(page.get_by_text("3 held")).to_be_visible()


def test_the_focus_of_a_row_that_goes_stays_with_the_table(live: Site, visitor: Visitor) -> None:
    held = lock("alpha")
    live.fakes.entries = [held, lock("beta"), ticket(held, 1)]
    page = visitor.open(live.url)
    page.locator("summary").focus()
    live.fakes.entries = [lock("beta")]
    expect(page.locator("#box")).to_be_focused()


def test_it_says_when_the_operator_does_not_answer_and_when_it_does_again(live: Site, visitor: Visitor) -> None:
    live.fakes.entries = [lock("alpha")]
    page = visitor.open(live.url)
    page.route("**/*part=live*", lambda route: route.abort())
    expect(page.locator("#pulse")).to_contain_text("No answer for")
    assert names(page) == ["alpha"]
    page.unroute_all()
    expect(page.locator("#pulse")).to_contain_text("Live")
    assert all("ERR_FAILED" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_it_stands_still_while_it_is_paused(live: Site, visitor: Visitor) -> None:
    live.fakes.entries = [lock("alpha")]
    page = visitor.open(live.url)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#pulse")).to_contain_text("Paused")
    live.fakes.entries = [lock("beta")]
    page.wait_for_timeout(600)
    assert names(page) == ["alpha"]
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("tbody .name")).to_have_text(["beta"])


def test_what_changed_is_spoken_seldom_and_politely(live: Site, visitor: Visitor) -> None:
    live.fakes.entries = [lock("alpha")]
    page = visitor.open(live.url)
    expect(page.locator("#spoken[role=status]")).to_have_text("1 lock held, 0 waiting, 0 stale")
    live.fakes.entries = [lock("alpha"), lock("beta")]
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#spoken")).to_have_text("1 lock held, 0 waiting, 0 stale")  # not again within 15 s


def test_the_keyboard_reaches_everything_and_shows_where_it_is(site: Site, visitor: Visitor) -> None:
    held = lock("alpha")
    site.fakes.entries = [held, ticket(held, 1)]
    page = visitor.open(site.url)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen = page.evaluate("""() => {
            const one = document.activeElement, style = getComputedStyle(one);
            if (one === document.body) return ["", false];
            const seen = style.outlineStyle !== "none" && one.matches(":focus-visible");
            return [one.id || one.name || one.textContent.trim(), seen];
        }""")
        if seen[0] in reached or seen[0] == "":
            break
        assert seen[1], seen
        reached.append(seen[0])
    assert reached[0] == "Skip to the locks"
    assert {"pause", "lock", "holder", "state", "by-age", f"ws-{held.uid}", "JSON", "Metrics"} <= set(reached)


def test_a_table_stays_a_table_for_those_who_hear_it_even_as_cards(site: Site, visitor: Visitor) -> None:
    site.fakes.entries = [lock("alpha")]
    page = visitor.open(site.url, width="phone")
    table = page.get_by_role("table", name="Locks that are held, and who waits for them")
    expect(table.get_by_role("rowheader", name="alpha")).to_be_visible()
    assert table.get_by_role("columnheader").count() == 7
    assert table.get_by_role("cell").count() == 5  # nobody waits, and a card does not say so


def test_ten_thousand_locks_are_read_page_by_page(site: Site, visitor: Visitor) -> None:
    site.fakes.entries = crowd(10_000)
    page = visitor.open(site.url)
    expect(page.get_by_text("Showing 1\u2013200 of 10,000")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("Showing 201\u2013400 of 10,000")).to_be_visible()
