"""Long-running operations: accepted now, done later, and perhaps failed by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emulators.clock import rfc3339
from emulators.google.instance import PACIFIC, ROOT


@dataclass(frozen=True, kw_only=True)
class OperationError:
    """How an operation ends badly, long after it was accepted."""

    code: str = "ZONE_RESOURCE_POOL_EXHAUSTED"
    message: str = ""
    http_status: int = 503
    http_message: str = "SERVICE UNAVAILABLE"


@dataclass(kw_only=True)
class Operation:
    """An operation of a region, of a zone, or a global one."""

    id: str
    name: str
    kind: str
    """Its operationType."""
    scope: str
    """regions/R, zones/Z or global."""
    project: str
    target: str
    """The path of what it works on, below compute/v1/."""
    target_id: str
    user: str
    started: float
    done: float
    """When it will be."""
    error: OperationError | None = None

    def document(self, now: float = 0.0) -> dict[str, Any]:
        """What operations.get answers then; whoever starts one is told that it runs."""
        scope = f"{ROOT}/projects/{self.project}/{self.scope}"
        where = {} if self.scope == "global" else {self.scope.partition("s/")[0]: scope}
        finished = now >= self.done
        value: dict[str, Any] = {
            "kind": "compute#operation",
            "id": self.id,
            "name": self.name,
            "operationType": self.kind,
            "targetLink": f"{ROOT}/{self.target}",
            "targetId": self.target_id,
            "status": "DONE" if finished else "RUNNING",
            "user": self.user,
            "progress": 100 if finished else 0,
            "insertTime": rfc3339(self.started, PACIFIC),
            "startTime": rfc3339(self.started, PACIFIC),
            "selfLink": f"{scope}/operations/{self.name}",
            **where,
        }
        if finished:
            value["endTime"] = rfc3339(self.done, PACIFIC)
        if finished and self.error is not None:
            value["error"] = {"errors": [{"code": self.error.code, "message": self.error.message or self.error.code}]}
            value["httpErrorStatusCode"] = self.error.http_status
            value["httpErrorMessage"] = self.error.http_message
        return value
