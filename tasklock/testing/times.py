"""The API's two time formats, in UTC: seconds (`metav1.Time`) and exactly six fraction digits (`metav1.MicroTime`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MICRO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[.,](\d{6})(Z|[+-]\d\d:\d\d)", re.ASCII)
_SECONDS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_LAYOUT = "2006-01-02T15:04:05Z07:00"


def parse_micro_time(text: str) -> str:
    """`2024-01-01T02:00:00.123456+02:00` becomes `2024-01-01T00:00:00.123456Z`. Raises ValueError."""
    match = _MICRO.fullmatch(text)
    if match is None:
        raise _unreadable(text, _MICRO_LAYOUT)
    moment = _moment(match[1], match[3], text, _MICRO_LAYOUT)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{match[2]}Z".rjust(27, "0")


def parse_time(text: str) -> str:
    """RFC 3339; fractions are cut off. Raises ValueError."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise _unreadable(text, _LAYOUT)
    return f"{_moment(match[1], match[2], text, _LAYOUT):%Y-%m-%dT%H:%M:%S}Z".rjust(20, "0")


def format_time(moment: datetime) -> str:
    """`2024-01-01T00:00:00Z`, cut to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"


def _moment(seconds: str, zone: str, text: str, layout: str) -> datetime:
    try:
        moment = datetime.fromisoformat(seconds)
        if zone == "Z":
            return moment
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        return moment - offset if zone[0] == "+" else moment + offset
    except (ValueError, OverflowError):
        raise _unreadable(text, layout) from None


def _unreadable(text: str, layout: str) -> ValueError:
    return ValueError(f'parsing time "{text}" as "{layout}": cannot parse it')
