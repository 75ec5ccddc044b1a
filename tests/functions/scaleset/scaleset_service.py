"""The Actions service as a scripted transport, and an event loop whose time passes only when nothing else is to do.

Every call has a name. What a test scripts for it is answered first, in order; then it is answered as GitHub does when
all is well. Nothing here opens a connection.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import selectors
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import scaleset
from scaleset.transport import Response, TransportError

CONFIG_URL = "https://github.com/my-org"
SERVICE = "https://broker.actions.githubusercontent.com/rest"
QUEUE = "https://broker.actions.githubusercontent.com/scalesets/message"
SESSION_ID = "3d497e3f-264c-4d75-900c-5377a7701c38"
STARTED_AT = 1_800_000_000.0
"""Where the wall clock stands when the loop's stands at 0."""
HOLD_SECONDS = 50.0

API = r"https://(api\.github\.com|github\.com/api/v3)"
_NAMES = (
    ("installation", "POST", rf"{API}/app/installations/77/access_tokens"),
    ("registration token", "POST", rf"{API}/orgs/my-org/actions/runners/registration-token"),
    ("registration", "POST", rf"{API}/actions/runner-registration"),
    ("group", "GET", r".*/runnergroups/\?.*"),
    ("find", "GET", r".*/runnerscalesets\?.*"),
    ("get", "GET", r".*/runnerscalesets/\d+\?.*"),
    ("create", "POST", r".*/runnerscalesets\?.*"),
    ("update", "PATCH", r".*/runnerscalesets/\d+\?.*"),
    ("delete", "DELETE", r".*/runnerscalesets/\d+\?.*"),
    ("open", "POST", r".*/runnerscalesets/\d+/sessions\?.*"),
    ("refresh", "PATCH", r".*/sessions/.*"),
    ("close", "DELETE", r".*/sessions/.*"),
    ("acquire", "POST", r".*/acquirejobs\?.*"),
    ("jit", "POST", r".*/generatejitconfig\?.*"),
    ("runner", "GET", r".*/agents\?.*"),
    ("remove", "DELETE", r".*/agents/\d+\?.*"),
    ("poll", "GET", r".*/scalesets/message(\?.*)?"),
    ("acknowledge", "DELETE", r".*/scalesets/message/\d+.*"),
)

_PLAIN: dict[str, tuple[int, Any]] = {
    "installation": (201, {"token": "ghs_x", "expires_at": "2099-01-01T00:00:00Z"}),
    "registration token": (201, {"token": "REGTOK", "expires_at": "2099-01-01T00:00:00.000-08:00"}),
    "group": (200, {"count": 1, "value": [{"id": 3, "name": "workers", "size": 0, "isDefaultGroup": False}]}),
    "find": (200, {"count": 0, "value": []}),
    "runner": (200, {"count": 0, "value": []}),
}
"""Everything else is a 204."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it was sent, and when."""

    call: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")


Answer = Response | TransportError | Callable[[Request], Awaitable[Response]]


