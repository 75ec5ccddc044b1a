"""Cloud Monitoring: gauges of now, in as many calls as its limit asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from scaleset import Transport

from .upstream import Token, Upstream

MOST_SERIES: Final = 200
"""Of one call (timeSeries.create, "Quotas and limits" of Cloud Monitoring, read 2026-11-25)."""
_TIMEOUT_SECONDS: Final = 10.0
_PREFIX: Final = "custom.googleapis.com/runner_fleet/pool/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A number of one pool."""

    name: str
    pool: str
    value: int


class Monitoring:
    """The metrics of one environment; two of them may share a project."""

    def __init__(self, transport: Transport, token: Token, url: str, *, project: str, environment: str) -> None:
        self._upstream = Upstream("monitoring", transport, token)
        self._url = f"{url}/v3/projects/{project}/timeSeries"
        self._project = project
        self._environment = environment

    async def write(self, gauges: Sequence[Gauge], at: str) -> None:
        """Write all of them as of a moment (RFC 3339). Raises UpstreamError; part of them may be written then."""
        for first in range(0, len(gauges), MOST_SERIES):
            series = [self._series(gauge, at) for gauge in gauges[first : first + MOST_SERIES]]
            body = json.dumps({"timeSeries": series}).encode()
            answer = await self._upstream.once("POST", self._url, timeout_seconds=_TIMEOUT_SECONDS, body=body)
            if answer.status != 200:
                raise self._upstream.failure(answer)

    def _series(self, gauge: Gauge, at: str) -> dict[str, Any]:
        labels = {"environment": self._environment, "pool": gauge.pool}
        return {
            "metric": {"type": _PREFIX + gauge.name, "labels": labels},
            "resource": {"type": "global", "labels": {"project_id": self._project}},
            "metricKind": "GAUGE",
            "valueType": "INT64",
            "points": [{"interval": {"endTime": at}, "value": {"int64Value": str(gauge.value)}}],
        }
