"""Decides why a VM ended, and writes the one record of it.

The record is a JSON object on one line. `reason` is one of REASONS; everything else says more about it. Facts about the
job are what the hooks wrote as the job's own user: they explain, and prove nothing against that user.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REASONS: Final = ("finished", "idle", "preempted", "max-age", "operator", "refused")
"""The ends of a VM that listened. One that never did ends as `boot-failed:STEP`."""

VERSION_DEPRECATED: Final = "7"
"""The listener's exit status when GitHub refuses its version (actions/runner, Constants.cs, read at 258d6c857)."""

MAX_AGE_MARGIN_SECONDS: Final = 120
"""A stop this close to the maximum age is Compute Engine's; it gives a VM about 90 s to shut down."""

_BOOT_FAILED: Final = re.compile(r"boot-failed:[a-z-]{1,40}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_LEAVING: Final = ("deregistering", "settling", "freezing", "stopping")
"""The stages of `retirement.Stage` from which a VM leaves."""

_MAX_JOB_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at the end. `given` is the caller's reason, `asked` that of whoever stopped the listener."""

    given: str = ""
    asked: str = ""
    exit_status: str = ""
    listened: bool = False
    had_job: bool = False
    job_completed: bool = False
    job_refused: bool = False
    deregistered: bool = False
    """On its way out when idle, perhaps without a registration: a listener may end by itself then."""
    system_stopping: bool = False
    stop_asked: bool = False
    """Somebody had the unit stopped, and it did not end by itself."""
    preempted: bool = False
    uptime_seconds: int = 0
    max_run_seconds: int | None = None


def reason(facts: Facts) -> str:
    """The reason, by the first rule that fits. Raises ValueError for a given reason that is none."""
    if facts.given:
        if not _BOOT_FAILED.fullmatch(facts.given):
            raise ValueError(f"{facts.given!r} is no reason; allowed is boot-failed:STEP, or nothing")
        return facts.given
    if facts.asked in REASONS:
        return facts.asked
    if facts.job_refused:
        return "refused"
    if not facts.listened:
        return "boot-failed:run"
    if facts.exit_status == VERSION_DEPRECATED:
        return "boot-failed:version-deprecated"
    if facts.job_completed:
        return "finished"
    if facts.system_stopping or facts.stop_asked:
        return _stopped_from_outside(facts)
    without_job = "idle" if facts.deregistered else "boot-failed:listener"
    return "finished" if facts.had_job else without_job


def _stopped_from_outside(facts: Facts) -> str:
    if facts.preempted:
        return "preempted"
    if facts.max_run_seconds and facts.uptime_seconds >= facts.max_run_seconds - MAX_AGE_MARGIN_SECONDS:
        return "max-age"
    return "operator"


def write(record: dict[str, Any], run_dir: Path) -> bool:
    """Write the record unless there is one; say whether it was written. Nobody ever sees half of it."""
    whole = run_dir / f".end.{os.getpid()}"
    try:
        whole.write_text(json.dumps(record) + "\n", encoding="utf-8")
        (run_dir / "end.json").hardlink_to(whole)
    except FileExistsError:
        return False
    finally:
        whole.unlink(missing_ok=True)
    return True


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(2000).strip()
    except OSError:
        return ""


def _job(path: Path) -> dict[str, str] | None:
    """What a hook recorded: names and texts. Never a link, a pipe or a large file, since its folder is the job's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            told = json.loads(os.read(descriptor, _MAX_JOB_BYTES)) if regular else None
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    return {name: text for name, text in told.items() if isinstance(text, str)}  # pyright: ignore[reportUnknownVariableType]


def main(arguments: list[str] | None = None) -> int:
    """The command: gather, decide, write, print."""
    parser = argparse.ArgumentParser(description="write the record of how this VM ended")
    for name in ("run-dir", "runner-dir"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("reason", "exit-status", "preempted"):
        parser.add_argument(f"--{name}", default="")
    described = ("environment", "pool", "trust", "version", "template-version", "max-run-seconds")
    for name in described:
        parser.add_argument(f"--{name}", default="unknown")
    parser.add_argument("--uptime-seconds", type=int, required=True)
    parser.add_argument("--system-stopping", action="store_true")
    parser.add_argument("--stop-asked", action="store_true")
    given = parser.parse_args(arguments)
    run_dir: Path = given.run_dir
    jobs = {name: _job(run_dir / "job" / f"{name}.json") for name in ("started", "completed", "refused")}
    facts = Facts(
        given=given.reason,
        asked=_text(run_dir / "reason"),
        exit_status=given.exit_status,
        listened=(run_dir / "listener").exists(),
        had_job=any(job is not None for job in jobs.values()) or any(given.runner_dir.glob("_diag/Worker_*.log")),
        job_completed=jobs["completed"] is not None,
        job_refused=jobs["refused"] is not None,
        deregistered=any(f'"{stage}"' in _text(run_dir / "retire.json") for stage in _LEAVING),
        system_stopping=given.system_stopping,
        stop_asked=given.stop_asked,
        preempted=given.preempted == "TRUE",
        uptime_seconds=given.uptime_seconds,
        max_run_seconds=int(given.max_run_seconds) if _SECONDS.fullmatch(given.max_run_seconds) else None,
    )
    try:
        why = reason(facts)
    except ValueError as error:
        sys.stderr.write(f"report-end: {error}\n")
        return 2
    record = {
        "message": "runner end",
        "reason": why,
        "detail": _text(run_dir / "failure"),
        "exit_status": facts.exit_status,
        "uptime_seconds": facts.uptime_seconds,
        **{name.replace("-", "_"): getattr(given, name.replace("-", "_")) for name in described},
        **{f"job_{name}": job for name, job in jobs.items() if job is not None},
    }
    try:
        first, code = write(record, run_dir), 0
    except OSError as error:
        sys.stderr.write(f"report-end: {error}\n")
        first, code = True, 1
    if first:
        sys.stdout.write(json.dumps(record) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
