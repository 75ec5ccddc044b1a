"""Google's error bodies: Compute and Storage list `errors`, the newer APIs have a `status`.

After https://docs.cloud.google.com/apis/design/errors and .../storage/docs/json_api/v1/status-codes (November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from emulators.faults import LEAK_MARK
from emulators.route import Refusal, Reply, json_reply

REASONS: Final[Mapping[int, str]] = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "backendError",
    503: "backendError",
}
STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def problem(
    service: str, status: int, message: str, *, reason: str = "", headers: Mapping[str, str] | None = None
) -> Reply:
    """An error in the form of that service."""
    error: dict[str, Any] = {"code": status, "message": message}
    if service in {"compute", "storage"}:
        found = {"message": message, "domain": "global", "reason": reason or REASONS.get(status, "unknown")}
        if status == 401:
            found |= {"locationType": "header", "location": "Authorization"}
        if status == 412:
            found |= {"locationType": "header", "location": "If-Match"}
        error["errors"] = [found]
    if service != "storage" and (service != "compute" or status == 401):
        error["status"] = STATUSES.get(status, "UNKNOWN")
    return json_reply(status, {"error": error}, headers)


def refuse(service: str, status: int, message: str, *, reason: str = "") -> Refusal:
    """The same, to be raised."""
    challenge = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'} if status == 401 else None
    return Refusal(problem(service, status, message, reason=reason, headers=challenge))


def failure(route: str, status: int, retry_after: int | None) -> Reply:
    """What a fault answers."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    service = route.partition(".")[0]
    if service in {"metadata", "certs"}:
        return Reply(status=status, body=LEAK_MARK.encode(), headers={"Content-Type": "text/html", **headers})
    return problem(service, status, f"Backend Error: {LEAK_MARK}", headers=headers)
