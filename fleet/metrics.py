"""The fleet's metrics as data: what is counted from the functions' and the VMs' logs, and what functions report.

A metric from logs has a filter that names who logged and what; the field names are those of the functions' log lines,
and tests look for them in the functions' source. A gauge is written by the function named, once a minute or once a run.
Nothing decides by any of these: a runner's account may write metrics and logs of its own, so they are for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet.settings import Settings

GAUGE_PREFIX: Final = "custom.googleapis.com/runner_fleet/pool/"

GAUGE_LABELS: Final = {"environment": "the stack, since two may share a project", "pool": "the pool's key"}

GROWTH_FACTOR: Final = 1.5
FINITE_BUCKETS: Final = 29
"""Buckets of a distribution of seconds: from one second, each half as wide again, up to 1.5^29 s, above a day."""

LABEL_MEANINGS: Final = {
    "pool": "the pool's key",
    "group": "the managed instance group",
    "zone": "the zone that has no capacity",
    "result": "how the job ended, in GitHub's words",
    "status": "the HTTP status",
    "outcome": "the code of the answer",
    "kind": "which two sources disagree about what",
    "action": "what was done about it, or would be",
    "event": "leads or hands over",
    "reason": "why the VM ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMetric:
    """Counts log lines or, with a `value`, records the distribution of one of their fields in seconds."""

    name: str
    meaning: str
    functions: tuple[str, ...]
    """Roles of the functions that log it; empty for the record that a VM writes of its end."""
    messages: tuple[str, ...]
    where: str = ""
    """A further condition, in Cloud Logging's language."""
    labels: Mapping[str, str] = field(default_factory=lambda: {"pool": "pool"})
    """Label to the field of the log line that it is taken from."""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """How something stands, per pool."""

    name: str
    meaning: str
    written_by: str
    unit: str = "1"


LOG_METRICS: Final = (
    LogMetric(
        name="queue_seconds",
        meaning="From a job's being queued to a runner's taking it",
        functions=("listener",),
        messages=("job started",),
        value="queue_seconds",
    ),
    LogMetric(
        name="assign_seconds",
        meaning="GitHub's part of it: from a job's being queued to its assignment to a scale set",
        functions=("listener",),
        messages=("job started",),
        value="assign_seconds",
    ),
    LogMetric(
        name="start_seconds",
        meaning="The fleet's part of it: from the assignment to a scale set to a runner's taking the job",
        functions=("listener",),
        messages=("job started",),
        value="start_seconds",
    ),
    LogMetric(
        name="boot_seconds",
        meaning="From a VM's creation, or its start out of a reserve, to its registration",
        functions=("broker",),
        messages=("POST /jit",),
        where="jsonPayload.status=200",
        value="boot_seconds",
    ),
    LogMetric(
        name="run_seconds",
        meaning="How long jobs ran",
        functions=("listener",),
        messages=("job completed",),
        labels={"pool": "pool", "result": "result"},
        value="run_seconds",
    ),
    LogMetric(
        name="jobs",
        meaning="Jobs that ended, also those that never ran",
        functions=("listener",),
        messages=("job completed",),
        labels={"pool": "pool", "result": "result"},
    ),
    LogMetric(
        name="growths",
        meaning="Groups grown, each by one VM or more",
        functions=("listener",),
        messages=("grown",),
        labels={"pool": "pool", "group": "group"},
    ),
    LogMetric(
        name="stock_outs",
        meaning="Zones seen without capacity",
        functions=("listener",),
        messages=("stock-out",),
        labels={"pool": "pool", "group": "group", "zone": "zone"},
    ),
    LogMetric(
        name="resize_refusals",
        meaning="Resizes that Compute Engine refused: no quota, no permission, no such group",
        functions=("listener",),
        messages=("resize refused",),
        labels={"pool": "pool", "group": "group", "status": "status"},
    ),
    LogMetric(
        name="poisoned",
        meaning="Messages of GitHub's that could not be read, were kept and dropped",
        functions=("listener",),
        messages=("poisoned",),
    ),
    LogMetric(
        name="leadership",
        meaning="Listeners that began to lead, and those that handed over; a crash hands nothing over",
        functions=("listener",),
        messages=("leads", "hands over"),
        labels={"event": "message"},
    ),
    LogMetric(
        name="denials",
        meaning="Requests of VMs that were refused",
        functions=("broker", "deleter"),
        messages=(),
        # An instance in reserve asks every few seconds, and waits.
        where="jsonPayload.status>=400 AND jsonPayload.status!=425",
        labels={"pool": "pool", "outcome": "outcome", "status": "status"},
    ),
    LogMetric(
        name="retirements",
        meaning="Idle VMs that asked to leave, by the answer",
        functions=("deleter",),
        messages=("POST /retire",),
        labels={"pool": "pool", "outcome": "outcome"},
    ),
    LogMetric(
        name="disagreements",
        meaning="What GitHub, groups and records say differently",
        functions=("reconciler",),
        messages=("disagreement",),
        labels={"pool": "pool", "kind": "kind", "action": "action"},
    ),
    LogMetric(
        name="reconciliations",
        meaning="Runs of the reconciler that came to their end",
        functions=("reconciler",),
        messages=("reconciled",),
        labels={},
    ),
    LogMetric(
        name="ends",
        meaning="VMs that ended themselves, by reason",
        functions=(),
        messages=("runner end",),
        labels={"pool": "pool", "reason": "reason"},
    ),
)

