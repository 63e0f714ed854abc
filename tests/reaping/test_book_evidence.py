"""The operator's memory of Pods: a proof is found in whatever order it comes, and nothing is kept for ever."""

from __future__ import annotations

import tracemalloc
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from reaping.objects import RESTARTED, lease, pod, reasons, running, status, terminated, uids, waiting
from tasklock.lease import NOTE
from tasklock_operator import book as module
from tasklock_operator.book import Book

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


class TestDeath:
    def messages(self, book: Book) -> dict[str, Callable[[float], object]]:
        return {
            "lease": lambda now: book.lease_seen(lease(), now),
            "renewed": lambda now: book.lease_seen(lease(version=2), now),
            "running": lambda now: book.pod_seen(pod(status("worker", running(0))), now),
            "ended": lambda now: book.pod_seen(pod(status("worker", waiting(), terminated(0, 9))), now),
            "restarted": lambda now: book.pod_seen(pod(RESTARTED), now),
            "later": lambda now: book.pod_seen(pod(status("worker", running(30), terminated(20, 29))), now),
            "gone": lambda now: book.pod_gone(pod(status("worker", running(30), terminated(20, 29))), now),
            "listed": lambda now: book.relisted("pods", None, set(), now),
            "kept": lambda now: book.relisted("leases", None, {"lease-1"}, now),
        }

    @pytest.mark.parametrize(
        "story",
        [
            ("lease", "ended", "gone"),
            ("lease", "running", "restarted", "gone"),
            ("lease", "restarted", "later", "listed"),
            ("lease", "ended", "listed", "kept"),
            ("lease", "renewed", "ended", "later"),
        ],
        ids="-".join,
    )
    def test_it_is_found_in_whatever_order_the_messages_come(self, story: tuple[str, ...]) -> None:
        for order in permutations(story):
            book = Book()
            messages = self.messages(book)
            for now, word in enumerate(order):
                messages[word](float(now))
            named = min(order.index(word) for word in ("lease", "renewed") if word in order)
            proved = min(order.index(word) for word in ("ended", "restarted") if word in order)
            (reap,) = book.due(10)
            assert (reap.reason, reap.since) == ("container-terminated", max(named, proved)), order
            newest = "2" if "renewed" in order else "1"
            assert reap.entry.version == newest, order

    def test_it_is_due_in_the_moment_it_is_known(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        assert book.next_due() == 33
        book.pod_seen(pod(RESTARTED), 5)
        assert book.next_due() == 5
        assert reasons(book.due(5)) == [("lease-1", "container-terminated")]

    def test_a_container_that_restarted_and_took_the_lock_again_keeps_it(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.lease_gone(lease(), 1)
        book.lease_seen(lease(uid="lease-2", acquired=9.8, version=3), 1.1)
        book.pod_seen(pod(status("worker", terminated(0, 9))), 1.2)
        book.pod_seen(pod(RESTARTED), 1.3)
        assert book.due(30) == []
        assert book.next_due() == pytest.approx(34.1)

    def test_all_leases_of_the_container_are_due_and_no_other(self, book: Book) -> None:
        for n in range(5):
            book.lease_seen(lease(f"job-{n}", uid=f"mine-{n}"), 0)
            book.lease_seen(lease(f"job-{n}-x", uid=f"other-{n}", pod_uid="pod-2"), 0)
            book.lease_seen(lease(f"job-{n}-y", uid=f"proxy-{n}", container="proxy"), 0)
        book.pod_seen(pod(status("proxy", running(0)), RESTARTED), 1)
        assert uids([reap.entry for reap in book.due(1)]) == {f"mine-{n}" for n in range(5)}

    def test_a_pod_that_goes_without_a_trace_proves_nothing(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.pod_seen(pod(status("worker", running(0))), 1)
        book.pod_gone(pod(status("worker", running(0))), 2)
        assert book.due(32) == []
        assert reasons(book.due(33)) == [("lease-1", "expired")]

    def test_the_last_words_of_a_deleted_pod_count(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.pod_gone(pod(status("worker", terminated(0, 9)), phase="Failed"), 2)
        assert reasons(book.due(2)) == [("lease-1", "container-terminated")]

    def test_a_lease_that_comes_soon_after_its_pod_went_finds_the_evidence(self, book: Book) -> None:
        book.pod_seen(pod(RESTARTED), 0)
        book.pod_gone(pod(RESTARTED), 1)
        book.pod_seen(pod(RESTARTED), 2)  # a late message
        book.lease_seen(lease(), 100)
        assert reasons(book.due(100)) == [("lease-1", "container-terminated")]

    def test_a_late_renewal_of_a_dead_holder_leaves_it_due(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.pod_seen(pod(RESTARTED), 1)
        (reap,) = book.due(1)
        book.lease_seen(lease(version=2), 1.1)
        assert book.due(1.2) == []
        book.settled(reap, "changed", 1.3)
        (again,) = book.due(1.3)
        assert (again.entry.version, again.reason, again.since) == ("2", "container-terminated", 1)

    def test_a_lease_that_is_written_after_the_report_is_somebody_elses_and_waits_for_its_expiry(
        self, book: Book
    ) -> None:
        """A live instance whose clock was set back acquires in the time of the one before it; it renews, too."""
        book.pod_seen(pod(RESTARTED, version=5), 0)
        book.lease_seen(lease(version=6), 1)
        assert book.due(2) == []
        book.lease_seen(lease("other", uid="lease-2", version=4), 2)
        (reap,) = book.due(2)
        book.settled(reap, "changed", 2.1)
        book.lease_seen(lease("other", uid="lease-2", version=7), 2.2)
        assert book.due(3) == []
        book.pod_seen(pod(RESTARTED, version=9), 4)  # told again: no news
        assert book.due(33.9) == []
        assert reasons(book.due(34)) == [("lease-1", "expired")]

    def test_a_lease_that_is_written_anew_is_judged_anew(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.pod_seen(pod(RESTARTED), 1)
        book.lease_seen(lease(version=2, pod_uid="pod-2"), 1.1)
        assert book.due(2) == []
        book.pod_seen(pod(RESTARTED, uid="pod-2"), 3)
        assert reasons(book.due(3)) == [("lease-1", "container-terminated")]


class TestMemory:
    def test_the_evidence_of_a_pod_that_is_gone_is_forgotten_after_ten_minutes(self, book: Book) -> None:
        book.pod_gone(pod(RESTARTED), 0)
        book.pod_gone(pod(RESTARTED, uid="pod-2"), 599)
        assert set(book._gone) == {"pod-1", "pod-2"}
        book.pod_gone(pod(status("worker", running(0)), uid="pod-3"), 601)
        assert set(book._gone) == {"pod-2"}

    def test_no_more_than_so_many_pods_that_are_gone_are_remembered(
        self, book: Book, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_GONE", 10)
        for n in range(50):
            book.pod_gone(pod(RESTARTED, uid=f"pod-{n}"), 0)
        assert list(book._gone) == [f"pod-{n}" for n in range(40, 50)]

    def test_a_pod_of_which_nothing_has_ended_takes_none(self, book: Book) -> None:
        for n in range(100):
            book.pod_seen(pod(status("worker", running(0)), uid=f"pod-{n}"), 0)
        assert (book._pods, len(book._gone)) == ({}, 0)

    def test_renewals_do_not_grow_the_heap(self, book: Book) -> None:
        for n in range(4_000):
            book.lease_seen(lease(f"job-{n % 10}", uid=f"lease-{n % 10}", version=n + 1), n / 1000)
            book.next_due()
        assert len(book._heap) == 10

    @pytest.mark.parametrize("flapping", [True, False], ids=["ttls that flap", "short holds of a long ttl"])
    def test_outdated_deadlines_are_swept_out(
        self, book: Book, monkeypatch: pytest.MonkeyPatch, *, flapping: bool
    ) -> None:
        monkeypatch.setattr(module, "SLACK", 50)
        for n in range(2_000):
            if flapping:
                book.lease_seen(lease(ttl=86_400, version=2 * n + 1), 3.0 * n)
                book.next_due()
                book.lease_seen(lease(ttl=1, version=2 * n + 2), 3.0 * n + 2)
            else:
                book.lease_seen(lease(uid=f"lease-{n}", ttl=86_400), float(n))
                book.lease_gone(lease(uid=f"lease-{n}"), n + 0.5)
            assert len(book._heap) <= 53

    def test_what_is_gone_leaves_nothing_behind(self, book: Book) -> None:
        for n in range(100):
            book.lease_seen(lease(f"job-{n}", uid=f"lease-{n}", pod_uid=f"pod-{n % 7}"), 0)
        for n in range(100):
            book.lease_gone(lease(f"job-{n}", uid=f"lease-{n}"), 1)
        assert book.next_due() is None
        assert (book._held, book._by_pod, book._heap) == ({}, {}, [])

    def test_hostile_text_of_a_thousand_leases_stays_small(self, book: Book) -> None:
        tracemalloc.start()
        try:
            for n in range(1_000):
                obj = lease(f"{n}-" + "x" * 5_000, uid=f"lease-{n}")
                obj["metadata"]["annotations"][NOTE] = "y" * 60_000
                book.lease_seen(obj, 0)
            assert tracemalloc.get_traced_memory()[0] < 1_000 * 6_000
        finally:
            tracemalloc.stop()
