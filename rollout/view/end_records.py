"""The records that VMs write of their end (docs/lifecycle.md), as Cloud Logging has them. Pure.

A VM's own account writes them, so a job that is root on its VM can write one too. They tell an accident, and are no
proof against an attacker; what they say under `job_…` is written by the job's user and not even read here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from fleet.metrics import LOG_METRICS, log_filter
from fleet.settings import Settings

KEPT_DAYS: Final = 30
"""How long Cloud Logging keeps entries, unless told otherwise ("Cloud Logging storage overview", read 2026-11-25)."""


class Outcome(StrEnum):
    """What an end says about the version that the VM ran."""

    JOB = "job"
    """It ran a job to its end, whatever came of the job."""
    FAILURE = "failure"
    """The VM did not get as far as a job, and that is the fleet's fault."""
    NEITHER = "neither"
    """Idle, preempted, stopped, too old, or its job was refused: nobody's fault, and no job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRecord:
    """One VM's end."""

    instance_id: str
    at: datetime.datetime
    pool: str
    version: str
    """The template's."""
    reason: str
    uptime_seconds: int

    @property
    def outcome(self) -> Outcome:
        """What it says about the version."""
        if self.reason == "finished":
            return Outcome.JOB
        return Outcome.FAILURE if self.reason.startswith("boot-failed:") else Outcome.NEITHER

    @property
    def began(self) -> datetime.datetime:
        """When the VM started."""
        return self.at - datetime.timedelta(seconds=self.uptime_seconds)


def query(settings: Settings, version: str, since: datetime.datetime) -> str:
    """The filter by which Cloud Logging gives the environment's records of one version since then."""
    metric = next(metric for metric in LOG_METRICS if metric.name == "ends")
    text = f'\\"template_version\\": \\"{version}\\"'
    return f'{log_filter(metric, settings)} AND jsonPayload.MESSAGE:"{text}" AND timestamp>="{since.isoformat()}"'


def parse(payload: Mapping[str, Any], *, instance_id: str, at: datetime.datetime, environment: str) -> EndRecord | None:
    """The record in a log entry; None where there is none, or it is another environment's."""
    text = payload.get("MESSAGE", payload.get("message"))
    try:
        said: Any = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    record = cast("dict[str, Any]", said)
    texts = {key: record.get(key) for key in ("pool", "template_version", "reason")}
    uptime: Any = record.get("uptime_seconds")
    if record.get("message") != "runner end" or record.get("environment") != environment:
        return None
    if not all(isinstance(value, str) and value for value in texts.values()):
        return None
    return EndRecord(
        instance_id=instance_id,
        at=at,
        pool=str(texts["pool"]),
        version=str(texts["template_version"]),
        reason=str(texts["reason"]),
        uptime_seconds=uptime if isinstance(uptime, int) and 0 <= uptime < 1 << 31 else 0,
    )


def one_each(records: Iterable[EndRecord]) -> tuple[EndRecord, ...]:
    """The first record of every VM, oldest first: on the VM too the first one stands."""
    first: dict[str, EndRecord] = {}
    for record in sorted(records, key=lambda record: record.at):
        first.setdefault(record.instance_id, record)
    return tuple(first.values())
