"""The status page: HTML from a picture, and the policy that lets nothing but its own style and script run."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import jinja2
from markupsafe import Markup

from tasklock.cli.text import duration
from tasklock_operator.query import STATES
from tasklock_operator.text import hostile, plain

if TYPE_CHECKING:
    from tasklock_operator.picture import Picture
    from tasklock_operator.query import Query

REFRESH: Final = 2  # seconds between two looks of a page that is open
RELOAD: Final = 10  # seconds, where scripts are off

ORDERS: Final = {  # what the page offers on a phone, where no column has a header
    "-age": "held longest",
    "age": "held shortest",
    "left": "expires soonest",
    "-waiting": "most waited for",
    "lock": "lock",
    "namespace": "namespace",
    "app": "app",
    "holder": "holder",
}
_HERE: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_HERE / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_HERE / "page.js").read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence above the table: ``bad``, ``warn`` or ``good``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is around the locks.

    Attributes:
        notices: what one must know before believing the table.
        flash: what came of the release that was just asked for.
        user: who may release locks here; None: nobody may.

    """

    notices: tuple[Notice, ...] = ()
    flash: Notice | None = None
    user: str | None = None


_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(duration=duration, hostile=hostile, plain=plain)
_ENVIRONMENT.globals.update(
    style=Markup(_STYLE),  # noqa: S704 - our own file
    script=Markup(_SCRIPT),  # noqa: S704 - our own file
    states=STATES,
    orders=ORDERS,
    refresh=REFRESH,
    reload=RELOAD,
)


def render(picture: Picture, query: Query, frame: Frame, *, whole: bool = True) -> str:
    """Return the page, or only the part of it that changes."""
    template = _ENVIRONMENT.get_template("page.html" if whole else "live.html")
    return template.render(picture=picture, query=query, frame=frame)
