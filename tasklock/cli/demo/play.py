"""The play: who enters when, who is killed when, and what the audience sees."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.live import Live

from tasklock.cli.demo import operator
from tasklock.cli.demo.kubelet import CONTAINER, Kubelet
from tasklock.cli.demo.record import drawings
from tasklock.cli.demo.stage import START_SECONDS, Stage, StageError
from tasklock.cli.demo.story import Actor, Story
from tasklock.cli.demo.verdict import violations
from tasklock.cli.demo.view import WIDTH, frame, numbers, plain, summary
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from rich.console import RenderableType

MOMENT: Final = (0.05, 0.6)  # seconds for which a lock is held
KILL_AT: Final = 0.4  # of the time: when one worker is told to cling to its next lock
CLINGS: Final = 1.2  # seconds for which it does, before it is killed
ENCORE: Final = 5.0  # seconds more, should its lock not have been taken over yet
FRAME: Final = 0.1  # seconds between two frames
LINE: Final = 2.0  # seconds between two lines where there is no terminal


class Play:
    """One run of the demo, from the first process to the verdict."""

    def __init__(self, *, seconds: float, record: str | None = None) -> None:
        """Prepare; nothing is started."""
        self.result = 1
        self._seconds = seconds
        self._record = record
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=WIDTH)
        self._stage = Stage()
        self._folder = TemporaryDirectory(prefix="tasklock-demo-")
        self._kubelet: Kubelet | None = None  # with an operator
        self._page: str | None = None
        self._deadline = time.monotonic() + START_SECONDS
        self._victim: str | None = None
        self._clings_since = 0.0
        self._last_frame: RenderableType | None = None
        self._told = 0  # lines of news that were printed
        self._next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.__exit__()
        self._folder.cleanup()

    def serve(self) -> str:
        """Start the embedded API server, and the operator if it is installed; return the path of a kubeconfig."""
        self._stage.start("server", "tasklock.cli.demo.server")
        for _, report in self._stage.reports(self._deadline):
            if report is None:
                break
            kubeconfig = str(report["kubeconfig"])
            if operator.is_installed():
                self._kubelet = Kubelet(report["server"], Path(self._folder.name))
                told = {"kubeconfig": kubeconfig, "namespace": "default"}
                self._stage.start("operator", "tasklock.cli.demo.operator", told)
            return kubeconfig
        msg = "the embedded API server did not start: it needs pip install 'tasklock[testing]'"
        raise StageError(msg)

    def cast(self, workers: list[str], locks: list[str], *, title: str, told: dict[str, Any]) -> None:
        """Start the worker processes."""
        self._title, self._app = title, told["app"]
        self._story = Story(locks=locks, actors={who: Actor(name=who) for who in workers})
        if not self._console.is_terminal:
            self._console.print(title, soft_wrap=True)
        for who in workers:
            token = str(self._kubelet.run(who)) if self._kubelet else None
            place = {"token": token, "container": CONTAINER}
            self._stage.start(who, "tasklock.cli.demo.worker", {**told, **place, "locks": locks, "moment": MOMENT})

    def perform(self) -> None:
        """Let the workers contend, kill one, and wait for the end."""
        live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        with live or nullcontext():
            self._until_ready(live)
            self._story.began = time.monotonic()
            end = self._story.began + self._seconds
            for who in self._story.actors:
                self._stage.tell(who, "go")
            while (now := time.monotonic()) < end or (self._story.heir is None and now < end + ENCORE):
                self._direct(now)
                self._listen(now + FRAME)
                self._show(live)

    def _until_ready(self, live: Live | None) -> None:
        while not self._is_ready():
            if time.monotonic() > self._deadline:
                msg = f"the processes were not ready within {START_SECONDS:g} s"
                raise StageError(msg)
            self._listen(time.monotonic() + FRAME)
            if self._story.troubles:
                raise StageError(self._story.troubles[0])
            if live is not None:
                self._show(live)
        if self._page is not None:
            self._console.print(f"status page while this runs: {self._page}", markup=False, soft_wrap=True)

    def _is_ready(self) -> bool:
        watched = self._kubelet is None or self._page is not None
        return watched and all(actor.state != "starting" for actor in self._story.actors.values())

    def _direct(self, now: float) -> None:
        """Choose the victim, and kill it once somebody waits for what it holds."""
        story = self._story
        if self._victim is None:
            if now >= story.began + KILL_AT * self._seconds:
                self._victim = next((who for who, actor in story.actors.items() if actor.state == "holding"), None)
                if self._victim is not None:
                    self._stage.tell(self._victim, "cling")
            return
        actor = story.actors[self._victim]
        if actor.state != "clinging":
            return
        self._clings_since = self._clings_since or now
        patience = CLINGS if story.waiting(str(actor.lock)) else 3 * CLINGS
        if now >= self._clings_since + patience:
            story.kill(self._victim, self._stage.kill(self._victim))
            if self._kubelet is not None:
                self._kubelet.died(self._victim)

    def _listen(self, until: float) -> None:
        for who, report in self._stage.reports(until):
            self._hear(who, report)

    def _hear(self, who: str, report: dict[str, Any] | None) -> None:
        if who not in self._story.actors:
            if report is None:
                self._story.trouble(time.monotonic(), f"the {who} has ended unexpectedly")
            else:
                self._page = str(report["page"])
        elif report is not None:
            self._story.hear(who, report)
        elif self._story.actors[who].state != "killed":
            self._story.trouble(time.monotonic(), f"{who} has ended unexpectedly")

    def _show(self, live: Live | None) -> None:
        now = time.monotonic()
        if live is not None:
            live.update(self._frame(now), refresh=True)
            return
        news = list(self._story.news)
        for at, sentence in news[self._told :]:
            self._console.print(f"{at:5.1f} s  {sentence}", soft_wrap=True)
        self._told = len(news)
        if now >= self._next_line:
            self._next_line = now + LINE
            self._console.print(plain(self._story, now=now), soft_wrap=True)

    def _frame(self, now: float) -> RenderableType:
        return frame(self._story, now=now, seconds=self._seconds, title=self._title)

    def dismiss(self) -> None:
        """Have the workers release what they hold, and end."""
        self._last_frame = self._frame(time.monotonic()) if self._story.began else None
        self._stage.dismiss(list(self._story.actors))
        for who, report in self._stage.left_over():
            if report is not None:
                self._hear(who, report)

    def conclude(self, *, left_behind: list[str]) -> None:
        """Check what the workers reported; show the verdict."""
        story = self._story
        broken = violations(story.grants)
        if not story.grants:
            broken.append("no lock was granted at all")
        if story.heir is None:
            broken.append("nobody took over the lock of the process that was killed")
        broken += [f"{name} was left behind" for name in left_behind]
        self.result = 1 if broken else 0
        seen = [
            f"{len(story.grants)} grants of {len(story.locks)} locks to {len(story.actors)} processes",
            numbers(story.grants),
        ]
        if story.heir is not None and story.victim is not None:
            took = 1e3 * (story.heir.granted - (story.victim.ended or 0.0))
            seen.append(
                f"{story.victim.worker} was killed with -9; {story.heir.worker} had its lock {took:.0f} ms later"
            )
            seen += self._freed_by_operator(story.victim.lock, broken)
        if not broken:
            seen += [
                "no two grants of one lock overlapped",
                "the fencing tokens of each lock only grew",
                "no lock was left behind",
            ]
        verdict = summary(seen, broken)
        self._console.print(verdict)
        for trouble in dict.fromkeys(story.troubles):
            self._console.print(f"on the way: {trouble}", markup=False, soft_wrap=True)
        if self._record is not None and self._last_frame is not None:
            for theme, svg in drawings([self._last_frame, verdict], width=WIDTH).items():
                Path(f"{self._record}-{theme}.svg").write_text(svg, encoding="utf-8")

    def _freed_by_operator(self, lock: str, broken: list[str]) -> list[str]:
        """Read the Event that the operator wrote."""
        if self._kubelet is None:
            return []
        note = self._kubelet.reaped(lease_name(self._app, lock))
        if note is None:
            broken.append(f"it was not the operator that freed {lock}")
            return []
        return [f"the operator had freed it: {note.rpartition(': ')[2]}"]
