"""Sees everything, by true time, and holds the promises against it.

Nothing in the simulation asks the referee what to do (but for ``is_dead``, which is the kernel's answer): it is told of
every change at the moment it is made, of every grant, loss, refusal and release, and notes what breaks a rule.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from simulation.judge import Judge
from simulation.records import Attempt, Granted, Incarnation
from simulation.world import CancelledError
from tasklock.errors import LockTimeoutError, TaskLockedException, TaskLockError
from tasklock.protocol.acquire import PATIENCE

if TYPE_CHECKING:
    from simulation.world import Process, Task
    from tasklock.lease import Claim
    from tasklock.protocol.grant import Grant, Loss

SOON: Final = 0.15  # seconds by which a deadline may be missed: timers and requests are not instant
SWEPT: Final = 1.0  # seconds within which a Lease is swept up that was there as its attempt ended
STUBBORN: Final = 3  # watches from a compacted version, one after the other


@dataclass
class Referee(Judge):
    """Adds what clients say: what they were granted, refused and told."""

    _by_grant: dict[int, Granted] = field(default_factory=dict)
    _believing: defaultdict[str, list[Granted]] = field(default_factory=lambda: defaultdict(list))
    _too_old: Counter[Task] = field(default_factory=Counter)
    _tokens: defaultdict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def attempts(self, client: Process, claim: Claim, timeout: float | None) -> Attempt:
        self.nonces[claim.holder] = client
        self.counts["attempts"] += 1
        attempt = Attempt(client, claim, timeout, self.world.now, client.paused)
        self.waiting[claim.lease][attempt] = None
        return attempt

    def _over(self, attempt: Attempt) -> None:
        attempt.over = True
        self.waiting[attempt.claim.lease].pop(attempt, None)

    def granted(self, attempt: Attempt, grant: Grant) -> None:
        self._over(attempt)
        self.counts["grants"] += 1
        one = self.incarnations.get(grant.uid)
        client = attempt.client
        if one is None or one.process is not client or one.holder != attempt.claim.holder:
            self.blame("exclusive grants", f"{client.name} was granted {grant.uid}, which is not its own")
            return
        if self.by_uid[one.uid]:
            self.blame("exclusive grants", f"{client.name} was granted {one.uid}, which had been granted before")
        granted = Granted(grant, attempt, one)
        self.by_uid[one.uid].append(granted)
        self._by_grant[id(grant)] = granted
        self._check_token(one, grant.token)
        self.check_since(granted)
        if not granted.believed:
            self.blame("granted is held", f"{client.name} was granted {one.uid}, which was over by its own clock")
        if one.ended is not None and granted.believed:
            self.ended_under(granted)
        self._check_alone(granted)

    def _check_alone(self, new: Granted) -> None:
        """See that nobody else relies on the lock, unless people took it from them or clocks are beyond the bound."""
        others = self._believing[new.incarnation.lease]
        for other in others:
            older = min(new, other, key=lambda granted: granted.incarnation.revision)
            one = older.incarnation
            meddled = one.how == "by order" or one.notes_touched or one.state.ttl < older.grant.ttl
            if new.believed and other.believed and not older.excused and not meddled:
                self.blame(
                    "exclusive grants", f"{new.attempt.client.name} and {other.attempt.client.name} both rely on it"
                )
        others[:] = [other for other in others if other.believed]
        others.append(new)

    def _check_token(self, one: Incarnation, token: int) -> None:
        tokens = self._tokens[one.lease]
        insort(tokens, (one.revision, token))
        at = tokens.index((one.revision, token))
        if (at and tokens[at - 1][1] >= token) or (at + 1 < len(tokens) and tokens[at + 1][1] <= token):
            self.blame("tokens grow", f"{token} of {one.uid} among {tokens}")

    def ending(self, grant: Grant) -> None:
        if granted := self._by_grant.get(id(grant)):
            granted.ending = True

    def kept(self, grant: Grant, loss: Loss | None) -> None:
        """Take notice that a holder was told how it lost its lock, or that it was released."""
        granted = self._by_grant.get(id(grant))
        if granted is None or loss is None or granted.lost is not None:
            return
        granted.lost = loss
        one, client, reason = granted.incarnation, granted.attempt.client, loss.reason
        self.counts[f"lost: {reason}"] += 1
        if reason in {"deleted", "replaced"} and one.how in {"", "released"}:
            self.blame("no false loss", f"{client.name} was told that {one.uid} is {reason}, and nobody had ended it")
        elif reason == "overwritten" and not one.spec_touched:
            self.blame("no false loss", f"{client.name} was told that {one.uid} is overwritten, and it is as it was")
        elif reason == "expired" and client.troubled_at < client.real(grant.since) - SOON and one.ended is None:
            self.blame("no false loss", f"{client.name} let {one.uid} expire, and nothing was wrong")

    def released(self, grant: Grant, outcome: str) -> None:
        self.counts[f"release: {outcome}"] += 1
        granted = self._by_grant[id(grant)]
        one, client = granted.incarnation, granted.attempt.client
        if outcome == "released" and one.ended is None:
            self.blame("released is gone", f"{client.name} was told that {one.uid} is released, and it is there")
        if outcome == "gone" and one.how == "released" and client.troubled_at < one.born:
            self.blame("no false loss", f"{client.name} released {one.uid} itself, and was told that it was gone")

    def refused(self, attempt: Attempt, error: BaseException) -> None:
        self._over(attempt)
        client, claim = attempt.client, attempt.claim
        self.counts[f"refused: {type(error).__name__}"] += 1
        if not isinstance(error, (TaskLockError, CancelledError)):
            return
        left = self.live.get(claim.lease)
        if left is not None and left.holder == claim.holder:
            self.world.at(self.world.now + SWEPT, self._check_swept, client, left, self.world.now)
        if not isinstance(error, TaskLockError):
            return
        patience = PATIENCE if attempt.timeout == 0 else attempt.timeout
        took = (self.world.now - attempt.began - (client.paused - attempt.paused)) * client.rate
        if patience is not None and took > patience + SOON:
            self.blame("the timeout is kept", f"{client.name} waited {took:.3f} s, not {patience:.3f}")
        if not isinstance(error, TaskLockedException):
            return
        during = [one for one in self.history[claim.lease] if one.ended is None or one.ended >= attempt.began]
        others = [one for one in during if one.holder != claim.holder]
        mine = [one for one in during if one.holder == claim.holder]  # had, perhaps, and lost in a pause
        holders = {holder for one in during for holder in one.holders} - {claim.holder}
        true = error.holder in holders  # of a Lease of another, or by a name that somebody wrote into its own
        if (error.holder is not None and not true) or not during:
            self.blame("no false refusal", f"{client.name} was told that {error.holder} holds {claim.lease}")
        elif not true and not others and left in mine and client.paused == attempt.paused:  # no pause made it too late
            self.blame("no false refusal", f"{client.name} was told that {claim.lease} is held, which is its own")
        if isinstance(error, LockTimeoutError) and attempt.timeout == 0:
            self.blame("no false refusal", f"{client.name} did not wait, and was told of a timeout")

    def _check_swept(self, client: Process, left: Incarnation, since: float) -> None:
        excused = left.notes_touched or left.spec_touched or left.copy
        if left.ended is None and client.alive and client.troubled_at < since - SWEPT and not excused:
            self.blame("nothing is left behind", f"{client.name} gave up, and {left.uid} of it is still there")

    def too_old(self, task: Task) -> None:
        """Take notice of a watch that was refused because its version is compacted away."""
        self._too_old[task] += 1
        if self._too_old[task] > STUBBORN:
            self.blame("410 is understood", f"{task.process.name}: {task.name} watches from a version that is gone")

    def opened(self, task: Task) -> None:
        self._too_old.pop(task, None)

    def failed(self, task: Task, error: BaseException) -> None:
        if not isinstance(error, CancelledError):
            self.blame("no error in the background", f"{task.process.name}: {task.name}: {error!r}")

    # the kernel, and the end

    def is_dead(self, mark: str, asking: Process) -> bool | None:
        """Say what the kernel of that node says of a process."""
        node, _, name = mark.partition("/")
        if node != asking.node.name:
            return None
        process = self.processes.get(name)
        return process is None or not process.alive

    def finish(self, *, reaped: bool) -> None:
        """Hold against the end what only the end can show."""
        for one in self.live.values():
            if reaped or one.process is not None:
                self.blame("every lock is free again", f"{one.uid} of {one.holder} is left of {one.lease}")
        for granteds in self.by_uid.values():
            for granted in granteds:
                one, client = granted.incarnation, granted.attempt.client
                told = granted.lost or granted.grant.loss
                if client.alive and one.how not in {"", "released"} and not granted.ending and told is None:
                    self.blame("loss is told", f"{client.name} never heard that {one.uid} was {one.how}")
