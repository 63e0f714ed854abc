"""The operator's decisions in thousands of generated histories: nothing live is reaped, everything dead is, in time.

TASKLOCK_SEED=<number> starts at that history, TASKLOCK_SEED=random anywhere; TASKLOCK_HISTORIES=<number> runs so many.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from reaping.actors import Holders, Judge, Operator
from reaping.world import Chaos, Kubelet, Node, PodSim, World
from tasklock.testing import managedfields
from tasklock.testing.kinds import LEASES
from tasklock.testing.selectors import select

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

SEED: Final = 20_261_123
HISTORIES: Final = 1_000
SPAN: Final = 12.0  # seconds of a history in which things happen; then no lock is taken any more
REST: Final = 32.0  # until the last one must be gone: the longest hold and ttl, the last stall and retries


class History:
    """One world with everybody in it, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.chaos = Chaos(
            lag=chance.choice([0.02, 0.3, 2.0]),
            reports=chance.choice([0.3, 1.5, 6.0]),
            delete=chance.choice([0.05, 0.3, 1.5]),
            trouble=chance.random() < 0.5,
            steps=chance.random() < 0.2,
            operators=chance.choice([1, 1, 2]),
        )
        self.world = World(seed, self.chaos)
        self.judge = Judge(self.world)
        self.kubelet = Kubelet(self.world, Holders(self.world).start)
        self.nodes = [Node(chance.choice([0.0, 0.37, -0.8, 3600.5, -86_400.0])) for _ in range(chance.choice([1, 2]))]
        self.operators = [Operator(self.world, self.judge) for _ in range(self.chaos.operators)]

    def run(self) -> None:
        world, chance = self.world, self.chance
        for _ in range(chance.choice([1, 2, 3])):
            world.after(chance.uniform(0, 4), lambda: self.kubelet.create(chance.choice(self.nodes)))
        when = 1.0
        while when < SPAN:
            world.after(when, self._something)
            when += chance.uniform(0.1, 4)
        world.run_until(SPAN)
        world.calm = True
        world.run_until(SPAN + REST)
        self._check_the_end()

    def _something(self) -> None:
        pods = [pod for pod in self.world.pods.values() if pod.exists and not pod.doomed]
        acts = [self._new_pod] if len(pods) < 3 else []
        if pods:
            acts += [*[self._crash] * 8, *[self._pause] * 2, self._delete, self._delete_by_force, self._silence]
        if self.chaos.trouble:
            acts += [*[self._cut_off] * 2, self._stall, self._break_off, self._restart]
        if self.chaos.steps:
            acts += [self._step] * 2
        if acts:
            self.chance.choice(acts)()

    def _pod(self) -> PodSim:
        return self.chance.choice([pod for pod in self.world.pods.values() if pod.exists and not pod.doomed])

    def _new_pod(self) -> None:
        self.kubelet.create(self.chance.choice(self.nodes))

    def _crash(self) -> None:
        pod = self._pod()
        self.kubelet.end(pod, self.chance.choice([*pod.lists]))

    def _pause(self) -> None:
        life = self.chance.choice([*self._pod().lives.values()])[-1]
        life.paused_until = self.world.now + self.chance.uniform(0.2, 15)
        self.world.note(f"instance {life.number} paused until {life.paused_until:.3f}")

    def _delete(self) -> None:
        self.kubelet.delete(self._pod())

    def _delete_by_force(self) -> None:
        self.kubelet.delete_by_force(self._pod(), lives_on=self.chance.choice([0.01, 1.5, 10, None]))

    def _silence(self) -> None:
        node = self.chance.choice(self.nodes)
        node.silent_until = self.world.now + self.chance.uniform(0.5, 8)

    def _cut_off(self) -> None:
        """Nothing is heard of a node any more; often the last that was told is that a container had just ended."""
        node = self.chance.choice(self.nodes)
        pods = [pod for pod in self.world.pods.values() if pod.node is node and pod.exists]
        if pods and self.chance.random() < 0.7:
            pod = self.chance.choice(pods)
            for container in pod.lists:
                self.kubelet.end(pod, container)
        self.world.after(self.chance.uniform(0, 2), lambda: self._silence_for_ever(node, pods))

    def _silence_for_ever(self, node: Node, pods: list[PodSim]) -> None:
        node.silent_until = self.world.now + 1000
        self.world.note("a node is cut off")
        for pod in pods:
            self.world.after(self.chance.uniform(0, 3), lambda one=pod: self.kubelet.mark_failed(one))

    def _stall(self) -> None:
        operator = self.chance.choice(self.operators)
        operator.stall(self.chance.choice(operator.streams), self.chance.uniform(0.5, 6))

    def _break_off(self) -> None:
        operator = self.chance.choice(self.operators)
        operator.break_off(self.chance.choice(operator.streams), self.chance.uniform(0, 4))

    def _restart(self) -> None:
        index = self.chance.randrange(len(self.operators))
        self.operators[index].stop()
        self.operators[index] = Operator(self.world, self.judge)
        self.world.note("an operator restarts")

    def _step(self) -> None:
        node, step = self.chance.choice(self.nodes), self.chance.choice([-3600, -2, -0.5, 0.5, 2, 3600])
        node.skew += step
        node.set_back |= step < 0

    def _check_the_end(self) -> None:
        left = self.world.store.list(LEASES, select(LEASES, namespace=None))
        assert not left, f"{[obj['metadata']['uid'] for obj in left]} are left"
        if self.chaos.trouble:
            return
        chaos, never = self.chaos, float("inf")
        for grant in self.world.grants.values():
            gone = grant.gone or never
            bound = grant.written + grant.due + chaos.lag + chaos.delete + 0.001
            assert gone <= bound, f"{grant.uid}: gone {gone - bound} s too late after it expired"
            late = grant.written > grant.holder.told  # a renewal that arrived after its sender's death was reported
            proved = never if chaos.steps or late else self.judge.proved.get(grant.uid, never)
            bound = max(proved, grant.written + chaos.lag) + 2 * chaos.delete + 0.101
            assert gone <= bound, f"{grant.uid}: gone {gone - bound} s too late after its holder's death was proved"


