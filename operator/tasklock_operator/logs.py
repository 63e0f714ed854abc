"""How it logs: one line a message, plain or JSON, to stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from tasklock_operator.settings import Settings


def configure(settings: Settings) -> None:
    """Set up logging for the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.log_format == "json" else _Plain())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("aiohttp.server").addFilter(_is_no_visitors_fault)
    logging.getLogger("asyncio").addFilter(_Seldom())


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_no_visitors_fault(record: logging.LogRecord) -> bool:
    """Keep back what anybody can bring about by sending what is no HTTP; its headers would be in the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class _Seldom(logging.Filter):
    """Lets one message pass every ten seconds: a loop that can accept no connection says so without end."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether it passes."""
        if record.created < self._next:
            return False
        self._next = record.created + 10.0
        return True


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_when(record)} {record.levelname.lower():<7} {super().format(record)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)
