"""The operator's memory: whatever arrives, in whatever order, what is due comes out, once, and in time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reaping.objects import RESTARTED, lease, pod, reasons, uids
from tasklock.lease import LABEL_MANAGED_BY
from tasklock_operator.book import Book, Reap

Json = dict[str, Any]


class TestExpiry:
    def test_a_lease_that_does_not_change_is_due_once(self, book: Book) -> None:
        book.lease_seen(lease(), 100)
        assert book.next_due() == 133
        assert book.due(132.9) == []
        (reap,) = book.due(133.2)
        assert (reap.reason, reap.since, reap.entry.version) == ("expired", 133, "1")
        assert book.due(200) == []
        assert book.next_due() is None

    def test_every_change_starts_its_time_anew(self, book: Book) -> None:
        for n in range(10):
            book.lease_seen(lease(version=1 + n), 10.0 * n)
        assert book.due(122.9) == []
        assert book.next_due() == 123
        (reap,) = book.due(123)
        assert reap.entry.version == "10"
        assert (reap.entry.first_seen, reap.entry.last_changed) == (0, 90)

    def test_the_same_version_again_changes_nothing(self, book: Book) -> None:
        for n in range(30):
            book.lease_seen(lease(), float(n))
        assert book.next_due() == 33

    def test_an_older_version_changes_nothing(self, book: Book) -> None:
        book.lease_seen(lease(version=100), 0)
        book.lease_seen(lease(version=99), 10)
        (reap,) = book.due(33)
        assert reap.entry.version == "100"

    def test_a_shorter_ttl_counts_from_now_on(self, book: Book) -> None:
        book.lease_seen(lease(ttl=3600), 0)
        book.lease_seen(lease(ttl=10, version=2), 1)
        assert book.next_due() == 12
        assert reasons(book.due(12)) == [("lease-1", "expired")]

    def test_a_longer_ttl_counts_from_now_on(self, book: Book) -> None:
        book.lease_seen(lease(ttl=10), 0)
        book.lease_seen(lease(ttl=100, version=2), 1)
        assert book.due(50) == []
        assert book.next_due() == pytest.approx(111)

    def test_a_new_grant_of_the_name_is_another_lease(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.lease_gone(lease(version=2), 30)
        book.lease_seen(lease(uid="lease-2", version=3), 31)
        assert book.due(40) == []
        assert book.next_due() == 64

    def test_after_a_restart_every_time_starts_anew(self) -> None:
        first, second = Book(), Book()
        first.lease_seen(lease(), 0)
        second.lease_seen(lease(), 32)
        assert len(first.due(33)) == 1
        assert second.due(33) == []
        assert second.next_due() == 65

    def test_what_ceases_to_be_ours_is_forgotten(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        relabelled = lease(version=2)
        relabelled["metadata"]["labels"][LABEL_MANAGED_BY] = "helm"
        book.lease_seen(relabelled, 1)
        assert book.locks() == []
        assert book.due(1000) == []


class TestSettling:
    def due(self, book: Book) -> Reap:
        book.lease_seen(lease(), 0)
        (reap,) = book.due(33)
        return reap

    def test_gone_is_forgotten(self, book: Book) -> None:
        book.settled(self.due(book), "gone", 34)
        assert book.locks() == []
        assert book.lease_gone(lease(), 35) is None
        assert book.next_due() is None

    def test_gone_by_the_watch_before_the_answer_is_forgotten_too(self, book: Book) -> None:
        reap = self.due(book)
        assert book.lease_gone(lease(), 34) == reap.entry
        book.settled(reap, "gone", 35)
        assert (book.locks(), book.due(1000)) == ([], [])

    def test_a_failed_reap_comes_again_later_and_later(self, book: Book) -> None:
        reap, now, waits = self.due(book), 33.0, []
        for _ in range(9):
            book.settled(reap, "failed", now)
            again = book.next_due()
            assert again is not None
            waits.append(again - now)
            now = again
            assert book.due(now - 0.01) == []
            (reap,) = book.due(now)
            assert reap.since == 33
        assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]

    def test_a_lease_that_changed_meanwhile_waits_for_its_new_time(self, book: Book) -> None:
        reap = self.due(book)
        book.lease_seen(lease(version=2), 33.5)
        book.settled(reap, "changed", 34)
        assert book.due(66.4) == []
        assert len(book.due(66.5)) == 1

    def test_a_change_that_was_not_seen_yet_counts_from_the_refusal(self, book: Book) -> None:
        reap = self.due(book)
        book.settled(reap, "changed", 34)
        assert book.due(66.9) == []
        assert book.next_due() == 67
        book.lease_seen(lease(version=2), 40)
        assert book.due(72.9) == []
        assert len(book.due(73)) == 1

    def test_after_a_refusal_a_lower_version_is_believed(self, book: Book) -> None:
        """So that an etcd restored from a backup, whose versions start lower, is followed."""
        book.lease_seen(lease(version=1000), 0)
        book.lease_seen(lease(version=20), 10)
        (reap,) = book.due(33)
        book.settled(reap, "changed", 33)
        book.lease_seen(lease(version=1000), 34)
        book.lease_seen(lease(version=21), 35)
        book.lease_seen(lease(version=22), 36)
        (reap,) = book.due(69)
        assert reap.entry.version == "22"

    def test_a_death_whose_reap_was_refused_waits_for_news_and_does_not_spin(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.pod_seen(pod(RESTARTED), 1)
        (reap,) = book.due(1)
        book.settled(reap, "changed", 2)
        assert book.due(30) == []
        book.lease_seen(lease(version=2), 31)
        assert len(book.due(31)) == 1

    def test_settling_what_was_not_handed_out_does_nothing(self, book: Book) -> None:
        reap = self.due(book)
        book.settled(reap, "failed", 33)
        book.settled(reap, "gone", 33)
        assert len(book.locks()) == 1


class TestIncarnations:
    def test_the_end_of_an_older_one_leaves_the_newer_alone(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.lease_seen(lease(uid="lease-2", version=3), 1)
        gone = book.lease_gone(lease(version=2), 2)
        assert gone is not None
        assert gone.uid == "lease-1"
        assert uids(book.locks()) == {"lease-2"}

    def test_an_older_one_that_comes_late_goes_by_its_own_reap(self, book: Book) -> None:
        book.lease_seen(lease(uid="lease-2", version=3), 0)
        book.lease_seen(lease(), 1)
        book.lease_seen(lease(uid="lease-2", version=4), 30)
        (reap,) = book.due(34)
        assert reap.entry.uid == "lease-1"
        book.settled(reap, "gone", 34)
        assert uids(book.locks()) == {"lease-2"}

    def test_a_lease_that_is_not_known_can_go(self, book: Book) -> None:
        assert book.lease_gone(lease(), 0) is None
        assert book.lease_gone({"metadata": None}, 0) is None


class TestRelist:
    def test_what_a_list_does_not_hold_has_vanished(self, book: Book) -> None:
        for n in range(4):
            book.lease_seen(lease(f"job-{n}", uid=f"lease-{n}"), 0)
        assert uids(book.relisted("leases", None, {"lease-1", "lease-2"}, 10)) == {"lease-0", "lease-3"}
        assert uids(book.locks()) == {"lease-1", "lease-2"}
        assert len(book.due(1000)) == 2

    def test_a_list_of_one_namespace_speaks_for_that_one(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.lease_seen(lease(uid="lease-2", namespace="other"), 0)
        assert uids(book.relisted("leases", "other", set(), 10)) == {"lease-2"}
        assert uids(book.locks()) == {"lease-1"}

    def test_what_was_heard_of_since_the_list_was_asked_for_stays(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.lease_seen(lease("new", uid="lease-2", version=5), 11)
        assert uids(book.relisted("leases", None, set(), 10)) == {"lease-1"}
        assert uids(book.locks()) == {"lease-2"}

    def test_a_list_does_not_start_the_time_of_the_unchanged_anew(self, book: Book) -> None:
        book.lease_seen(lease(), 0)
        book.lease_seen(lease(), 30)
        book.relisted("leases", None, {"lease-1"}, 29)
        assert book.next_due() == 33

    def test_the_evidence_of_pods_that_vanished_lives_on_for_a_while(self, book: Book) -> None:
        book.pod_seen(pod(RESTARTED), 0)
        book.pod_seen(pod(RESTARTED, uid="pod-2", namespace="other"), 0)
        assert book.relisted("pods", "team", set(), 10) == []
        book.lease_seen(lease(), 20)
        assert len(book.due(20)) == 1
        assert len(book._pods) == 1


def test_the_end_of_a_label_that_came_back_since_is_old_news(book: Book) -> None:
    """A watch by label tells of a Lease that lost it as deleted; a renewal after its return may be heard of before."""
    book.lease_seen(lease(version=5), 10)
    book.lease_seen(lease(version=8), 11)
    assert book.lease_gone(lease(version=6), 12) is None
    assert [one.version for one in book.locks()] == ["8"]
    assert book.lease_gone(lease(version=9), 13) is not None
    assert book.locks() == []


def test_what_is_due_is_what_the_plainest_model_says(book: Book) -> None:
    """Against the plainest model: a dict of what was seen last."""
    chance = random.Random(4)
    model: dict[str, tuple[int, float, int]] = {}
    now = 0.0
    reaped = 0
    for _ in range(4_000):
        now += 0.02
        uid = f"lease-{chance.randrange(100)}"
        version, _, ttl = model.get(uid, (0, 0.0, chance.choice([1, 5, 20, 60])))
        if chance.random() < 0.1:
            gone = book.lease_gone(lease(uid=uid, version=version + 1), now)
            assert (gone is not None) == (model.pop(uid, None) is not None)
        else:
            model[uid] = (version + 1, now, ttl)
            book.lease_seen(lease(uid=uid, version=version + 1, ttl=ttl), now)
        expected = {uid for uid, (_, seen, ttl) in model.items() if now >= seen + max(ttl * 1.1, ttl + 1)}
        reaps = book.due(now)
        assert uids([reap.entry for reap in reaps]) == expected
        for reap in reaps:
            book.settled(reap, "gone", now)
            del model[reap.entry.uid]
            reaped += 1
    assert reaped > 100
