"""How observers write times, and text that somebody else wrote.

Titles, reasons and output come from plans, clouds and programs. On a terminal or in a log they must stay text: no
escape sequence, no line break of theirs, no change of writing direction.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor (ECMA-48, 5.4)
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and the other strings (ECMA-48, 5.6): titles, links
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_BIDI_AND_BREAKS: Final = (*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS: Final = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *_BIDI_AND_BREAKS), "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys(map(ord, "\t\n\r"), " "),
}


def one_line(text: str) -> str:
    """The text as one line without escape sequences; other control characters show as replacement characters."""
    told = _ESCAPES.sub("", text).translate(_CONTROLS).strip()
    return told.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be written anywhere


def duration(seconds: float) -> str:
    """Such as 0.4s, 12s, 3m05s, 2h07m."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def clock_time(at: float) -> str:
    """The time of day in UTC, such as 12:00:03Z; `at` is in seconds since 1970."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}Z"


def timestamp(at: float) -> str:
    """Date and time in UTC, such as 2026-11-25T12:00:03.250Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def steps(count: int) -> str:
    """Such as "1 step" and "3 steps"."""
    return f"{count:,} step{'' if count == 1 else 's'}"
