"""The known bugs of the field, each as a small patch of our code, and what catches it here.

``edits`` are (file, text, text in its place); a text has to be there exactly once, so that a mutant whose code has
changed fails loudly instead of testing nothing. ``tests`` are those that must fail; ``rules`` are those of
the simulation of which one must be broken by its first schedules, before any other.
"""

from __future__ import annotations

from dataclasses import dataclass

EFFECTS = "tasklock/protocol/effects.py"
ACQUIRE, GRANT, RELEASE = "tasklock/protocol/acquire.py", "tasklock/protocol/grant.py", "tasklock/protocol/release.py"
SIGHTINGS, IDENTITY, LEASE = "tasklock/protocol/sightings.py", "tasklock/transport/identity.py", "tasklock/lease.py"
WRITTEN_AFTER = "TestDeath::test_a_lease_that_is_written_after_the_report_is_somebody_elses_and_waits_for_its_expiry"
HOLD, DECORATE, RUN = "tasklock/hold.py", "tasklock/decorate.py", "tasklock/cli/run.py"
EVIDENCE, ENTRY = "tasklock_operator/evidence.py", "tasklock_operator/entry.py"

UNIT, SCENES = "tests/unit", "tests/simulation/test_scenes.py"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One bug. ``name`` says what the mutant does."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    habits: tuple[int, ...] = ()  # what clients do in the simulation, where its schedules seldom do that


