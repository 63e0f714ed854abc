"""Virtual time: a queue of what happens when, processes with clocks of their own, and tasks that run in them.

A task is a generator of effects, the protocol's own or ``Call``; anything that yields them can join. It runs in a
process: on its clock, through its network, and only while it is neither paused nor dead. A pause may begin between any
two effects.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from tasklock.errors import TaskLockError
from tasklock.protocol.effects import Event, IsDead, Next, Now, Reply, Send, Sleep, Time, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from simulation.chance import Chance, Stream
    from simulation.network import Network
    from simulation.network import Stream as Events
    from simulation.plan import Faults
    from simulation.referee import Referee

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LATE = 1e-6  # seconds by which every timer is late, so that no rounding makes it early


@dataclass(frozen=True, slots=True)
class Call:
    """An effect for what is no request to the API server: ``function()`` is called at the other end of the wire."""

    function: Callable[[], object]
    what: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sent a request: which task, and on behalf of which holder identity (or for which reason) at that time."""

    task: Task
    about: str
    ordered: bool

    @property
    def process(self) -> Process:
        return self.task.process


class CancelledError(BaseException):
    """Thrown into a task that is cancelled, as Ctrl-C is."""


class World:
    """The queue. ``now`` is the only true time; nobody in the simulation sees it."""

    def __init__(self, chance: Chance, *, traced: bool = False) -> None:
        self.chance = chance
        self.now = 0.0
        self.calm = False  # faults have stopped; only what is under way goes on
        self.events = 0
        self.trace: list[tuple[float, str, str]] | None = [] if traced else None
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._serial = count()

    def at(self, when: float, call: Callable[..., object], *args: object) -> None:
        heapq.heappush(self._queue, (max(when, self.now), next(self._serial), call, args))

    def run(self, until: float, *, done: Callable[[], bool] = lambda: False) -> None:
        """Let happen what happens until then, or until ``done()``."""
        while self._queue and self._queue[0][0] <= until and not done():
            self.now, _, call, args = heapq.heappop(self._queue)
            self.events += 1
            call(*args)
        if not done():
            self.now = max(self.now, until)

    def say(self, who: str, what: str) -> None:
        """Write a line of the timeline, if anybody reads it. Callers that format test ``trace`` first."""
        if self.trace is not None:
            self.trace.append((self.now, who, what))


class Node:
    """A machine: a clock that runs at ``rate`` and never jumps, and a wall clock that anybody may set."""

    def __init__(self, name: str, rate: float = 1.0, jitter: Callable[[], float] = lambda: 0.5) -> None:
        self.name, self.rate = name, rate
        self.offset = 1000.0 + 9000.0 * jitter()
        self.wall_offset = 20.0 * jitter() - 10.0
        self.jumped = False

    def jump(self, seconds: float) -> None:
        self.wall_offset += seconds
        self.jumped = True


class Process:
    """A process on a node: its clocks, tasks, and a way out that may be cut."""

    def __init__(  # noqa: PLR0913 - the parts of a process
        self,
        world: World,
        name: str,
        *,
        node: Node,
        network: Network,
        faults: Faults,
        referee: Referee,
    ) -> None:
        self.world, self.name, self.node, self.rate = world, name, node, node.rate
        self.network, self.faults, self.referee = network, faults, referee
        self.dice: Stream = world.chance.stream(name)
        self.alive = True
        self.paused = 0.0  # seconds, in all
        self.paused_until = 0.0
        self.forbidden_until = 0.0
        self.forbidden_with = 403
        self.current: Task | None = None
        self.cut_until = 0.0  # no packet comes through before
        self.troubled_at = -1e9  # when something last went wrong for it
        self.tasks: dict[Task, None] = {}
        referee.processes[name] = self

    def clock(self) -> float:
        return self.node.offset + self.rate * self.world.now

    def real(self, clock: float) -> float:
        """Return the true time at which the clock shows ``clock``."""
        return (clock - self.node.offset) / self.rate

    def time(self) -> Time:
        return Time(self.clock(), self.wall())

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.world.now + self.node.wall_offset)

    def start(self, steps: Generator[Any, Any, Any], *, name: str, about: str = "") -> Task:
        """Run ``steps`` in this process from now on; ``about`` is the holder identity on whose behalf."""
        task = Task(self, steps, name=name, about=about)
        if self.alive:
            self.tasks[task] = None
            self.world.at(self.world.now, task.resume, task.waits, lambda: None)
        return task

    def trouble(self, seconds: float = 0.0) -> float:
        """Note that something goes wrong for it, for so long; return until when."""
        self.troubled_at = max(self.troubled_at, self.world.now + seconds)
        return self.world.now + seconds

    def pause(self, seconds: float) -> None:
        begins = max(self.paused_until, self.world.now)
        self.paused_until = max(begins, self.world.now + seconds)
        self.paused += self.paused_until - begins
        self.trouble(self.paused_until - self.world.now)
        if self.world.trace is not None:
            self.world.say(self.name, f"is paused for {seconds:.2f} s")

    def kill(self) -> None:
        """End it as SIGKILL does: nothing more is done, though what was sent goes on its way."""
        self.alive = False
        self.world.say(self.name, "dies")
        for task in [*self.tasks]:
            task.close()

    def trips(self) -> bool:
        """Decide whether a pause begins just here."""
        dice = None if self.world.calm else self.dice.happens(self.faults.pause)
        if dice is not None:
            self.pause(dice.choice((0.3, 3.0, 20.0, 90.0)) * (0.1 + dice.random()))
        return self.paused_until > self.world.now


