"""The demo as people see it: a live table, and the summary at the end. All text in it is our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.columns import Columns
from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tasklock.cli.demo.verdict import hand_overs, percentile

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

    from tasklock.cli.demo.story import Story
    from tasklock.cli.demo.verdict import Grant

WIDTH: Final = 96
_COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "bright_cyan", "bright_magenta", "bright_green")


def frame(story: Story, *, now: float, seconds: float, title: str) -> RenderableType:
    """Return the live view at ``now``."""
    gone = min(seconds, max(0.0, now - story.began)) if story.began else 0.0
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=seconds, completed=gone, width=40), Text(f"{gone:4.1f} of {seconds:g} s", "dim"))
    body = Group(
        bar, Text(), _locks(story, now), Text(), _workers(story), Text(), _numbers(story), Text(), _news(story)
    )
    legend = "● holds   ○ waits   ✗ killed"
    return Panel(
        body,
        title=title,
        title_align="left",
        subtitle=legend,
        subtitle_align="right",
        width=WIDTH,
        border_style="dim",
        padding=(1, 2),
    )


def _locks(story: Story, now: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for column, width in (("lock", 14), ("held by", 11), ("for", 7), ("token", 7), ("grants", 7), ("waiting", None)):
        justify: JustifyMethod = "right" if column in {"for", "grants"} else "left"
        table.add_column(column, width=width, ratio=None if width else 1, no_wrap=True, justify=justify)
    for lock in story.locks:
        held = story.held(lock)
        count = sum(grant.lock == lock for grant in story.grants)
        waiting = Text(", ").join(_name(story, actor.name) for actor in story.waiting(lock))
        table.add_row(
            Text(lock, "bold"),
            _name(story, held.worker) if held else Text("free", "dim"),
            Text(f"{max(0.0, now - held.granted):.1f} s" if held else ""),
            Text(str(held.token) if held else "", "dim"),
            Text(str(count)),
            waiting if waiting.plain else Text("nobody", "dim"),
        )
    return table


def _workers(story: Story) -> Columns:
    """Return one mark a worker."""
    marks = {"holding": "●", "clinging": "●", "waiting": "○", "killed": "✗"}
    return Columns(
        [
            Text(f"{marks.get(actor.state, '·')} ").append_text(_name(story, actor.name))
            for actor in story.actors.values()
        ],
        padding=(0, 3, 0, 0),
    )


def _name(story: Story, who: str) -> Text:
    if story.actors[who].state == "killed":
        return Text(who, "bold red strike")
    return Text(who, _COLOURS[list(story.actors).index(who) % len(_COLOURS)])


def _numbers(story: Story) -> Text:
    line = Text(f"{len(story.grants)} grants, {numbers(story.grants)}")
    line.highlight_regex(r"(?<!\w)\d+(\.\d+)?( ms)?", "bold")
    return line


def numbers(grants: list[Grant]) -> str:
    """Return the figures of the hand-overs, as part of a sentence."""
    took = hand_overs(grants)
    if not took:
        return "no hand-overs yet"
    p50, p99 = (1e3 * (percentile(took, share) or 0.0) for share in (0.5, 0.99))
    return f"{len(took)} hand-overs to a waiting process: p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _news(story: Story) -> Text:
    lines = [Text.assemble((f"{at:5.1f} s  ", "dim"), _coloured(sentence)) for at, sentence in story.news]
    return Text("\n").join(lines or [Text("…", "dim")])


def _coloured(sentence: str) -> Text:
    style = "red" if "killed" in sentence or "lost" in sentence else "green" if "takes" in sentence else ""
    return Text(sentence, style)


def summary(seen: list[str], broken: list[str]) -> Panel:
    """Return the end: what was seen, and which promises were broken."""
    mark, style = ("·", "") if broken else ("✓", "green")
    lines = [Text(f"{mark} {sentence}", style) for sentence in seen]
    lines += [Text(f"✗ {sentence}", "bold red") for sentence in broken]
    title = "[bold red]broken[/]" if broken else "[bold green]checked from the workers' own reports[/]"
    return Panel(
        Text("\n").join(lines),
        title=title,
        title_align="left",
        width=WIDTH,
        border_style="red" if broken else "green",
        padding=(1, 2),
    )


def plain(story: Story, *, now: float) -> str:
    """Return the state as one line, for where there is no terminal."""
    held = ", ".join(
        f"{lock} by {grant.worker}" if (grant := story.held(lock)) else f"{lock} free" for lock in story.locks
    )
    waiting = sum(actor.state == "waiting" for actor in story.actors.values())
    return f"{now - story.began:5.1f} s  {len(story.grants)} grants; {held}; {waiting} waiting"