PROTOCOL = (
    Mutant(
        name="renews by PUT without the uid, which brings a deleted Lease back to life",
        edits=(
            (
                GRANT,
                """            method="PATCH",
            lease=self.claim.lease,
            body={"metadata": metadata, "spec": {"renewTime": microtime(self.renew_time)}},
""",
                """            method="PUT",  # type: ignore[arg-type]
            lease=self.claim.lease,
            body={
                **(body := self.claim.body(self.renew_time)),
                "metadata": {**body["metadata"], "resourceVersion": self.version},
                "spec": {**body["spec"], **self._spec},
            },
""",
            ),
        ),
        tests=(
            f"{UNIT}/test_renew.py::test_the_patch_says_which_incarnation_and_a_later_time_and_nothing_of_the_rest",
        ),
        rules=("nothing is resurrected",),
    ),
    Mutant(
        name="takes a lock for expired by comparing its renewTime with the local wall clock",
        edits=(
            (
                SIGHTINGS,
                "    if now.clock - since > lease.ttl * STALE_AFTER:",
                "    if lease.renewed and (now.wall - lease.renewed).total_seconds() > lease.ttl * STALE_AFTER:",
            ),
        ),
        tests=(f"{UNIT}/test_takeover.py::test_the_holders_timestamps_count_for_nothing",),
        rules=("only what is stale",),
    ),
    Mutant(
        name="counts the validity from after the reply to a renewal",
        edits=((GRANT, "lease.version, reply.sent, True, None", "lease.version, reply.received, True, None"),),
        tests=(f"{UNIT}/test_renew.py::test_an_answered_renewal_counts_from_before_its_request",),
        rules=("counted from before",),
    ),
    Mutant(
        name="releases without a precondition",
        edits=(
            (
                RELEASE,
                "deletion(grant.claim.lease, uid=grant.uid, timeout=max(1.0, min(ATTEMPT, left)))",
                'Send(method="DELETE", lease=grant.claim.lease, timeout=max(1.0, min(ATTEMPT, left)))',
            ),
        ),
        tests=(f"{UNIT}/test_release.py::test_release_is_one_delete_of_our_own_incarnation_whatever_its_version",),
        rules=("only what is stale",),
    ),
    Mutant(
        name="flushes by deletecollection",
        edits=(
            (
                RELEASE,
                """    ended = set()
    for lease in leases:
        if (yield from _delete(lease)) and lease.name is not None:
            ended.add(lease.name)
    return ended


def flush_stale""",
                """    selector = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_APP}={app}"
    yield Send(method="DELETE", query=(("labelSelector", selector),), timeout=ATTEMPT)
    return {lease.name for lease in leases if lease.name is not None}


def flush_stale""",
            ),
        ),
        tests=(
            f"{UNIT}/test_force.py::test_flush_ends_each_by_its_uid_and_returns_the_names_as_the_callers_wrote_them",
            f"{UNIT}/test_force.py::test_flush_asks_for_our_label_and_app_and_never_for_deletecollection",
        ),
        rules=("no deletecollection",),
        habits=(20, 0, 0, 5, 0),
    ),
    Mutant(
        name="takes over by uid alone, without the resourceVersion",
        edits=(
            (
                ACQUIRE,
                "lease.lease, uid=lease.uid, version=lease.version, timeout=",
                "lease.lease, uid=lease.uid, version=None, timeout=",
            ),
        ),
        tests=(
            f"{UNIT}/test_takeover.py::test_the_deletion_carries_both_preconditions",
            f"{SCENES}::test_a_write_between_the_last_look_and_the_takeover_saves_the_lock",
        ),
    ),
    Mutant(
        name="reports a retried create as locked by someone else, though the first one took the lock",
        edits=(
            (
                ACQUIRE,
                "            if lease is not None and lease.holder == self.claim.holder:  # 3. ours",
                "            if lease is not None and lease.uid == self._created[0]:  # 3. ours",
            ),
        ),
        tests=(
            f"{UNIT}/test_acquire.py::test_an_ambiguous_post_is_looked_for_and_adopted_with_validity_from_the_first_post",
            f"{UNIT}/test_acquire.py::test_a_409_that_shows_my_own_nonce_is_mine_after_all",
        ),
        rules=("no false refusal", "nothing hangs", "nothing runs wild"),
    ),
    Mutant(
        name="takes the 404 to a renewal that overlaps its own release for a loss",
        edits=((GRANT, "if self.over or self.check(reply.received):", "if self.check(reply.received):"),),
        tests=(
            f"{UNIT}/test_renew.py::test_a_404_to_a_renewal_that_overlaps_the_release_is_our_own_doing",
            f"{SCENES}::test_a_renewal_that_overlaps_the_release_makes_no_loss_of_it",
        ),
    ),
    Mutant(
        name="watches from now on instead of from the list, and misses a DELETED between the two",
        edits=((ACQUIRE, "lease=lease.lease, version=version, seconds=", 'lease=lease.lease, version="0", seconds='),),
        tests=(
            f"{UNIT}/test_wait.py::test_a_waiter_lists_watches_from_the_lists_version_and_posts_on_deleted",
            f"{SCENES}::test_a_lock_freed_between_the_list_and_the_watch_is_taken_at_once",
        ),
    ),
    Mutant(
        name="ignores a 410, and watches from the same version again",
        edits=(
            (
                ACQUIRE,
                """        if reply.status != OK:
            yield from self._endure(reply, "watch")
            return None
""",
                """        while reply.status != OK:
            yield from self._endure(reply, "watch")
            reply = yield Watch(lease=lease.lease, version=version, seconds=seconds, timeout=5.0)
""",
            ),
        ),
        tests=(f"{UNIT}/test_wait.py::test_a_watch_that_cannot_be_opened_is_looked_for_again",),
        rules=("410 is understood",),
    ),
    Mutant(
        name="takes a 409 that an unrelated writer caused for a loss",
        edits=(
            (
                GRANT,
                '        elif reply.status == UNPROCESSABLE and reply.blames("metadata.uid"):',
                '        elif reply.status == 409 or (reply.status == UNPROCESSABLE and reply.blames("metadata.uid")):',
            ),
        ),
        tests=(f"{UNIT}/test_renew.py::test_everything_else_is_tried_again_while_time_remains",),
        rules=("no false loss",),
    ),
    Mutant(
        name="hands out a lock whose validity was used up while it waited for the answer",
        edits=((ACQUIRE, "late = now.clock >= grant.valid_until", "late = False"),),
        tests=(
            f"{UNIT}/test_acquire.py::test_an_answer_after_two_thirds_of_the_ttl_is_renewed_before_the_lock_is_handed_out",
        ),
        rules=("granted is held",),
    ),
    Mutant(
        name="forgets, as it times out, that its create may have been granted",
        edits=(
            (
                ACQUIRE,
                "        return self._posting or self._mine or self.unsettled_until > 0",
                "        return False",
            ),
        ),
        tests=(f"{UNIT}/test_acquire.py::test_an_attempt_cut_short_during_its_post_is_unsettled",),
        rules=("nothing is left behind",),
    ),
    Mutant(
        name="counts a timeout in sleeps, as if requests took no time",
        edits=(
            (
                ACQUIRE,
                "            self._posting = reply.status == CREATED  # until",
                """            if self._deadline is not None:
                self._deadline += reply.received - reply.sent
            self._posting = reply.status == CREATED  # until""",
            ),
            (
                ACQUIRE,
                '            items = (reply.body or {}).get("items")',
                """            if self._deadline is not None:
                self._deadline += reply.received - reply.sent
            items = (reply.body or {}).get("items")""",
            ),
        ),
        tests=(
            f"{UNIT}/test_acquire.py::test_no_request_may_take_longer_than_the_time_that_is_left",
            f"{UNIT}/test_wait.py::test_a_create_that_takes_longer_than_the_time_to_wait_is_cut_off_and_looked_after",
        ),
        rules=("the timeout is kept",),
    ),
    Mutant(
        name="watches from the object's resourceVersion: 410 without end after an API server restart",
        edits=(
            (
                ACQUIRE,
                "                lease = yield from self._wait(lease, version, state)",
                "                lease = yield from self._wait(lease, lease.version, state)",
            ),
        ),
        tests=(f"{UNIT}/test_wait.py::test_a_waiter_lists_watches_from_the_lists_version_and_posts_on_deleted",),
        rules=("410 is understood",),
    ),
    Mutant(
        name="counts a renewal that changed nothing as answered",
        edits=(
            (
                GRANT,
                "            if lease.uid != self.uid or lease.version == self.version:",
                "            if lease.uid != self.uid:",
            ),
        ),
        tests=(f"{UNIT}/test_renew.py::test_200_with_the_same_version_is_not_answered",),
    ),
    Mutant(
        name="repeats the renewTime of an unanswered renewal, and counts the one that changed nothing",
        edits=((ACQUIRE, ", renew_time=self._renew_time)", ")"),),
        tests=(
            f"{UNIT}/test_acquire.py::test_each_renewal_of_a_late_grant_changes_the_lease_though_the_wall_clock_went_back",
            f"{SCENES}::test_a_renewal_before_the_lock_is_handed_out_is_no_repetition_though_the_wall_clock_went_back",
        ),
    ),
    Mutant(
        name="lets the renewal of a late grant outlast the time to wait",
        edits=(
            (
                ACQUIRE,
                "yield replace(renewal, timeout=min(renewal.timeout, self._patience(now.clock)))",
                "yield replace(renewal)",
            ),
        ),
        tests=(f"{UNIT}/test_acquire.py::test_a_late_grants_renewal_does_not_outlast_the_time_to_wait",),
    ),
    Mutant(
        name="counts the validity from the second create of a nonce, though the first one took the lock",
        edits=(
            (
                ACQUIRE,
                "            self._first_sent = now.clock if self._first_sent is None else self._first_sent",
                "            self._first_sent = now.clock",
            ),
        ),
        tests=(
            f"{UNIT}/test_wait.py::test_an_unanswered_create_makes_even_a_long_wait_count_from_the_first",
            f"{SCENES}::test_a_first_create_that_arrives_before_the_second_counts_from_the_first",
        ),
    ),
    Mutant(
        name="lets a late 200 revive a lost lock",
        edits=(
            (GRANT, "if self.over or self.check(reply.received):", "if self.over:"),
            (
                GRANT,
                "            self.version, self.since, self._told_token, self.trouble = lease.version,",
                """            self.loss = None
            self.version, self.since, self._told_token, self.trouble = lease.version,""",
            ),
        ),
        tests=(
            f"{UNIT}/test_renew.py::test_a_late_200_revives_nothing",
            f"{UNIT}/test_renew.py::test_a_200_that_arrives_after_the_validity_is_over_is_late_even_if_nobody_looked",
        ),
        rules=("a loss is final",),
    ),
    Mutant(
        name="takes over by managedFields' time, which anybody can forge",
        edits=(
            (
                SIGHTINGS,
                "    if now.clock - since > lease.ttl * STALE_AFTER:",
                "    if now.clock - since > lease.ttl * STALE_AFTER or lease.looks_stale(now.wall):",
            ),
        ),
        tests=(f"{UNIT}/test_takeover.py::test_the_holders_timestamps_count_for_nothing",),
        rules=("only what is stale",),
    ),
)

