"""What has happened so far, put together from reports that arrive from many processes in any order. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tasklock.cli.demo.verdict import Grant

_NEWS: Final = 6  # lines kept for the view

State = Literal["starting", "ready", "waiting", "holding", "resting", "clinging", "killed"]


@dataclass(kw_only=True)
class Actor:
    """One worker process, as far as it has reported."""

    name: str
    pid: int = 0
    state: State = "starting"
    lock: str | None = None  # that it waits for or holds
    asked: float = 0.0


@dataclass(kw_only=True)
class Story:
    """The demo so far.

    Attributes:
        began: the machine's clock when the workers were let go.
        news: the last noteworthy things, as (seconds since the begin, sentence).
        victim: the grant whose holder was killed; ``heir``, the next one of that lock.

    """

    locks: list[str]
    actors: dict[str, Actor]
    began: float = 0.0
    grants: list[Grant] = field(default_factory=list)
    news: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=_NEWS))
    troubles: list[str] = field(default_factory=list)
    victim: Grant | None = None
    heir: Grant | None = None

    def hear(self, who: str, report: dict[str, Any]) -> None:
        """Take in one report of one worker."""
        actor, lock, at = self.actors[who], report.get("lock"), float(report.get("at", 0.0))
        match report["event"]:
            case "ready":
                actor.pid, actor.state = report["pid"], "ready"
            case "asks":
                actor.state, actor.lock, actor.asked = "waiting", lock, at
            case "granted":
                actor.state = "holding"
                grant = Grant(
                    lock=str(lock), worker=who, token=report["token"], asked=float(report["asked"]), granted=at
                )
                self.grants.append(grant)
                self._inherit(grant)
            case "clings":
                actor.state = "clinging"
                self.tell(at, f"{who} holds {lock} and does not let go")
            case "released" | "lost" as how:
                self._end(who, report["token"], at)
                actor.state, actor.lock = "resting", None
                if how == "lost":
                    self.trouble(at, f"{who} lost {lock}: {report['reason']}")
            case "trouble" | "failed":
                self.trouble(self.began, f"{who}: {report['error']}")

    def kill(self, who: str, at: float) -> None:
        """Take notice that a worker is killed now."""
        actor = self.actors[who]
        grant = self.held(str(actor.lock))
        actor.state = "killed"
        if grant is not None and grant.worker == who:
            grant.ended, grant.killed, self.victim = at, True, grant
            self.tell(at, f"{who} (pid {actor.pid}) is killed with -9 while it holds {grant.lock}")

    def held(self, lock: str) -> Grant | None:
        """Return the grant of ``lock`` that lasts, or None."""
        these = [grant for grant in self.grants if grant.lock == lock]
        last = max(these, key=lambda grant: grant.token, default=None)
        return last if last is not None and last.ended is None else None

    def waiting(self, lock: str) -> list[Actor]:
        """Return who waits for ``lock``, longest first."""
        these = [actor for actor in self.actors.values() if actor.state == "waiting" and actor.lock == lock]
        return sorted(these, key=lambda actor: actor.asked)

    def tell(self, at: float, sentence: str) -> None:
        """Add to the news."""
        self.news.append((max(0.0, at - self.began), sentence))

    def trouble(self, at: float, sentence: str) -> None:
        """Add to the news what ought not to happen."""
        self.troubles.append(sentence)
        self.tell(at, sentence)

    def _end(self, who: str, token: int, at: float) -> None:
        for grant in reversed(self.grants):
            if grant.worker == who and grant.token == token:
                grant.ended = at
                return

    def _inherit(self, grant: Grant) -> None:
        victim = self.victim
        if victim is None or self.heir is not None or victim.ended is None or grant.lock != victim.lock:
            return
        if grant.token > victim.token:
            self.heir = grant
            took = 1e3 * (grant.granted - victim.ended)
            self.tell(grant.granted, f"{grant.worker} takes {grant.lock} over, {took:.0f} ms after the kill")
