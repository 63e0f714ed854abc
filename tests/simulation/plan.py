"""What one schedule is made of: who takes part, what they do, what may go wrong. All of it follows from the seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

REQUESTS = (
    "refused",
    "lost before",
    "lost after",
    "broken after",
    "slow there",
    "slow back",
    "twice",
    "status",
    "status after",
)


WILD = 150_000  # events after which a schedule runs in circles; a short one has at most some 10,000
SHORT = 6  # rounds of each worker in a short schedule


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How likely each thing is to go wrong: per request, per watch, per effect, or per schedule."""

    request: float = 0.0
    requests: tuple[str, ...] = REQUESTS
    watch: float = 0.0
    pause: float = 0.0
    slow_calls: float = 0.0
    crashes: int = 0
    cuts: int = 0
    forbids: int = 0
    restarts: int = 0
    compactions: int = 0
    wall_jumps: int = 0
    operator_crashes: int = 0
    lagging: float = 0.0
    meddling: tuple[str, ...] = ()
    meddles: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule. ``rates`` are those of the nodes' clocks, ``habits`` how often a client does what."""

    seed: int = 0
    seconds: float = 60.0
    clients: int = 3
    workers: int = 1
    rounds: int = 6
    idle: float = 5.0
    holds: float = 1.0
    nodes: int = 2
    rates: tuple[float, ...] = (1.0, 1.0)
    names: tuple[str, ...] = ("report",)
    ttls: tuple[int, ...] = (5,)
    operators: int = 1
    operator_rates: tuple[float, ...] = (1.0, 1.0)
    takeover: bool = True
    unfenced: bool = False  # every second client uses registers that check no token
    watch_holds: bool = False
    announce: bool = True  # name the process in the Lease, for neighbours
    cancels: float = 0.0
    habits: tuple[int, ...] = (20, 2, 0, 0, 0)
    wild: int = WILD
    faults: Faults = field(default_factory=Faults)


MEDDLING = ("delete", "annotate", "overwrite", "replace", "squat", "forge times", "forge notes", "foreign put")


def draw(seed: int, *, rounds: int = SHORT) -> Plan:
    """Draw a plan. Only some kinds of faults are on in each, so that one kind does not hide what another shows."""
    random = Random(f"plan/{seed}")
    on = random.choice((0.0, 0.3, 0.5, 0.8))

    def some(value: int) -> int:
        return random.randint(1, value) if random.random() < on else 0

    def rare(*choices: float) -> float:
        return random.choice(choices) if random.random() < on else 0.0

    faults = Faults(
        request=rare(0.02, 0.1, 0.3),
        requests=tuple(random.sample(REQUESTS, random.randint(1, len(REQUESTS)))),
        watch=rare(0.2, 0.8),
        pause=rare(0.003, 0.01, 0.03),
        slow_calls=rare(0.2, 0.6),
        crashes=some(3),
        cuts=some(3),
        forbids=some(2),
        restarts=some(2),
        compactions=some(3),
        wall_jumps=some(3),
        operator_crashes=some(2),
        lagging=rare(0.5, 3.0, 15.0),
        meddling=tuple(random.sample(MEDDLING, random.randint(1, len(MEDDLING)))),
        meddles=some(6),
    )
    nodes = random.randint(1, 4)
    operators = random.choice((0, 1, 1, 2))
    return Plan(
        seed=seed,
        seconds=random.choice((30.0, 90.0, 240.0)) * rounds / SHORT,
        clients=random.randint(2, 6),
        workers=random.choice((1, 1, 2)),
        rounds=rounds,
        wild=WILD * rounds // SHORT,
        idle=random.choice((0.0, 1.0, 10.0)),
        holds=random.choice((0.1, 0.5, 3.0)),
        nodes=nodes,
        rates=_rates(random, nodes),
        names=("report", "sync_users", "x")[: random.choice((1, 1, 2, 3))],
        ttls=random.choice(((1,), (2,), (5,), (10,), (30,), (1, 5), (3, 30))),
        operators=operators,
        operator_rates=_rates(random, 2),
        takeover=not operators or random.random() < 0.7,  # without either a dead holder's lock stays
        watch_holds=random.random() < 0.4,
        announce=random.random() < 0.25,
        unfenced=random.random() < 0.1,
        cancels=random.choice((0.0, 0.0, 0.2)),
        habits=(
            20,
            random.choice((0, 3)),
            random.choice((0, 0, 1)),
            random.choice((0, 0, 1)),
            random.choice((0, 0, 1)),
        ),
        faults=faults,
    )


def _rates(random: Random, number: int) -> tuple[float, ...]:
    """Draw clock rates: mostly good ones, at times so different that the holder cannot know first."""
    spread = random.choice((1.0, 1.0, 1.6, 4.0))
    slowest = 0.5 + random.random() * max(0.0, 2.0 / spread - 0.5) if spread > 1 else 1.0
    return tuple(min(2.0, slowest * spread ** random.random()) for _ in range(number))