AROUND = (
    Mutant(
        name="releases its parent's lock in a forked child",
        edits=(
            (
                HOLD,
                "        if not self._is_ours():\n            return\n        try:\n            loss",
                "        try:\n            loss",
            ),
        ),
        tests=(f"{UNIT}/test_fork.py::test_a_child_does_not_release_its_parents_lock",),
    ),
    Mutant(
        name="unlocks a decorated coroutine as soon as it is called, before its body runs",
        edits=(
            (
                DECORATE,
                "            if isinstance(result, (Coroutine, Generator, AsyncGenerator)):\n",
                "            if isinstance(result, (Generator, AsyncGenerator)):\n",
            ),
            (
                DECORATE,
                "        (inspect.iscoroutinefunction, _coroutine),\n",
                "        (inspect.iscoroutinefunction, _function),\n",
            ),
        ),
        tests=(f"{UNIT}/test_decorators.py::test_a_coroutine_holds_it_until_it_has_returned",),
    ),
    Mutant(
        name="runs the coroutine of a callable object after its lock is released",
        edits=(
            (DECORATE, "(given, type(given).__call__)", "(given,)"),
            (DECORATE, "if isinstance(result, (Coroutine, Generator, AsyncGenerator)):", "if result is Coroutine:"),
        ),
        tests=(f"{UNIT}/test_decorators.py::test_an_object_is_guarded_as_what_a_call_of_it_runs",),
    ),
    Mutant(
        name="keeps the process mark of a parent in a forked child, whose pid a dead ancestor may have had",
        edits=((IDENTITY, "        process_mark.cache_clear()\n", ""),),
        tests=(f"{UNIT}/test_fork.py::test_a_forked_child_says_when_it_was_started_itself",),
    ),
    Mutant(
        name="takes anybody's 200 for the API server's word that a Lease was deleted",
        edits=((EFFECTS, " and isinstance(kind, str) and kind in", " or kind in"),),
        tests=(f"{UNIT}/test_release.py::test_an_answer_that_will_not_change_raises",),
    ),
    Mutant(
        name="formats a time without the fraction where that is zero",
        edits=((LEASE, '.isoformat(timespec="microseconds")', ".isoformat()"),),
        tests=(f"{UNIT}/test_lease.py::test_a_written_time_has_exactly_six_digits_and_reads_as_the_same",),
    ),
    Mutant(
        name="takes a process of another boot for a dead neighbour",
        edits=((IDENTITY, "or not found or found[1] != place or", "or not found or"),),
        tests=(f"{UNIT}/test_identity.py::test_another_boot_another_pid_namespace_or_nonsense_is_unknown",),
    ),
    Mutant(
        name="takes a process that is hidden in /proc for dead",
        edits=((IDENTITY, "    if started is None or started == found[3]:", "    if started == found[3]:"),),
        tests=(f"{UNIT}/test_identity.py::test_a_process_that_is_hidden_from_us_is_not_dead",),
    ),
    Mutant(
        name="names a wrapper's process in its Lease, though its command may outlive it",
        edits=((RUN, "announce_process=os.getpid() == 1", "announce_process=True"),),
        tests=("tests/mutants/test_wrapper.py::test_a_wrapper_does_not_name_its_process",),
    ),
)

