"""Puts a plan on its stage, runs it, lets the faults stop, and looks what is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulation.chance import Chance
from simulation.client import Client
from simulation.meddlers import Meddler
from simulation.network import Network
from simulation.operators import Kubelets, Operator
from simulation.plan import Faults, Plan
from simulation.referee import Referee
from simulation.register import Register
from simulation.server import Server
from simulation.world import Node, Process, World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Container, Generator
    from random import Random

    from simulation.chance import Decision

PATIENCE = 1_500.0  # seconds of virtual time after which what is not over hangs


@dataclass
class Outcome:
    """What came of one schedule."""

    violations: list[str]
    counts: Counter[str]
    made: list[Decision]
    beyond: list[float]  # clock ratios beyond the bound at which a holder did not know first
    lost_writes: int  # in registers that do not check tokens
    seconds: float
    events: int
    trace: list[tuple[float, str, str]] = field(default_factory=list)


def run(plan: Plan, *, kept: Container[Decision] | None = None, traced: bool = False, exact: bool = False) -> Outcome:
    """Run one schedule to its end, or to the first broken rule."""
    return Stage(plan, Chance(plan.seed, kept=kept), traced=traced, exact=exact).play()


class Stage:
    """All that takes part in one schedule."""

    def __init__(self, plan: Plan, chance: Chance, *, traced: bool, exact: bool) -> None:
        self.plan = plan
        self.world = World(chance, traced=traced)
        self.luck = chance.stream("stage")
        self.server = Server(self.world, exact=exact)
        self.referee = self.server.referee = Referee(self.world)
        self.network = Network(self.world, self.server, plan.faults)
        self.fenced = {name: Register(fenced=True) for name in plan.names}
        self.unfenced = {name: Register(fenced=False) for name in plan.names}
        self.kubelets = Kubelets(self.world)
        self.meddler = Meddler(self.server, plan.names)
        self.nodes = [Node(f"node-{number}", rate, self.luck.jitter) for number, rate in enumerate(plan.rates)]
        self.clients = [self._client(number) for number in range(plan.clients)]
        self.operators = [self._operator(number) for number in range(plan.operators)]
        self.coming = 0  # clients that are to come back

    def _process(self, name: str, node: Node, faults: Faults) -> dict[str, Any]:
        return {
            "world": self.world,
            "name": name,
            "node": node,
            "network": self.network,
            "faults": faults,
            "referee": self.referee,
        }

    def _client(self, number: int, life: int = 1) -> Client:
        node = self.nodes[number % len(self.nodes)]
        name = f"c{number}" + (f".{life}" if life > 1 else "")
        registers = self.fenced if number % 2 == 0 or not self.plan.unfenced else self.unfenced
        client = Client(
            self.plan, pod_uid=f"pod-{number}", registers=registers, **self._process(name, node, self.plan.faults)
        )
        self.kubelets.started(client, client.pod_uid)
        for worker in range(self.plan.workers):
            client.work(worker)
        return client

    def _operator(self, number: int, life: int = 1) -> Operator:
        node = Node(f"operators-{number}", self.plan.operator_rates[number], self.luck.jitter)
        return Operator(self.kubelets, **self._process(f"op{number}.{life}", node, self.plan.faults))

    def play(self) -> Outcome:
        """Run it to its end, or to the first broken rule."""
        world, referee = self.world, self.referee
        try:
            self._play()
        except Exception as error:  # noqa: BLE001 - whatever the code under test raises is what this schedule found
            referee.blame("no crash", repr(error))
        return Outcome(
            violations=referee.violations,
            counts=referee.counts,
            made=world.chance.made,
            beyond=referee.beyond,
            lost_writes=sum(register.lost for register in self.unfenced.values()),
            seconds=world.now,
            events=world.events,
            trace=world.trace or [],
        )

    def _play(self) -> None:
        world, referee = self.world, self.referee
        self._cast()
        world.run(self.plan.seconds, done=self._done)
        self._calm()
        end = world.now + PATIENCE
        world.run(end, done=lambda: self._done() or self._still)
        if not referee.violations and not self._still:
            waiting = [f"{one.name}: {task.name}" for one in self.clients if one.alive for task in one.tasks]
            referee.blame("nothing hangs", ", ".join(waiting))
        self._close()
        for name, register in self.fenced.items():
            if register.lost:
                referee.blame("a fenced store loses nothing", f"{name}: {register.lost} of {register.accepted}")

    def _done(self) -> bool:
        if self.world.events > self.plan.wild and not self.referee.violations:
            self.referee.blame("nothing runs wild", f"{self.world.events} events by {self.world.now:.0f} s")
        return bool(self.referee.violations)

    @property
    def _still(self) -> bool:
        return not self.coming and not any(client.alive and client.working for client in self.clients)

    def _close(self) -> None:
        """See whether every lock can be had by somebody new, and nothing is left that nobody will ever expire."""
        world, referee = self.world, self.referee
        if referee.violations:
            return
        slowest = min(operator.node.rate for operator in self.operators) if self.operators else 1.0
        world.run(
            world.now + (max(self.plan.ttls) * 1.1 + 2.0) / slowest + 65.0
        )  # the operator's time, and the sweeps'
        if self.operators:
            referee.finish(reaped=True)
        newcomer = Client(
            Plan(names=self.plan.names),
            pod_uid="pod-new",
            registers=self.fenced,
            **self._process("new", Node("new"), Faults()),
        )
        newcomer.working = 1

        def visit() -> Generator[Any, Any, None]:
            for name in self.plan.names:
                grant = yield from newcomer.acquire(newcomer.claim(name, 30), timeout=None)
                yield from newcomer.release(grant)
            newcomer.working = 0

        newcomer.start(visit(), name="visit")
        world.run(world.now + 300.0, done=lambda: bool(referee.violations) or not newcomer.working)
        if newcomer.working:
            referee.blame("every lock is free again", "a newcomer waited in vain")
        referee.finish(reaped=False)

    def _cast(self) -> None:
        """Decide what befalls whom, and when."""
        faults = self.plan.faults
        for number, happen in (
            (faults.crashes, self._crash),
            (faults.cuts, self._cut),
            (faults.forbids, self._forbid),
            (faults.restarts, self._restart),
            (faults.compactions, self._compact),
            (faults.wall_jumps, self._jump),
            (faults.operator_crashes, self._crash_operator),
            (faults.meddles, self._meddle),
        ):
            for _ in range(number):
                dice = self.luck.happens(1.0)
                if dice is not None:
                    self.world.at(dice.random() * self.plan.seconds, self._unless_calm, happen, dice)

    def _unless_calm(self, happen: Callable[[Random], None], dice: Random) -> None:
        if not self.world.calm:
            happen(dice)

    def _crash(self, dice: Random) -> None:
        number = dice.randrange(len(self.clients))
        client = self.clients[number]
        if not client.alive:
            return
        client.kill()
        comes_back = dice.random() < 0.7
        self.kubelets.ended(
            client, client.pod_uid, after=dice.choice((0.1, 2.0, 40.0)) * dice.random(), final=not comes_back
        )
        if comes_back:
            self.coming += 1
            self.world.at(self.world.now + dice.choice((0.1, 3.0)), self._come_back, number)

    def _come_back(self, number: int) -> None:
        self.coming -= 1
        life = int(self.clients[number].name.partition(".")[2] or 1) + 1
        self.clients[number] = self._client(number, life)
        self.world.say(self.clients[number].name, "comes back")

    def _somebody(self, dice: Random) -> Process:
        return dice.choice([*self.clients, *self.operators])

    def _cut(self, dice: Random) -> None:
        process = self._somebody(dice)
        seconds = dice.choice((1.0, 10.0, 60.0)) * dice.random()
        process.cut_until = process.trouble(seconds)
        self.world.say(process.name, f"is cut off for {seconds:.2f} s")

    def _forbid(self, dice: Random) -> None:
        process = self._somebody(dice)
        process.forbidden_until = process.trouble(20.0 * dice.random())
        process.forbidden_with = dice.choice((401, 403))

    def _restart(self, dice: Random) -> None:
        lag = self.plan.faults.lagging * dice.random()
        self.server.restart(10.0 * dice.random() ** 2, silent=dice.random() < 0.3, lag=lag)
        for process in (*self.clients, *self.operators):
            process.trouble()

    def _compact(self, _: Random) -> None:
        self.world.say("server", "compacts its history")
        self.server.compact()

    def _jump(self, dice: Random) -> None:
        node = dice.choice(self.nodes)
        node.jump(dice.choice((-3600.0, -2.0, 2.0, 86_400.0)))
        self.world.say(node.name, "has its wall clock set")

    def _crash_operator(self, dice: Random) -> None:
        if not self.operators:
            return
        number = dice.randrange(len(self.operators))
        if self.operators[number].alive:
            self.operators[number].kill()
            life = int(self.operators[number].name.partition(".")[2]) + 1
            self.world.at(self.world.now + 5.0 * dice.random(), self._restart_operator, number, life)

    def _restart_operator(self, number: int, life: int) -> None:
        self.operators[number] = self._operator(number, life)

    def _meddle(self, dice: Random) -> None:
        self.meddler.act(dice.choice(self.plan.faults.meddling), dice)

    def _calm(self) -> None:
        """Let nothing more go wrong, and have people remove what only they may."""
        self.world.calm = True
        self.world.say("stage", "nothing more goes wrong from here on")
        for process in (*self.clients, *self.operators):
            process.cut_until = process.forbidden_until = 0.0
            process.paused_until = min(process.paused_until, self.world.now)
        self.world.at(self.world.now + 1.0, self.meddler.clean)
