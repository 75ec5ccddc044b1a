"""What did not work at Google or GitHub, in the words that retries and exit codes go by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

_BY_STATUS: Final[Mapping[int, str]] = {
    0: "unavailable",
    401: "credentials",
    403: "denied",
    404: "not-found",
    408: "unavailable",
    409: "conflict",
    412: "conflict",
    425: "unavailable",
    429: "rate-limited",
    500: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
_BY_REASON: Final[Mapping[str, str]] = {
    "quotaExceeded": "quota",
    "rateLimitExceeded": "rate-limited",
    "userRateLimitExceeded": "rate-limited",
}
"""Google answers 403 to these: https://docs.cloud.google.com/compute/api-quota, read 2026-11-25."""

_BY_CODE: Final = (
    ("ZONE_RESOURCE_POOL_EXHAUSTED", "stockout"),  # also its form …_WITH_DETAILS
    ("RESOURCE_POOL_EXHAUSTED", "stockout"),
    ("STOCKOUT", "stockout"),
    ("QUOTA_EXCEEDED", "quota"),
    ("LIMIT_EXCEEDED", "quota"),
    ("RATE_LIMIT_EXCEEDED", "rate-limited"),
    ("RESOURCE_NOT_FOUND", "not-found"),
    ("RESOURCE_ALREADY_EXISTS", "conflict"),
    ("RESOURCE_NOT_READY", "conflict"),
    ("RESOURCE_IN_USE", "conflict"),
    ("RESOURCE_OPERATION_RATE_EXCEEDED", "rate-limited"),
    ("CONDITION_NOT_MET", "conflict"),
    ("INTERNAL_ERROR", "unavailable"),
    ("BACKEND_ERROR", "unavailable"),
    ("SERVICE_UNAVAILABLE", "unavailable"),
)
"""Codes of an operation's errors, by how they begin; the first that fits counts. Seen in Google's troubleshooting pages
and in operations; a code that is not here is told by the operation's HTTP status, else it is permanent."""


class CloudError(Exception):
    """A service did not do its part, or nobody knows whether it did. Holds nothing of what the service said.

    `status` is 0 where no answer came. `asked` says what was asked for, in words.
    """

    def __init__(
        self,
        service: str,
        status: int,
        asked: str,
        *,
        error_class: str = "",
        retry_after_seconds: float | None = None,
        text: str = "",
    ) -> None:
        what = text or (f"answered HTTP {status}" if status else "gave no answer")
        super().__init__(f"{service}: {what} ({asked})")
        self.service = service
        self.status = status
        self.asked = asked
        self.error_class = error_class or class_of_status(status)
        self.retry_after_seconds = retry_after_seconds


class CredentialsError(CloudError):
    """There is nothing to prove with who asks, or it is worth nothing any more. The text says what to run."""

    def __init__(self, service: str, text: str, asked: str = "signing in") -> None:
        super().__init__(service, 0, asked, error_class="credentials", text=text)


class OperationFailedError(CloudError):
    """An operation was accepted, and ended badly. The text names its codes."""

    def __init__(self, service: str, status: int, asked: str, codes: tuple[str, ...]) -> None:
        text = f"the operation ended with {', '.join(codes)}"
        super().__init__(service, status, asked, error_class=class_of_operation(codes, status), text=text)
        self.codes = codes


def class_of_status(status: int, reason: str = "") -> str:
    """The error class of an HTTP status, 0 for no answer; `reason` is the one in Google's error body."""
    return _BY_REASON.get(reason) or _BY_STATUS.get(status) or ("unavailable" if status >= 500 else "permanent")


def class_of_operation(codes: Iterable[str], status: int = 0) -> str:
    """The error class of an operation that ended with these codes; `status` is its httpErrorStatusCode."""
    for code in codes:
        for prefix, error_class in _BY_CODE:
            if code.upper().startswith(prefix):
                return error_class
    return class_of_status(status) if status else "permanent"