REAPING = "tests/reaping"
OPERATOR = (
    Mutant(
        name="reaps as soon as the container is terminated, whenever the lock was acquired",
        edits=(
            (
                EVIDENCE,
                """        if acquired is None or is_later(entry.version, self.told):
            return False
        return self.started <= acquired < self.finished
""",
                "        return True\n",
            ),
        ),
        tests=(f"{REAPING}/test_evidence.py::test_what_a_report_proves",),
        rules=("only the dead",),
    ),
    Mutant(
        name="reaps where the container started after the lock was acquired, whoever ended",
        edits=(
            (
                EVIDENCE,
                "        return self.started <= acquired < self.finished",
                "        return self.started > acquired",
            ),
        ),
        tests=(f"{REAPING}/test_evidence.py::test_what_a_report_proves",),
    ),
    Mutant(
        name="takes for the dead one's what was written after its death was reported",
        edits=((EVIDENCE, "acquired is None or is_later(entry.version, self.told)", "acquired is None"),),
        tests=(f"{REAPING}/test_book_evidence.py::{WRITTEN_AFTER}",),
    ),
    Mutant(
        name="trusts a forged lock name, and reaps somebody else's Lease",
        edits=(
            (
                ENTRY,
                "        if part is None and lease.lease != base:\n            return None\n",
                "",
            ),
        ),
        tests=(f"{REAPING}/test_reconcile.py::test_a_lease_that_is_not_provably_ours_is_nobody",),
    ),
    Mutant(
        name="trusts a forged pod-uid, of a Pod in another namespace",
        edits=(
            (
                EVIDENCE,
                " or entry.pod_uid != evidence.uid or entry.namespace != evidence.namespace:",
                " or entry.pod_uid != evidence.uid:",
            ),
        ),
        tests=(f"{REAPING}/test_evidence.py::test_what_a_report_proves",),
    ),
)

MUTANTS = (*PROTOCOL, *AROUND, *OPERATOR)
