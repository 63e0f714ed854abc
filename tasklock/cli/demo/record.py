"""The demo's end as SVG, for light and for dark pages; refers to nothing outside of itself."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme

if TYPE_CHECKING:
    from rich.console import RenderableType

_THEMES: Final = {
    "light": TerminalTheme(
        (255, 255, 255),
        (36, 41, 47),
        [
            (36, 41, 47),
            (207, 34, 46),
            (17, 99, 41),
            (125, 78, 0),
            (9, 105, 218),
            (130, 80, 223),
            (27, 124, 131),
            (110, 119, 129),
        ],
        [
            (87, 96, 106),
            (164, 14, 38),
            (26, 127, 55),
            (99, 60, 1),
            (33, 139, 255),
            (164, 117, 249),
            (49, 146, 170),
            (140, 149, 159),
        ],
    ),
    "dark": TerminalTheme(
        (13, 17, 23),
        (230, 237, 243),
        [
            (72, 79, 88),
            (255, 123, 114),
            (63, 185, 80),
            (210, 153, 34),
            (88, 166, 255),
            (188, 140, 255),
            (57, 197, 207),
            (177, 186, 196),
        ],
        [
            (110, 118, 129),
            (255, 161, 152),
            (86, 211, 100),
            (227, 179, 65),
            (121, 192, 255),
            (210, 168, 255),
            (86, 212, 221),
            (255, 255, 255),
        ],
    ),
}

_FORMAT: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>tasklock demo</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 16px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""
_TITLE: Final = "tasklock demo"
_ASPECT: Final = 0.602  # width by height of a character in the usual fonts


def drawings(parts: list[RenderableType], *, width: int) -> dict[str, str]:
    """Return ``parts``, one below the other, as an SVG for each theme."""
    found = {}
    for name, theme in _THEMES.items():
        console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
        for part in parts:
            console.print(part)
        found[name] = console.export_svg(
            title=_TITLE, theme=theme, code_format=_FORMAT, font_aspect_ratio=_ASPECT, unique_id=f"demo-{name}"
        )
    return found