class Task:
    """One generator that runs in a process."""

    def __init__(self, process: Process, steps: Generator[Any, Any, Any], *, name: str, about: str) -> None:
        self.process, self.name, self.about = process, name, about
        self.seen: set[str] = set()  # the uids that it was shown
        self.ordered = False  # what it does, it does by a person's order
        self.over = False
        self.waits = 1  # a number for what it waits for now; whatever else still comes is too late
        self._steps = steps
        self._stream: Events | None = None
        self.inbox: deque[Event] = deque()
        self._listens = 0  # where it waits for an event: the number of that wait

    def resume(self, waited: int, outcome: Callable[[], object]) -> None:
        """Go on with ``outcome()``, taken when the process really runs; ignored where it no longer waits for that."""
        if waited != self.waits or self.over:
            return
        process = self.process
        if process.paused_until > process.world.now:
            process.world.at(process.paused_until, self.resume, waited, outcome)
            return
        self.waits += 1
        self._advance(outcome())

    @property
    def asker(self) -> Asker:
        return Asker(self, self.about, self.ordered)

    def cancel(self) -> None:
        """Throw CancelledError into it where it stands."""
        if self.process.paused_until > self.process.world.now:
            self.process.world.at(self.process.paused_until, self.cancel)
        elif not self.over:
            self.waits += 1
            self._advance(None, throw=CancelledError())

    def hush(self) -> None:
        """Close its watch, as a driver does when the steps end that opened it."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self.inbox.clear()

    def close(self) -> None:
        if not self.over:
            self._end()
            self._steps.close()

    def _end(self) -> None:
        self.over = True
        self.waits += 1
        self.process.tasks.pop(self, None)
        self.hush()

    def _advance(self, outcome: object, *, throw: BaseException | None = None) -> None:
        process = self.process
        process.current = self
        try:
            while True:
                effect = self._steps.throw(throw) if throw is not None else self._steps.send(outcome)
                throw = None
                if process.faults.pause and process.trips():
                    waits = self.waits
                    process.world.at(process.paused_until, self._later, waits, effect)
                    return
                if type(effect) is Now:
                    outcome = process.time()
                elif type(effect) is IsDead:
                    outcome = process.referee.is_dead(effect.process, process)
                elif not self._perform(effect):
                    return
                else:
                    outcome = self._heard(self.inbox.popleft())
        except StopIteration:
            self._end()
        except (CancelledError, TaskLockError) as error:
            self._end()
            process.referee.failed(self, error)

    def _later(self, waited: int, effect: object) -> None:
        """Perform an effect before which the process was paused."""
        if waited != self.waits or self.over:
            return
        process = self.process
        if process.paused_until > process.world.now:
            process.world.at(process.paused_until, self._later, waited, effect)
        elif type(effect) is Now:
            self.resume(waited, process.time)
        elif type(effect) is IsDead:
            self.resume(waited, lambda: process.referee.is_dead(effect.process, process))
        elif self._perform(effect):
            self.resume(waited, lambda: self._heard(self.inbox.popleft()))

    def _perform(self, effect: object) -> bool:
        """Begin an effect that takes time; return whether its outcome is in the inbox already."""
        process, world, waits = self.process, self.process.world, self.waits
        match effect:
            case Send():
                process.network.send(self, effect, lambda reply: self.resume(waits, lambda: self._answered(reply)))
            case Sleep():
                world.at(process.real(effect.until) + LATE, self.resume, waits, process.time)
            case Watch():
                if self._stream is not None:
                    self._stream.close()
                self.inbox.clear()
                self._stream = process.network.watch(
                    self, effect, lambda reply: self.resume(waits, lambda: self._answered(reply))
                )
            case Next():
                if self.inbox:
                    return True
                self._listens = waits
                world.at(process.real(effect.until) + LATE, self._quiet, waits)
            case Call():
                process.network.call(self, effect, lambda value: self.resume(waits, lambda: value))
            case _:
                msg = f"nobody performs {effect}"
                raise AssertionError(msg)
        return False

    def told(self, event: Event) -> None:
        """Take an event of the open watch; the network calls this when it arrives."""
        self.inbox.append(event)
        if self._listens == self.waits:
            self._listens = 0
            self.resume(self.waits, lambda: self._heard(self.inbox.popleft()))

    def _quiet(self, waited: int) -> None:
        if waited == self.waits == self._listens:
            self._listens = 0
            self.resume(waited, lambda: Event("QUIET", at=self.process.clock()))

    def _heard(self, event: Event) -> Event:
        if event.kind == "ENDED":
            self.inbox.appendleft(event)  # for ever after
        else:
            self.seen.add(event.object["metadata"]["uid"])
        return replace(event, at=self.process.clock())

    def _answered(self, reply: Reply) -> Reply:
        body = reply.body or {}
        for shown in body.get("items", (body,)):
            if uid := (shown.get("metadata") or {}).get("uid"):
                self.seen.add(uid)
        return replace(reply, received=self.process.clock())
