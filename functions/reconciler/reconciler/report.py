"""A run in words: log lines, the report object, the counters of its answer. Pure.

Nothing that another service said is in any of them, but statuses.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .decide import NONE, Decision
from .departure import DONE
from .memory import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A decision, and what became of it."""

    decision: Decision
    failure: str = ""
    """Why a remedy that was due was not carried out; empty where it was, or none was due."""

    @property
    def done(self) -> bool:
        """Whether something was done."""
        return self.decision.remedy is not None and not self.failure

    @property
    def action(self) -> str:
        """NONE, "would …", or what was done."""
        remedy = self.decision.remedy
        if remedy is None:
            return self.decision.action
        return NONE if self.failure else DONE[remedy.verb]

    @property
    def why_not(self) -> str:
        """Why nothing was done about what could be mended."""
        return self.failure or self.decision.why_not


def line(outcome: Outcome) -> dict[str, Any]:
    """A disagreement's log line."""
    finding = outcome.decision.finding
    because = f"{finding.because}; {outcome.why_not}" if outcome.why_not else finding.because
    return {
        "severity": "NOTICE" if outcome.done else "WARNING" if outcome.failure else "INFO",
        "message": "disagreement",
        "pool": finding.pool,
        "kind": finding.kind.value,
        "subject": finding.subject,
        "action": outcome.action,
        "because": because,
    }


def counters(outcomes: Sequence[Outcome], *, dry_run: bool) -> dict[str, Any]:
    """What a run answers, and its last log line says."""
    kinds = Counter(outcome.decision.finding.kind.value for outcome in outcomes)
    return {
        "dry_run": dry_run,
        "disagreements": len(outcomes),
        "done": sum(outcome.done for outcome in outcomes),
        "would": sum(outcome.action.startswith("would ") for outcome in outcomes),
        "failed": sum(bool(outcome.failure) for outcome in outcomes),
        "kinds": dict(sorted(kinds.items())),
    }


def document(outcomes: Sequence[Outcome], gauges: Mapping[tuple[str, str], int], about: Mapping[str, Any]) -> bytes:
    """The report object: every disagreement with its evidence, what was done, and why not."""
    pools: dict[str, dict[str, int]] = {}
    for (pool, name), value in sorted(gauges.items()):
        pools.setdefault(pool, {})[name] = value
    disagreements = [_entry(outcome) for outcome in outcomes]
    return json.dumps({**about, "pools": pools, "disagreements": disagreements}, indent=1).encode()


def _entry(outcome: Outcome) -> dict[str, Any]:
    finding, sighting = outcome.decision.finding, outcome.decision.sighting
    return {
        "kind": finding.kind.value,
        "pool": finding.pool,
        "subject": finding.subject,
        "because": finding.because,
        "proved": finding.remedy is not None,
        "action": outcome.action,
        "why_not": outcome.why_not,
        "since": rfc3339(sighting.since),
        "runs": sighting.runs,
        "proofs": sighting.proofs,
        "orders": sighting.orders,
        "evidence": dict(finding.evidence),
    }