class Service:
    """A transport. `tokens` counts admin tokens; each ends `token_seconds` after it was made."""

    def __init__(self, *, token_seconds: float = 3600.0) -> None:
        self.requests: list[Request] = []
        self.scripts: dict[str, deque[Answer]] = defaultdict(deque)
        self.token_seconds = token_seconds
        self.tokens = 0
        self.queue_tokens = 0
        self.closed = False

    def script(self, call: str, *answers: Answer) -> None:
        self.scripts[call].extend(answers)

    def count(self, call: str) -> int:
        return len(self.of(call))

    def of(self, call: str) -> list[Request]:
        return [request for request in self.requests if request.call == call]

    @property
    def calls(self) -> list[str]:
        return [request.call for request in self.requests]

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        call = next((name for name, verb, form in _NAMES if verb == method and re.fullmatch(form, url)), "")
        assert call, f"{method} {url} is no call of the protocol"
        request = Request(call=call, method=method, url=url, headers=dict(headers), body=body, at=loop_time())
        self.requests.append(request)
        answer = self.scripts[call].popleft() if self.scripts[call] else self.well
        if isinstance(answer, TransportError):
            raise answer
        if isinstance(answer, Response):
            return answer
        try:
            async with asyncio.timeout(timeout_seconds):
                return await answer(request)
        except TimeoutError:
            raise TransportError("TimeoutError", sent=True) from None

    async def close(self) -> None:
        self.closed = True

    async def well(self, request: Request) -> Response:
        """What GitHub answers when all is well: a group, no scale set yet, no message."""
        if request.call == "registration":
            self.tokens += 1
            return reply(200, {"url": SERVICE, "token": self.admin_token(self.tokens)})
        if request.call in {"open", "refresh"}:
            self.queue_tokens += 1
            return reply(200, session(token=f"queue-{self.queue_tokens}"))
        if request.call == "poll":
            await asyncio.sleep(HOLD_SECONDS)
            return reply(202)
        if request.call == "acquire":
            return reply(200, {"count": len(request.json), "value": request.json})
        if request.call in {"create", "update", "get"}:
            return reply(200, {"id": 8, **(request.json or scale_set())})
        if request.call == "jit":
            runner = {"id": 42, "name": request.json["name"], "runnerScaleSetId": 8}
            return reply(200, {"runner": runner, "encodedJITConfig": "c2VjcmV0"})
        status, value = _PLAIN.get(request.call, (204, None))
        return reply(status, value)

    def admin_token(self, number: int) -> str:
        claims = {"exp": int(STARTED_AT + loop_time() + self.token_seconds), "number": number}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl"


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def wall_time() -> float:
    return STARTED_AT + loop_time()


def client(service: Service, **options: Any) -> scaleset.ScaleSetClient:
    """A client whose pauses are not varied: the figures in tests are the rules' own."""
    options = {"credentials": scaleset.PersonalToken(token="ghp_x"), "config_url": CONFIG_URL, **options}
    retry = scaleset.Retry(chance=lambda: 0.5)
    return scaleset.ScaleSetClient(service, now=wall_time, retry=retry, **options)


def reply(status: int, value: Any = None, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
    content = body if value is None else json.dumps(value).encode()
    kind = {"content-type": "application/json; charset=utf-8"} if value is not None else {}
    return Response(status=status, headers={**kind, **(headers or {})}, body=content)


def refusal(status: int, exception: str) -> Response:
    """An error as the Actions service words it."""
    return reply(status, {"typeName": f"GitHub.Actions.Runtime.WebApi.{exception}, GitHub", "message": "LEAK"})


def scale_set(**changes: Any) -> dict[str, Any]:
    value = {
        "id": 8,
        "name": "fleet-a",
        "runnerGroupId": 3,
        "runnerGroupName": "Workers",
        "labels": [{"type": "System", "name": "fleet-a"}],
        "RunnerSetting": {"disableUpdate": True},
    }
    return {**value, **changes}


def statistics(**changes: int) -> dict[str, int]:
    names = ("Available", "Acquired", "Assigned", "Running")
    counters = {f"total{name}Jobs": 0 for name in names}
    counters |= {f"total{name}Runners": 0 for name in ("Registered", "Busy", "Idle")}
    return {**counters, **changes}


def session(*, token: str = "queue-1", **changes: Any) -> dict[str, Any]:
    value = {
        "sessionId": SESSION_ID,
        "ownerName": "listener-1",
        "runnerScaleSet": scale_set(),
        "messageQueueUrl": QUEUE,
        "messageQueueAccessToken": token,
        "statistics": statistics(),
    }
    return {**value, **changes}


def job(kind: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    value = {
        "messageType": kind,
        "runnerRequestId": 0,
        "jobId": f"5eed0000-0000-0000-0000-{number:012}",
        "ownerName": "my-org",
        "repositoryName": "widgets",
        "queueTime": "2026-11-22T01:44:52Z",
    }
    return {**value, **changes}


def message(number: int, *jobs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    value = {
        "messageId": 100000000 + number,
        "messageType": "RunnerScaleSetJobMessages",
        "statistics": statistics(totalAssignedJobs=len(jobs)),
        "body": json.dumps(jobs) if jobs else "",
    }
    return {**value, **changes}


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, it lets time pass."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        assert ready or timeout is not None, "everything waits for something that nothing here will do"
        if not ready and timeout and timeout > 0:
            self.passed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours in no time."""

    def __init__(self) -> None:
        self._selector_of_ours = _Selector()
        super().__init__(self._selector_of_ours)

    def time(self) -> float:
        return self._selector_of_ours.passed


def play(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it, on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