GAUGES: Final = (
    Gauge(name="assigned", meaning="Jobs assigned to the pool, running ones included", written_by="listener"),
    Gauge(name="running", meaning="Jobs that run", written_by="listener"),
    Gauge(name="idle", meaning="Runners that wait for a job", written_by="listener"),
    Gauge(name="desired", meaning="VMs that the pool should have", written_by="listener"),
    Gauge(name="existing", meaning="VMs that the pool has", written_by="listener"),
    Gauge(name="waiting", meaning="Jobs that wait for a VM", written_by="listener"),
    Gauge(name="stocked_out_zones", meaning="Zones remembered as without capacity", written_by="listener"),
    Gauge(name="vms", meaning="VMs in the pool's groups", written_by="reconciler"),
    Gauge(name="runners_online", meaning="Runners that GitHub sees online", written_by="reconciler"),
    Gauge(name="runners_busy", meaning="Runners that GitHub calls busy", written_by="reconciler"),
    Gauge(name="unregistered", meaning="VMs past the boot deadline without a runner", written_by="reconciler"),
    Gauge(name="orphan_registrations", meaning="Runners without a VM", written_by="reconciler"),
    Gauge(name="past_age", meaning="VMs past their maximum age", written_by="reconciler"),
    Gauge(name="placeholders", meaning="VMs that a group wants and cannot make", written_by="reconciler"),
    Gauge(name="listener_silent", meaning="1 where the listener has fallen silent, else 0", written_by="reconciler"),
    Gauge(
        name="runner_deadline_days",
        meaning="Days until the oldest runner's release must be replaced; below 0 when it is late",
        written_by="reconciler",
        unit="d",
    ),
)


def log_filter(metric: LogMetric, settings: Settings) -> str:
    """Which log lines a metric is made of: those of this environment's functions, or of its VMs' records."""
    names = settings.names
    if not metric.functions:
        # The agent sends the journal's fields as they are, so the record is one text (startup/image/ops-agent.yaml).
        texts = [f'"message": "{message}"' for message in metric.messages]
        texts.append(f'"environment": "{settings.environment}"')
        return " AND ".join(
            ['resource.type="gce_instance"', *(f"jsonPayload.MESSAGE:{_quoted(text)}" for text in texts)]
        )
    conditions = [
        'resource.type="cloud_run_revision"',
        _one_of("resource.labels.service_name", [names.function(role) for role in metric.functions]),
    ]
    if metric.messages:
        conditions.append(_one_of("jsonPayload.message", metric.messages))
    return " AND ".join([*conditions, *([metric.where] if metric.where else [])])


def extractor(metric: LogMetric, name: str) -> str:
    """How a field is taken from a log line."""
    if metric.functions:
        return f"EXTRACT(jsonPayload.{name})"
    # The first of that name: what the job's own user wrote stands behind it.
    pattern = rf'.*?"{name}": "([^"]*)".*'
    return f"REGEXP_EXTRACT(jsonPayload.MESSAGE, {_quoted(pattern)})"


def _one_of(what: str, values: list[str] | tuple[str, ...]) -> str:
    alternatives = " OR ".join(_quoted(value) for value in values)
    return f"{what}=({alternatives})" if len(values) > 1 else f"{what}={alternatives}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
