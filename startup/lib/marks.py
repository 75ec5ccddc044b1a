"""What an operator has written on this VM: that it is held for inspection, or is to leave.

The marks are instance metadata, `runner-hold-until` and `runner-drain`. No VM's account may write metadata, and a job
that is not root sees a filter in the metadata server's place. So they are asked for afresh each time: they change
while a VM lives.

A hold is a moment, such as 2026-11-25T14:10:00Z and in no other form; it lasts until then, so one that is over is none,
and nobody has to clear it up. Any text in the other mark says that this VM is to leave.

    marks.py wait     returns once nobody holds this VM

What the metadata server does not tell is neither yes nor no: UnknownError. `wait` then goes by what it knew last.
"""

from __future__ import annotations

import calendar
import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

HOLD_UNTIL: Final = "runner-hold-until"
DRAIN: Final = "runner-drain"
"""HOLD_UNTIL and DRAIN of fleet/metadata.py."""

METADATA_SECONDS: Final = 5
PAUSE_SECONDS: Final = 30
"""Between two looks at a hold: how much later than its end a VM may leave."""
MOST_BYTES: Final = 4096

_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class UnknownError(Exception):
    """The metadata server did not tell."""


def moment(text: str | None) -> float | None:
    """The end of a hold, in seconds since 1970; None for a text that holds nothing."""
    if text is None or not _MOMENT.fullmatch(text):
        return None
    try:
        return calendar.timegm(time.strptime(text, _FORM))
    except ValueError:
        return None


def hold_until() -> float | None:
    """Until when this VM is held, which may be over; None where it is not. Raises UnknownError."""
    return moment(_attribute(HOLD_UNTIL))


def held(now: float) -> bool:
    """Whether this VM is held at `now`, seconds since 1970. Raises UnknownError."""
    until = hold_until()
    return until is not None and now < until


def drained() -> bool:
    """Whether this VM is to leave as soon as it safely can. Raises UnknownError."""
    return bool(_attribute(DRAIN))


def sleep(seconds: int) -> None:
    """Wait by the command `sleep`, as the scripts do."""
    subprocess.run(["sleep", str(seconds)], check=True, stdin=subprocess.DEVNULL)


def wait(
    *,
    until: Callable[[], float | None] = hold_until,
    now: Callable[[], float] = time.time,
    sleep: Callable[[int], None] = sleep,
) -> None:
    """Return once nobody holds this VM. A hold that is known lasts while the metadata server tells nothing."""
    known, said = None, False
    while True:
        try:
            known = until()
        except UnknownError as error:
            _log(f"{error}; this VM is {'held as before' if known else 'not held, as far as is known'}")
        if known is None or known <= now():
            break
        if not said:
            _log(f"an operator holds this VM until {time.strftime(_FORM, time.gmtime(known))}")
            said = True
        sleep(PAUSE_SECONDS)
    if said:
        _log("nobody holds this VM any more")


def _attribute(name: str) -> str | None:
    """An attribute's text as it is now; None where there is none."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    connection = http.client.HTTPConnection(host, timeout=METADATA_SECONDS)
    try:
        path = f"/computeMetadata/v1/instance/attributes/{name}"
        connection.request("GET", path, headers={"Metadata-Flavor": "Google"})
        answer = connection.getresponse()
        status, text = answer.status, answer.read(MOST_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        status, text = 0, ""
    finally:
        connection.close()
    if status not in (200, 404):
        raise UnknownError(f"{name}: the metadata server did not tell (HTTP {status})")
    return text if status == 200 else None


def _log(text: str) -> None:
    sys.stderr.write(f"marks: {text}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """The command."""
    if arguments != ["wait"]:
        sys.stderr.write("usage: marks.py wait\n")
        return 64
    wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
