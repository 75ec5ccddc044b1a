"""Cloud Monitoring: one point for each gauge of each pool.

Source, read 2026-11-25: projects.timeSeries.create takes at most 200 time series a call.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from .session import Deadline, NoAnswerError, Session, UpstreamError

MOST_SERIES: Final = 200
_SERVICE: Final = "monitoring"
_TRY_SECONDS: Final = 5.0
_TYPE: Final = "custom.googleapis.com/runner_fleet/pool/"


class Monitoring:
    """The custom metrics of one environment; two of them may share a project."""

    def __init__(
        self, session: Session, token: Callable[[Deadline], str], url: str, *, project: str, environment: str
    ) -> None:
        self._session = session
        self._token = token
        self._url = f"{url}/v3/projects/{project}/timeSeries"
        self._project = project
        self._environment = environment

    def write(self, gauges: Mapping[tuple[str, str], int], when: datetime.datetime, deadline: Deadline) -> bool:
        """Write gauges, by pool and name; whether all were taken. Nothing is tried twice, and nothing raised."""
        series = [self._series(pool, name, value, when) for (pool, name), value in sorted(gauges.items())]
        taken = True
        for start in range(0, len(series), MOST_SERIES):
            taken = self._create(series[start : start + MOST_SERIES], deadline) and taken
        return taken

    def _create(self, series: list[dict[str, Any]], deadline: Deadline) -> bool:
        try:
            answer = self._session.once(
                _SERVICE,
                "POST",
                self._url,
                deadline=deadline,
                try_seconds=_TRY_SECONDS,
                headers={"Authorization": f"Bearer {self._token(deadline)}", "Content-Type": "application/json"},
                body=json.dumps({"timeSeries": series}).encode(),
            )
        except (NoAnswerError, UpstreamError):
            return False
        return answer.status == 200

    def _series(self, pool: str, name: str, value: int, when: datetime.datetime) -> dict[str, Any]:
        labels = {"environment": self._environment, "pool": pool}
        return {
            "metric": {"type": _TYPE + name, "labels": labels},
            "resource": {"type": "global", "labels": {"project_id": self._project}},
            "metricKind": "GAUGE",
            "valueType": "INT64",
            "points": [
                {
                    "interval": {"endTime": when.astimezone(datetime.UTC).isoformat(timespec="seconds")},
                    "value": {"int64Value": str(value)},
                }
            ],
        }
