"""What lies in runs/: which runs there were, and how they ended. It only reads, and never fails for one bad folder."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rollout.plans.drive import RECIPE, RUNS

Standing = Literal["passed", "failed", "stopped", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run of here."""

    run_id: str
    plan: str
    standing: Standing
    """`unfinished` has no report: it runs, or its process ended; `resume` goes on with it either way, or says so."""
    began: datetime.datetime | None
    ended: datetime.datetime | None
    steps: int
    bad: tuple[str, ...]
    """Ids of steps that ended badly."""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "run": self.run_id,
            "plan": self.plan,
            "standing": self.standing,
            "began": self.began.isoformat() if self.began else None,
            "ended": self.ended.isoformat() if self.ended else None,
            "steps": self.steps,
            "bad": list(self.bad),
        }


def past_runs(root: Path) -> tuple[PastRun, ...]:
    """The newest first, by the time that their ids begin with."""
    folders = [path for path in (root / RUNS).glob("*") if path.is_dir() and not path.is_symlink()]
    runs = [path for path in folders if (path / RECIPE).is_file() or (path / "journal.jsonl").is_file()]
    return tuple(_run(path) for path in sorted(runs, key=lambda path: path.name, reverse=True))


def _run(path: Path) -> PastRun:
    report = _object(path / "report.json")
    recipe = _object(path / RECIPE)
    verdict = report.get("verdict")
    results = [cast("dict[str, Any]", each) for each in _list(report.get("results")) if isinstance(each, dict)]
    return PastRun(
        run_id=path.name,
        plan=str(report.get("plan") or recipe.get("maker") or ""),
        standing=verdict if verdict in {"passed", "failed", "stopped"} else "unfinished",
        began=_time(report.get("started_at")),
        ended=_time(report.get("ended_at")),
        steps=len(results),
        bad=tuple(str(each.get("id")) for each in results if each.get("state") in {"failed", "timed-out", "killed"}),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        said: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _time(value: Any) -> datetime.datetime | None:
    return datetime.datetime.fromtimestamp(value, datetime.UTC) if isinstance(value, int | float) else None
