"""An asyncio client of GitHub's runner scale set API. README.md beside this file shows how it is used."""

from __future__ import annotations

from .client import Ensured, ScaleSetClient
from .connection import VERSION
from .credentials import AppCredentials, PersonalToken
from .errors import (
    CredentialsError,
    ForbiddenError,
    JobStillRunningError,
    NotFoundError,
    RateLimitedError,
    RunnerExistsError,
    ScaleSetError,
    ScaleSetExistsError,
    SessionConflictError,
    SessionExpiredError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswerError,
    UnreadableMessageError,
)
from .events import Event, What
from .listen import Handler, NotNowError, listen
from .messages import (
    JitConfig,
    JobAssigned,
    JobAvailable,
    JobCompleted,
    JobMessage,
    JobStarted,
    Message,
    Runner,
    RunnerGroup,
    ScaleSet,
    ScaleSetSpec,
    Statistics,
    parse_message,
)
from .retry import Retry
from .session import MessageSession
from .transport import HttpTransport, Response, Transport, TransportError

__all__ = [
    "VERSION",
    "AppCredentials",
    "CredentialsError",
    "Ensured",
    "Event",
    "ForbiddenError",
    "Handler",
    "HttpTransport",
    "JitConfig",
    "JobAssigned",
    "JobAvailable",
    "JobCompleted",
    "JobMessage",
    "JobStarted",
    "JobStillRunningError",
    "Message",
    "MessageSession",
    "NotFoundError",
    "NotNowError",
    "PersonalToken",
    "RateLimitedError",
    "Response",
    "Retry",
    "Runner",
    "RunnerExistsError",
    "RunnerGroup",
    "ScaleSet",
    "ScaleSetClient",
    "ScaleSetError",
    "ScaleSetExistsError",
    "ScaleSetSpec",
    "SessionConflictError",
    "SessionExpiredError",
    "Statistics",
    "Transport",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreadableAnswerError",
    "UnreadableMessageError",
    "What",
    "listen",
    "parse_message",
]
