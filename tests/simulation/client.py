"""A process that uses locks: around the real protocol objects only what Session, Hold and Keeper do around them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from simulation.world import Call, CancelledError, Process
from tasklock.errors import LockLostError, TaskLockError
from tasklock.lease import CONTAINER, POD_UID, PROCESS, Claim
from tasklock.naming import lease_name
from tasklock.protocol.acquire import Acquisition
from tasklock.protocol.effects import Now, Sleep
from tasklock.protocol.grant import Grant, expiring, renewing, watching
from tasklock.protocol.release import IN_FLIGHT, flush, flush_stale, force, release, sweep
from tasklock.protocol.sightings import Sightings, would_refuse

if TYPE_CHECKING:
    from collections.abc import Generator
    from random import Random

    from simulation.plan import Plan
    from simulation.register import Register

APP = "app"
CONTAINER_NAME = "main"


class Client(Process):
    """One process with a client: what it saw, what it gave up, what it holds. Workers are its threads."""

    def __init__(self, plan: Plan, *, pod_uid: str, registers: dict[str, Register], **process: Any) -> None:
        super().__init__(**process)
        self.plan = plan
        self.pod_uid = pod_uid
        self.registers = registers
        self.sightings = Sightings()
        self.abandoned: dict[str, Claim] = {}
        mark = {PROCESS: f"{self.node.name}/{self.name}"} if plan.announce else {}
        self.notes = {POD_UID: pod_uid, CONTAINER: CONTAINER_NAME} | mark
        self.working = 0
        self._nonce = 0

    def claim(self, name: str, ttl: int) -> Claim:
        self._nonce += 1
        holder = f"{self.name}_{self._nonce:08x}"
        return Claim(lease=lease_name(APP, name), app=APP, name=name, holder=holder, ttl=ttl, annotations=self.notes)

    def work(self, number: int) -> None:
        """Start a worker, one thread of this process."""
        self.working += 1
        self.start(self._rounds(f"{self.name}/{number}"), name=f"worker {number}")

    def _rounds(self, owner: str) -> Generator[Any, Any, None]:
        dice = self.world.chance.stream(owner)
        try:
            for _ in range(self.plan.rounds):
                luck = dice.happens(1.0)
                if luck is None:
                    continue
                now = yield Now()
                yield Sleep(now.clock + luck.random() ** 3 * self.plan.idle)
                if self.world.calm:
                    return
                with suppress(TaskLockError, CancelledError):
                    yield from self._round(luck)
        finally:
            self.working -= 1

    def _round(self, luck: Random) -> Generator[Any, Any, None]:
        name = luck.choice(self.plan.names)
        match luck.choices(("take", "look", "clear", "flush", "flush stale"), self.plan.habits)[0]:
            case "look":
                yield from would_refuse(
                    APP, name, sightings=self.sightings, abandoned=self.abandoned, takeover=self.plan.takeover
                )
            case "clear":
                yield from self._order(force(APP, name))
            case "flush":
                yield from self._order(flush(APP))
            case "flush stale":
                yield from flush_stale(APP)
            case _:
                timeout = luck.choices((0, luck.random() * 30, None), (2, 2, 3))[0]
                yield from self.lock(name, luck, timeout=timeout)

    def _order(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
        task = self.current
        if task is not None:
            task.ordered = True
            try:
                yield from steps
            finally:
                task.ordered = False

    def lock(self, name: str, luck: Random, *, timeout: float | None) -> Generator[Any, Any, None]:
        """Acquire, use and release a lock, as ``with client.lock_task(name, timeout=...)`` does."""
        ttl = luck.choice(self.plan.ttls)
        grant = yield from self.acquire(self.claim(name, ttl), timeout=timeout, cancel=luck)
        self.keep(grant)
        try:
            yield from self._body(grant, self.registers[name], luck)
        except CancelledError:  # meant for the acquire, and late
            with suppress(LockLostError):
                yield from self.release(grant)
            raise
        yield from self.release(grant)

    def keep(self, grant: Grant) -> None:
        """Renew what is held, as ``Hold`` has it done."""
        steps = {"renewing": renewing(grant, self.dice.jitter), "expiring": expiring(grant)}
        if self.plan.watch_holds:
            steps["watching"] = watching(grant)
        for name, one in steps.items():
            self.start(self._keeping(grant, one), name=name, about=grant.claim.holder)

    def _keeping(self, grant: Grant, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
        self.referee.kept(grant, (yield from steps))

    def acquire(
        self, claim: Claim, *, timeout: float | None, cancel: Random | None = None
    ) -> Generator[Any, Any, Grant]:
        """Acquire as ``Session.grant`` does: what is cut short is swept up."""
        self._speak_for(claim)
        acquisition = Acquisition(
            claim,
            timeout=timeout,
            takeover=self.plan.takeover,
            sightings=self.sightings,
            abandoned=self.abandoned,
            random=self.dice.jitter,
        )
        attempt = self.referee.attempts(self, claim, timeout)
        if cancel is not None and cancel.random() < self.plan.cancels:
            self._cancel_after(cancel.random() ** 2 * 10, attempt)
        try:
            grant: Grant = yield from acquisition.steps()
        except BaseException as error:
            self.referee.refused(attempt, error)
            if acquisition.unsettled:
                self.settle(claim, self.clock() + IN_FLIGHT)
            raise
        finally:
            if self.current is not None:
                self.current.hush()
        self.referee.granted(attempt, grant)
        return grant

    def _cancel_after(self, seconds: float, attempt: Any) -> None:
        task = self.current

        def cancel() -> None:
            if task is not None and not attempt.over:
                task.cancel()

        self.world.at(self.world.now + seconds, cancel)

    def release(self, grant: Grant) -> Generator[Any, Any, None]:
        """Release as ``Hold.release`` does; raises LockLostError where it was lost."""
        self._speak_for(grant.claim)
        loss = grant.check(self.clock())
        grant.over = True
        self.referee.ending(grant)
        try:
            if loss is None or loss.reason == "expired":
                outcome = yield from release(grant, self.dice.jitter)
                self.referee.released(grant, outcome)
        finally:
            self.settle(grant.claim, grant.unsettled_until)
        if grant.loss is not None:
            self.referee.kept(grant, grant.loss)
            msg = "lost"
            raise LockLostError(msg, name=grant.claim.name, reason=grant.loss.reason)

    def _speak_for(self, claim: Claim) -> None:
        if self.current is not None:
            self.current.about = claim.holder

    def settle(self, claim: Claim, until: float) -> None:
        if self.alive and self.clock() < until:
            self.abandoned[claim.holder] = claim
            self.start(self._sweeping(claim, until), name="sweeping", about=claim.holder)

    def _sweeping(self, claim: Claim, until: float) -> Generator[Any, Any, None]:
        yield from sweep(claim, until)
        self.abandoned.pop(claim.holder, None)

    def _body(self, grant: Grant, register: Register, luck: Random) -> Generator[Any, Any, None]:
        """Count up in a register for as long as the lock is held; a careless body does not look in between."""
        careful = luck.random() < 0.5
        for _ in range(luck.choice((0, 1, 1, 2))):
            if careful and grant.check(self.clock()):
                return
            value = yield Call(lambda: register.read(grant.token), f"read {grant.token}")
            if value is None:
                return
            now = yield Now()
            yield Sleep(now.clock + luck.random() ** 4 * grant.ttl)
            if careful and grant.check(self.clock()):
                return
            yield Call(
                lambda value=value: register.write(grant.token, value + 1), f"write {value + 1} by {grant.token}"
            )
        now = yield Now()
        yield Sleep(now.clock + luck.random() ** 4 * self.plan.holds * grant.ttl)
