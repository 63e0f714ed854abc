"""Sees every change of a Lease, by true time, and holds the promises against it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from simulation.records import Attempt, Granted, Incarnation, place
from tasklock.lease import Lease
from tasklock.protocol.grant import OURS, VALIDITY
from tasklock.protocol.release import STALE_AFTER

if TYPE_CHECKING:
    from simulation.world import Asker, Process, World
    from tasklock.protocol.effects import Send

BOUND: Final = STALE_AFTER / VALIDITY  # how much faster than the holder's a contender's clock may run: 1.65
MOMENT: Final = 1e-3
IDLE: Final = 1.0  # seconds for which a free lock may lie while somebody waits who is well
LONG: Final = 60.0  # seconds without trouble that make somebody well


@dataclass
class Judge:
    """Judges every change of a Lease as it is made: who made it, by which right, and who still relied on it."""

    world: World
    violations: list[str] = field(default_factory=list)
    beyond: list[float] = field(default_factory=list)  # clock ratios at which a holder did not know first
    counts: Counter[str] = field(default_factory=Counter)
    incarnations: dict[str, Incarnation] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    live: dict[str, Incarnation] = field(default_factory=dict)
    history: defaultdict[str, list[Incarnation]] = field(default_factory=lambda: defaultdict(list))
    nonces: dict[str, Process] = field(default_factory=dict)
    by_uid: defaultdict[str, list[Granted]] = field(default_factory=lambda: defaultdict(list))
    _effect: Send | None = None  # what is being carried out,
    _copy: bool = False  # and whether it was before
    waiting: defaultdict[str, dict[Attempt, None]] = field(default_factory=lambda: defaultdict(dict))
    _free_since: dict[str, float] = field(default_factory=dict)

    def blame(self, rule: str, what: str) -> None:
        self.violations.append(f"{rule}: {what}")
        self.world.say("REFEREE", f"{rule}: {what}")

    def asked(self, asker: Asker, effect: Send, *, copy: bool) -> None:
        """Look at a request of a client or an operator: some are never right."""
        self._effect, self._copy = effect, copy
        if effect.method == "DELETE" and effect.lease is None:
            self.blame("no deletecollection", f"{asker.process.name} sent one")
        if effect.method == "PATCH":
            for granted in self.by_uid.get((effect.body or {}).get("metadata", {}).get("uid", ""), ()):
                self.check_since(granted)

    def changed(self, kind: str, obj: dict[str, Any], asker: Asker | None) -> None:
        lease = Lease.parse(obj)
        if kind == "ADDED":
            self._added(lease, asker)
        elif kind == "MODIFIED":
            self._modified(self.incarnations[lease.uid], lease, asker)
        else:
            self._deleted(self.incarnations[lease.uid], asker)

    def _added(self, lease: Lease, asker: Asker | None) -> None:
        now, holder = self.world.now, lease.holder
        process = self.nonces.get(holder or "") if asker is not None else None
        if lease.lease in self.live:
            self.blame("exclusive grants", f"{lease.lease} was created though it was there")
        if asker is not None and (process is not asker.process or holder != asker.about != ""):
            self.blame("only one's own", f"{asker.process.name} created a Lease of {holder}")
        if asker is not None and self._effect is not None and self._effect.method != "POST":
            self.blame("nothing is resurrected", f"{asker.process.name} created {lease.uid} by {self._effect.method}")
        self._check_idle(lease.lease)
        earlier = [one for one in self.history[lease.lease] if one.holder == holder and asker is not None]
        if any(granted.ending or granted.lost for one in earlier for granted in self.by_uid[one.uid]):
            self.counts["created again by a late copy"] += 1
        found = Incarnation(
            lease.uid, lease.lease, holder, process, int(lease.version), now, now, now, lease, {holder}, copy=self._copy
        )  # fmt: skip
        self.incarnations[lease.uid] = self.live[lease.lease] = found
        self.history[lease.lease].append(found)
        self.counts["created"] += 1

    def _modified(self, one: Incarnation, lease: Lease, asker: Asker | None) -> None:
        now = self.world.now
        if asker is not None:
            if one.process is not asker.process or one.holder != asker.about:
                self.blame("only one's own", f"{asker.process.name} ({asker.about}) changed {one.uid} of {one.holder}")
            one.answered_at_most = now
            self.counts["renewed"] += 1
        else:
            before, after = one.state.spec, lease.spec
            one.spec_touched |= any(before.get(name) != after.get(name) for name in (*OURS, "renewTime"))
            one.notes_touched |= place(one.state) != place(lease)
        one.changed, one.state = now, lease
        one.holders.add(lease.holder)

    def _deleted(self, one: Incarnation, asker: Asker | None) -> None:
        now = self.world.now
        one.ended, one.ender = now, asker.process if asker is not None else None
        self.live.pop(one.lease, None)
        self._free_since[one.lease] = now
        if asker is None:
            one.how = "by order"
        elif asker.about == one.holder:
            one.how = "released"
        elif asker.ordered:
            one.how = "by order"
            if one.uid not in asker.task.seen:
                self.blame("only what was seen", f"{asker.process.name} ended {one.uid}, which it had never seen")
        elif asker.about in {"container-terminated", "pod-finished"}:
            one.how = "dead"
            self._check_dead(one, asker)
        else:
            one.how = self._taken(one, asker)
        self.counts[f"ended: {one.how}"] += 1
        for granted in self.by_uid[one.uid]:
            self.ended_under(granted)

    def _check_idle(self, lease: str) -> None:
        """See that a free lock is taken at once, where somebody waits for whom nothing goes wrong."""
        since = self._free_since.pop(lease, self.world.now)
        idle = self.world.now - since
        if idle > IDLE:
            for attempt in self.waiting[lease]:
                client = attempt.client
                if client.alive and attempt.began < since and client.troubled_at < since - LONG:
                    self.blame("no idle lock", f"{lease} was free for {idle:.3f} s, and {client.name} waited for it")

    def _taken(self, one: Incarnation, asker: Asker) -> str:
        """Somebody else's Lease was ended by a contender or the operator: judge by which right."""
        process = asker.process
        if one.process is process and one.holder in getattr(process, "abandoned", ()):
            return "given up"
        ttl = one.state.ttl
        patience = max(ttl * STALE_AFTER, ttl + 1) if asker.about == "expired" else ttl * STALE_AFTER
        if (self.world.now - one.changed) * process.rate > patience - MOMENT:
            return "expired"
        same_node = one.process is not None and one.process.node is process.node
        if asker.about != "expired" and (same_node or one.notes_touched):
            self._check_dead(one, asker)
            return "dead"
        seen = (self.world.now - one.changed) * process.rate
        self.blame(
            "only what is stale",
            f"{asker.process.name} ended {one.uid} of {one.holder}, unchanged for {seen:.3f} of its {ttl} s",
        )
        return "wrongly"

    def _check_dead(self, one: Incarnation, asker: Asker) -> None:
        forgiven = one.notes_touched or one.spec_touched or (one.process is not None and one.process.node.jumped)
        if (one.process is None or one.process.alive) and not forgiven:
            self.blame("only the dead", f"{asker.process.name} ended {one.uid} of {one.holder}, whose process lives")

    def ended_under(self, granted: Granted) -> None:
        """Its Lease is gone: the holder should have known, or must know soon."""
        one, client = granted.incarnation, granted.attempt.client
        if one.how == "expired" and one.ender is not None and granted.believed and one.state.ttl >= granted.grant.ttl:
            ratio = one.ender.rate / client.rate
            if ratio > BOUND:
                self.beyond.append(ratio)
                granted.excused = True
            else:
                self.blame(
                    "the holder knows first", f"{client.name} still relied on {one.uid}, clock ratio {ratio:.3f}"
                )
        if one.how != "released":
            until = (one.ended or 0.0) + granted.grant.ttl * VALIDITY / client.rate + MOMENT
            self.world.at(until, self.check_knows, granted)

    def check_knows(self, granted: Granted) -> None:
        if granted.believed:
            one = granted.incarnation
            self.blame(
                "belief ends", f"{granted.attempt.client.name} still relies on {one.uid}, gone since {one.ended}"
            )

    def check_since(self, granted: Granted) -> None:
        """See that validity counts from before the holder's last write: later would be too late."""
        client, one = granted.attempt.client, granted.incarnation
        if granted.lost and granted.believed:
            self.blame("a loss is final", f"{client.name} relies on {one.uid} again")
        elapsed = (self.world.now - one.answered_at_most) * client.rate
        if granted.believed and granted.grant.since > client.clock() - elapsed + 1e-6:
            self.blame(
                "counted from before", f"{client.name} counts {one.uid} from {elapsed:.3f} s after its last write"
            )
