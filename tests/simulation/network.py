"""The way to the server and back: latency, and all that can happen to a request or a watch on it.

What the client sees of a lost request depends on how it was lost: a refused connection says that nothing happened, a
broken or silent one says nothing at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from simulation.fates import FAR, NEAR, Fate, refusal
from tasklock.protocol.effects import OK, Event, Reply, Send, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.plan import Faults
    from simulation.server import Server
    from simulation.world import Call, Process, Task, World
    from tasklock.testing.watch import WatchEvent

    Answered = Callable[[Reply], object]

NO_ANSWER = Reply(status=0, error="no answer from the API server at 'sim': no answer in time: check the network")
REFUSED = replace(NO_ANSWER, maybe_done=False)


class Network:
    """Carries requests, watches and calls of all processes."""

    def __init__(self, world: World, server: Server, faults: Faults) -> None:
        self.world, self.server, self.faults = world, server, faults
        self.script: dict[tuple[str, str, int], Fate] = {}  # whose, which method, the how-manieth: what becomes of it
        self._sent: Counter[tuple[str, str]] = Counter()

    def send(self, task: Task, effect: Send, answered: Answered) -> None:
        _Exchange(self, task, effect, answered).begin()

    def fate(self, process: Process, effect: Send | Watch) -> Fate:
        """Decide what becomes of a request."""
        method = effect.method if isinstance(effect, Send) else "WATCH"
        self._sent[process.name, method] += 1
        fate = self.script.get((process.name, method, self._sent[process.name, method]))
        if fate is None:
            jitter = process.dice.jitter
            fate = Fate(out=NEAR + FAR * jitter() ** 4, back=NEAR + FAR * jitter() ** 4)
            if self.world.now < process.cut_until:
                fate.name, fate.arrives = "cut off", False
            elif not self.world.calm and (dice := process.dice.happens(self.faults.request)) is not None:
                fate.strike(dice, self.faults, writes=method in {"POST", "PATCH"})
            elif process.forbidden_until > self.world.now:
                fate.name, fate.instead = "forbidden", process.forbidden_with
        if fate.name:
            process.trouble()
        return fate

    def watch(self, task: Task, effect: Watch, answered: Answered) -> Stream:
        process, world = task.process, self.world
        sent = process.clock()
        stream = Stream(self, task, lag=self.server.lag)
        gives_up = process.real(sent + effect.timeout)
        fate = self.fate(process, effect)
        if world.trace is not None:
            world.say(process.name, f"{task.name}: WATCH from {effect.version}{fate.name and f'  [{fate.name}]'}")

        def arrive() -> None:
            if not self.server.up:
                world.at(world.now + NEAR, answered, replace(REFUSED, sent=sent))
                return
            reply = refusal(fate.instead) if fate.instead else Reply(status=OK)
            back = world.now + fate.back
            if fate.breaks or not fate.answered or back < process.cut_until or back > gives_up:
                world.at(gives_up, answered, replace(NO_ANSWER, sent=sent))
                return
            if reply.status == OK:
                reply = self.server.open(effect, stream)
            world.at(back, answered, Reply(status=reply.status, body=reply.body, sent=sent))

        if fate.refused:
            world.at(world.now + NEAR, answered, replace(REFUSED, sent=sent))
        elif fate.arrives and world.now + fate.out <= gives_up:
            world.at(world.now + fate.out, arrive)
        else:
            world.at(gives_up, answered, replace(NO_ANSWER, sent=sent))
        return stream

    def call(self, task: Task, effect: Call, answered: Callable[[object], object]) -> None:
        """Carry a call to something that is no API server; slowly at times, never lost."""
        process, world = task.process, self.world
        dice = None if world.calm else process.dice.happens(self.faults.slow_calls)
        slow = 20.0 * dice.random() ** 2 if dice is not None else 0.0

        def arrive() -> None:
            value = effect.function()
            if world.trace is not None:
                world.say(process.name, f"{task.name}: {effect.what}: {value}")
            world.at(world.now + NEAR, answered, value)

        world.at(world.now + NEAR + slow, arrive)


class _Exchange:
    """One request on its way."""

    def __init__(self, network: Network, task: Task, effect: Send, answered: Answered) -> None:
        self._network, self._effect, self._answered = network, effect, answered
        self._process, self._asker, self._task = task.process, task.asker, task.name
        self._sent = task.process.clock()
        self._gives_up = task.process.real(self._sent + effect.timeout)
        self._fate = network.fate(task.process, effect)
        self._over = False

    def begin(self) -> None:
        world, fate = self._network.world, self._fate
        if world.trace is not None:
            mark = f"  [{fate.name}]" if fate.name else ""
            world.say(self._process.name, f"{self._task}: {shown(self._effect)}{mark}")
        if fate.refused:
            self._end(world.now + NEAR, REFUSED)
            return
        if fate.arrives:
            world.at(world.now + fate.out, self._arrive)
            if fate.again is not None:
                world.at(world.now + fate.out + fate.again, self._arrive_again)
        if not fate.arrives or world.now + fate.out > self._gives_up:
            self._end(self._gives_up, NO_ANSWER)

    def _arrive(self) -> None:
        world, fate, process = self._network.world, self._fate, self._process
        if not self._network.server.up:
            process.trouble()
            self._fate.again = None  # there is nothing to copy where no connection came about
            self._end(world.now + NEAR, REFUSED)
            return
        reply = self._carry_out("") if fate.carried_out else refusal(fate.instead)
        if fate.instead:
            reply = refusal(fate.instead)
        elif fate.breaks:
            reply = NO_ANSWER
        back = world.now + fate.back
        if fate.answered and process.cut_until <= back <= self._gives_up:
            self._end(back, reply)
        else:
            process.trouble()
            self._end(self._gives_up, NO_ANSWER)

    def _arrive_again(self) -> None:
        if self._network.server.up and self._fate.again is not None:
            self._carry_out("once more ", copy=True)

    def _carry_out(self, how: str, *, copy: bool = False) -> Reply:
        server, world = self._network.server, self._network.world
        before = server.revision
        reply = server.perform(self._asker, self._effect, copy=copy)
        if world.trace is not None and (how or self._fate.name or server.revision > before):
            done = f", revision {server.revision}" if server.revision > before else ""
            world.say("server", f"{how}{self._process.name} {self._effect.method}: {reply.status}{done}")
        return reply

    def _end(self, when: float, reply: Reply) -> None:
        """Have the client told, once, and no later than its patience lasts."""
        if not self._over:
            self._over = True
            world = self._network.world
            world.at(min(when, max(self._gives_up, world.now)), self._answered, replace(reply, sent=self._sent))


class Stream:
    """An open watch: events arrive in order, perhaps late, perhaps never again."""

    def __init__(self, network: Network, task: Task, *, lag: float) -> None:
        self._network, self.task, self._lag = network, task, lag
        self._last = 0.0
        self._closed = self._silent = False
        self.stop: Callable[[], None] = lambda: None

    def opened(self, seconds: float) -> None:
        """Begin to live; what goes wrong with it later is decided here."""
        process, world = self.task.process, self._network.world
        world.at(process.real(process.clock() + seconds), self.end)
        dice = None if world.calm else process.dice.happens(self._network.faults.watch)
        if dice is not None:
            what = dice.choice((self.end, self.fall_silent))
            world.at(world.now + 20.0 * dice.random() ** 2, what)

    def deliver(self, event: WatchEvent) -> None:
        """Send an event on its way: the server calls this as the change is made."""
        world = self._network.world
        if self._lag:
            self.task.process.trouble()
        self._last = max(self._last, world.now + NEAR + self._lag)
        if event.type == "ERROR":
            world.at(self._last, self.end)
        else:
            world.at(self._last, self._arrive, Event(event.type, event.object))  # type: ignore[arg-type] # of the three

    def _arrive(self, event: Event) -> None:
        process = self.task.process
        if self._closed or self._silent or not process.alive:
            return
        if process.world.now < process.cut_until:
            self.fall_silent()
            return
        self.task.told(event)

    def fall_silent(self) -> None:
        """Nothing more arrives, and nobody says so."""
        if not self._closed:
            self.task.process.trouble()
            self._silent = True
            self.stop()

    def end(self) -> None:
        """Close it from the server's side."""
        if not self._closed and not self._silent and self.task.process.alive:
            self.close()
            self.task.told(Event("ENDED"))

    def close(self) -> None:
        self._closed = True
        self.stop()


def shown(effect: Send) -> str:
    """Show a request on one line."""
    body = effect.body or {}
    wanted = body.get("preconditions") or {}
    given = [f"{key} {value}" for key, value in wanted.items()] + [value for _, value in effect.query[:1]]
    if effect.method in {"PATCH", "PUT"}:
        given.append(f"uid {body.get('metadata', {}).get('uid')}")
    return " ".join([effect.method, *([effect.lease] if effect.lease else []), *given])
