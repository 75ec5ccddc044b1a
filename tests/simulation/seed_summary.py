"""Tells at the end how many seeds were simulated, and how long that took."""

from __future__ import annotations

from typing import Any


def write(terminalreporter: Any) -> None:
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if any(name == "simulated_seeds" for name, _ in getattr(report, "user_properties", []))
    ]
    if not reports:
        return
    said = [dict(report.user_properties) for report in reports]
    seeds = sum(each["simulated_seeds"] for each in said)
    processor = sum(each["simulated_seconds"] for each in said)
    wall = max(report.stop for report in reports) - min(report.start for report in reports)
    terminalreporter.write_sep("-", f"{seeds} seeds simulated: {processor:.0f} s of processor time in {wall:.0f} s")
