"""Cloud Monitoring's timeSeries.create.

After https://docs.cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/create (November 2026): at most
200 time series a call, one point each; the answer is an empty object. That a point must be more recent than every other
of its series is not played.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.google.reply import refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

MOST_SERIES: Final = 200


class Monitoring:
    """What was written, and the handler."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self.time_series: list[dict[str, Any]] = []

    def routes(self) -> Iterable[Route]:
        """It needs a token."""
        path = "/v3/projects/{project}/timeSeries"
        yield Route(name="monitoring.create_time_series", method="POST", path=path, handler=self.create)

    def create(self, call: Call) -> Reply:
        """projects.timeSeries.create"""
        if call.parameters["project"] not in {self._google.project, str(self._google.project_number)}:
            raise refuse("monitoring", 404, f"Project {call.parameters['project']} was not found.")
        body: Any = call.json()
        given: Any = body.get("timeSeries") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(given, list) or not given:
            raise refuse("monitoring", 400, "Field timeSeries had an invalid value: it is required.")
        series: list[dict[str, Any]] = given  # pyright: ignore[reportUnknownVariableType]
        if len(series) > MOST_SERIES:
            raise refuse("monitoring", 400, f"Field timeSeries had an invalid value: more than {MOST_SERIES} series.")
        for number, each in enumerate(series):
            if len(each.get("points", ())) != 1 or not each.get("metric", {}).get("type"):
                text = f"Field timeSeries[{number}] had an invalid value: one point and a metric's type are required."
                raise refuse("monitoring", 400, text)
        self.time_series += series
        return json_reply(200, {})
