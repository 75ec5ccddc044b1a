"""What can go wrong between a client and GitHub's Actions service, one class for each thing to do about it.

No text holds anything that the service said but its status. `type_name` is the exception's short name where it is one
that this package knows, and the request ids are kept in the form of such: both may be logged.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

from .transport import Response

_REQUEST_ID: Final = re.compile(r"[0-9A-Za-z:-]{1,100}")


class ScaleSetError(Exception):
    """A call did not do its part. `status` is 0 where no answer came."""

    def __init__(
        self, doing: str, *, status: int = 0, type_name: str = "", activity_id: str = "", request_id: str = ""
    ) -> None:
        told = f"HTTP {status}" if status else "no answer"
        super().__init__(f"{doing}: {told}{f', {type_name}' if type_name else ''}")
        self.status = status
        self.type_name = type_name
        self.activity_id = activity_id
        self.request_id = request_id


class NotFoundError(ScaleSetError):
    """There is no such scale set, session, runner or runner group (any more)."""


class ScaleSetExistsError(ScaleSetError):
    """The runner group has a scale set of that name."""


class SessionConflictError(ScaleSetError):
    """The scale set has a session. It cannot be taken over; it lapses 50-92 s after its owner's last request."""


class SessionExpiredError(ScaleSetError):
    """The session is gone: open a new one."""


class RunnerExistsError(ScaleSetError):
    """There is a runner of that name, perhaps of an earlier try whose answer was lost."""


class JobStillRunningError(ScaleSetError):
    """The runner holds a job: keep its machine."""


class UnauthorizedError(ScaleSetError):
    """GitHub does not accept the credentials, or not the token that it gave for them."""


class ForbiddenError(ScaleSetError):
    """The credentials are good, but not for this."""


class RateLimitedError(ScaleSetError):
    """Too many requests. `retry_after_seconds` is 0 where GitHub did not say how long."""

    def __init__(self, doing: str, *, retry_after_seconds: float = 0.0, **told: Any) -> None:
        super().__init__(doing, **told)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(ScaleSetError):
    """The service fails or cannot be reached. `sent` is False where it certainly got none of the tries."""

    def __init__(self, doing: str, *, sent: bool, retry_after_seconds: float = 0.0, **told: Any) -> None:
        super().__init__(doing, **told)
        self.sent = sent
        self.retry_after_seconds = retry_after_seconds


class CredentialsError(ScaleSetError):
    """What was given as a private key is none that can sign. No request was made."""


class UnreadableAnswerError(ScaleSetError):
    """A success without the content that belongs to it."""


class UnreadableMessageError(ScaleSetError):
    """A message that cannot be parsed. `body` is all that came; `message_id` is 0 where not even that can be read."""

    def __init__(self, message_id: int, body: str) -> None:
        super().__init__("a message that cannot be parsed", status=200)
        self.message_id = message_id
        self.body = body


_KNOWN: Final[dict[str, type[ScaleSetError]]] = {
    "AgentExistsException": RunnerExistsError,
    "AgentNotFoundException": NotFoundError,
    "JobStillRunningException": JobStillRunningError,
    "RunnerScaleSetExistsException": ScaleSetExistsError,
    "RunnerScaleSetSessionConflictException": SessionConflictError,
    "RunnerScaleSetSessionExpiredException": SessionExpiredError,
    "RunnerScaleSetNotFoundException": NotFoundError,
    "InvalidTokenException": UnauthorizedError,
}
"""By a part of `typeName`, whatever the status: the first three in actions/scaleset v0.4.0, the others as seen at the
real service in threads of actions/actions-runner-controller (#3351, #3935, #4285) and in other clients' sources."""

_BY_STATUS: Final[dict[int, type[ScaleSetError]]] = {401: UnauthorizedError, 403: ForbiddenError, 404: NotFoundError}


def error_of(response: Response, doing: str, *, retry_after_seconds: float | None = None) -> ScaleSetError:
    """The error that a status other than the expected one stands for. `doing` is said in the text."""
    value = response.json() if not response.header("content-type").startswith("text/plain") else None
    said = cast("dict[str, Any]", value).get("typeName") if isinstance(value, dict) else None
    name = next((known for known in _KNOWN if isinstance(said, str) and known in said), "")
    told: dict[str, Any] = {
        "status": response.status,
        "type_name": name,
        "activity_id": _request_id(response, "ActivityId"),
        "request_id": _request_id(response, "X-GitHub-Request-Id"),
    }
    if response.status == 429 or is_limit(response):
        return RateLimitedError(doing, retry_after_seconds=retry_after_seconds or 0.0, **told)
    if name:
        return _KNOWN[name](doing, **told)
    if response.status >= 500 and response.status != 501:
        return UnavailableError(doing, sent=True, retry_after_seconds=retry_after_seconds or 0.0, **told)
    if 200 <= response.status < 300:
        return UnreadableAnswerError(doing, **told)
    return _BY_STATUS.get(response.status, ScaleSetError)(doing, **told)


def is_limit(response: Response) -> bool:
    """Whether a 403 means too many requests (GitHub: "Best practices for using the REST API")."""
    return response.status == 403 and (
        bool(response.header("retry-after")) or response.header("x-ratelimit-remaining") == "0"
    )


def _request_id(response: Response, header: str) -> str:
    value = response.header(header)
    return value if _REQUEST_ID.fullmatch(value) else ""