def test_nothing_live_is_reaped_and_everything_dead_is_in_time(
    figure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a history without trouble within these bounds, in every other one at all.

    Expired: a tenth more than the ttl (at least a second more) after the last write, plus the watch's lag and a DELETE.
    Dead: a DELETE after both the Lease and the report that proves it were told, and another if a late renewal came.
    With trouble: at the latest 32 s after the last of it, most of which are the ttls and the pauses between retries.
    """
    monkeypatch.setattr(managedfields, "track", lambda *_: None)  # a quarter of the time, and nobody here reads them
    chosen = os.environ.get("TASKLOCK_SEED") or str(SEED)
    first = random.SystemRandom().randrange(2**32) if chosen == "random" else int(chosen)
    number = int(os.environ.get("TASKLOCK_HISTORIES") or HISTORIES)
    tally: Counter[str] = Counter()
    for seed in range(first, first + number):
        history = History(seed)
        try:
            history.run()
        except Exception as error:
            told = "\n".join(history.world.log[-60:])
            note = f"TASKLOCK_SEED={seed} TASKLOCK_HISTORIES=1 repeats this:\n{history.chaos}\n{told}"
            error.add_note(note)
            raise
        tally += history.judge.tally
        tally["grants"] += len(history.world.grants)
        tally["proved"] += len(history.judge.proved)
    figure(f"the operator's histories: {number} from TASKLOCK_SEED={first}: {dict(sorted(tally.items()))}")
    if number >= 500:
        for what in ("expired", "container-terminated", "pod-finished", "refused 404", "refused 409", "proved"):
            assert tally[what] > number / 100, f"hardly any history shows {what!r}"
