"""GitHub's Actions service, as far as the broker needs it: scale sets by name, their configurations, their runners.

    installation token -> registration token -> runner registration -> the service's URL and an admin token

The last pair is kept until a minute before the token's end, and fetched by one thread at a time; a refresh repeats the
whole chain. GitHub describes the service nowhere: routes, bodies and statuses are those of its own client
(actions/scaleset v0.4.0, read 2026-11-25). That client does not renew a token that gets 401; here it is renewed once,
since tokens of a nominal hour were seen dead after 17 minutes (actions-gateway/github-actions-gateway).
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from broker import decide
from broker.decide import Result

from . import app_token
from .app_token import Installation
from .session import Answer, Deadline, NoAnswerError, Session, UpstreamError

SERVICE: Final = "actions"
_SETS: Final = "_apis/runtime/runnerscalesets"
_GROUPS: Final = "_apis/runtime/runnergroups/"
_AGENTS: Final = "_apis/distributedtask/pools/0/agents"
_API_VERSION: Final = "6.0-preview"
_DEFAULT_GROUP: Final = "default", 1
"""Name and id of the group that GitHub's own client does not look up."""
_TRY_SECONDS: Final = 10.0
_MARGIN_SECONDS: Final = 60
_FRESH_TOKEN: Final = frozenset({401, 403})
"""What a registration token may get until it is known everywhere."""
_FRESH_TRIES: Final = 5
"""As many as GitHub's own client makes, and as far apart: 1, 2, 4 and 8 s at most."""
_ABSENT: Final = 0
"""No scale set has this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admin:
    """The service's URL, and a token for it."""

    url: SplitResult
    token: str = field(repr=False)
    until: float


class ScaleSets:
    """The scale sets of one organisation. For many threads."""

    def __init__(
        self,
        session: Session,
        installation: Installation,
        *,
        api_url: str,
        web_url: str,
        organization: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`web_url` is where people see GitHub: what is registered is named by the organisation's URL below it."""
        self._session = session
        self._installation = installation
        self._registration = f"{api_url}/actions/runner-registration"
        self._registration_token = f"/orgs/{organization}/actions/runners/registration-token"
        self._config_url = f"{web_url}/{organization}"
        self._now = now
        self._registering = threading.Lock()
        """Held while a token is fetched."""
        self._looking = threading.Lock()
        """Held while a group or a scale set is looked up."""
        self._lock = threading.Lock()
        """Held for moments."""
        self._admin: _Admin | None = None
        self._groups: dict[str, int] = {}
        self._sets: dict[tuple[int, str], int] = {}

    # The admin token.

    def admin(self, deadline: Deadline) -> _Admin:
        """The service's URL and a token that lasts. Raises UpstreamError and AppKeyError."""
        with _alone(self._registering, deadline):
            with self._lock:
                if self._admin is not None and self._now() < self._admin.until:
                    return self._admin
            admin = self._register(deadline)
            with self._lock:
                self._admin = admin
            return admin

    def drop(self, admin: _Admin) -> None:
        """Forget a token that the service does not accept, if it is still the one in use."""
        with self._lock:
            if self._admin is admin:
                self._admin = None

    def _register(self, deadline: Deadline) -> _Admin:
        given = self._installation.call("POST", self._registration_token, deadline)
        token = _text(given, "token")
        if given.status != 201 or not token:
            raise UpstreamError(app_token.SERVICE, given.status, passing=given.status == 201)
        answer = self._installation.repeat(lambda: self._registered(token, deadline), deadline)
        for attempt in range(1, _FRESH_TRIES):
            if answer.status not in _FRESH_TOKEN or not self._session.pause(attempt + 1, deadline):
                break
            answer = self._installation.repeat(lambda: self._registered(token, deadline), deadline)
        admin = _admin(answer, secure=self._config_url.startswith("https:"))
        if not 200 <= answer.status < 300 or admin is None:
            raise UpstreamError(app_token.SERVICE, answer.status, passing=200 <= answer.status < 300)
        return admin

    def _registered(self, token: str, deadline: Deadline) -> Answer:
        return self._session.once(
            app_token.SERVICE,
            "POST",
            self._registration,
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"RemoteAuth {token}", "Content-Type": "application/json", **_agent()},
            body=_encode({"url": self._config_url, "runner_event": "register"}) + b"\n",
        )

    # Runner groups and scale sets.

    def group_id(self, name: str, deadline: Deadline) -> int | None:
        """The id of the runner group of that name; None where the organisation has none. Kept.

        Raises UpstreamError and AppKeyError.
        """
        if name.lower() == _DEFAULT_GROUP[0]:
            return _DEFAULT_GROUP[1]
        with _alone(self._looking, deadline):
            known = self._groups.get(name)
            if known is None:
                known = self._named(_GROUPS, {"groupName": name}, name, {}, deadline)
                if known is not None:
                    self._groups[name] = known
            return known

    def find(self, group_id: int, name: str, deadline: Deadline) -> int | None:
        """The id of the group's scale set of that name; None where it has none. Kept.

        Raises UpstreamError and AppKeyError.
        """
        with _alone(self._looking, deadline):
            known = self._sets.get((group_id, name))
            if known is None:
                params = {"runnerGroupId": str(group_id), "name": name}
                known = self._named(_SETS, params, name, {"runnerGroupId": group_id}, deadline)
                if known is not None:
                    self._sets[group_id, name] = known
            return known

    def forget(self) -> None:
        """Look groups and scale sets up anew next time: what is known of them has just been refused."""
        self._groups.clear()
        self._sets.clear()

    def _named(
        self, path: str, params: Mapping[str, str], name: str, more: Mapping[str, int], deadline: Deadline
    ) -> int | None:
        answer = self._call("GET", path, deadline, params=params)
        found = decide.ids_named(answer.json(), name, **more) if answer.status == 200 else None
        if found is None:
            raise UpstreamError(SERVICE, answer.status, passing=answer.status == 200)
        return found[0] if len(found) == 1 else None

    # Runners.

    def create(self, scale_set_id: int, name: str, deadline: Deadline) -> tuple[Result, tuple[int, str] | None]:
        """One try to make a runner of a scale set: how it ended, and where it did well its id and configuration.

        It is never repeated here. Raises UpstreamError and AppKeyError for what failed before it was tried.
        """
        admin = self.admin(deadline)
        if not self._installation.wait_for_limit(deadline):
            return Result.LIMITED, None
        path = f"{_SETS}/{scale_set_id}/generatejitconfig"
        body = {"name": name, "workFolder": decide.WORK_FOLDER}
        try:
            answer = self._once(admin, "POST", path, deadline, body=body, scale_set_id=scale_set_id)
        except NoAnswerError as error:
            return (Result.UNKNOWN if error.sent else Result.UNSENT), None
        created = decide.created_agent(answer.json(), name, scale_set_id) if answer.status == 200 else None
        if created is not None:
            return Result.CREATED, created
        if self._installation.note_limit(answer):
            return Result.LIMITED, None
        if answer.status == 409 or "AgentExistsException" in _type_name(answer):
            return Result.TAKEN, None
        match answer.status:
            case 401:
                self.drop(admin)
                return Result.UNAUTHORISED, None
            case 404:
                return Result.GONE, None
            case status:
                return (Result.REFUSED if 300 <= status < 500 and status != 408 else Result.UNKNOWN), None

    def runners_named(self, name: str, deadline: Deadline) -> tuple[int, ...]:
        """The ids of the runners of that name, of all scale sets. Raises UpstreamError and AppKeyError."""
        answer = self._call("GET", _AGENTS, deadline, params={"agentName": name})
        found = decide.ids_named(answer.json(), name) if answer.status == 200 else None
        if found is None:
            raise UpstreamError(SERVICE, answer.status, passing=answer.status == 200)
        return found

    def remove(self, runner_id: int, deadline: Deadline) -> Result:
        """Remove a runner: DONE also where it was gone, ALIVE while it has a job.

        Raises UpstreamError and AppKeyError.
        """
        answer = self._call("DELETE", f"{_AGENTS}/{runner_id}", deadline)
        if answer.status in {204, 404}:
            return Result.DONE
        if "JobStillRunningException" in _type_name(answer):
            return Result.ALIVE
        raise UpstreamError(SERVICE, answer.status, passing=False)

    # Requests.

    def _call(self, method: str, path: str, deadline: Deadline, *, params: Mapping[str, str] | None = None) -> Answer:
        """A request that may be repeated, with a new token where the service does not accept the one in use."""
        used = self.admin(deadline)
        answer = self._installation.repeat(
            lambda: self._once(used, method, path, deadline, params=params), deadline, service=SERVICE
        )
        if answer.status != 401:
            return answer
        self.drop(used)
        renewed = self.admin(deadline)
        return self._installation.repeat(
            lambda: self._once(renewed, method, path, deadline, params=params), deadline, service=SERVICE
        )

    def _once(
        self,
        admin: _Admin,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        scale_set_id: int = _ABSENT,
    ) -> Answer:
        url = admin.url._replace(path=f"{admin.url.path.rstrip('/')}/{path}", query="", fragment="")
        return self._session.once(
            SERVICE,
            method,
            urlunsplit(url),
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={
                "Authorization": f"Bearer {admin.token}",
                "Content-Type": "application/json",
                **_agent(scale_set_id),
            },
            params={"api-version": _API_VERSION, **dict(parse_qsl(admin.url.query)), **(params or {})},
            body=None if body is None else _encode(body),
        )


@contextlib.contextmanager
def _alone(lock: threading.Lock, deadline: Deadline) -> Generator[None]:
    """Hold a lock. Raises UpstreamError where another holds it until the deadline."""
    if not lock.acquire(timeout=deadline.left()):
        raise UpstreamError(SERVICE, 0, passing=True)
    try:
        yield
    finally:
        lock.release()


def _admin(answer: Answer, *, secure: bool) -> _Admin | None:
    """What a registration led to; None where it names no usable URL, or no token that says when it ends.

    GitHub has handed out an empty URL during an incident.
    """
    url, token = _text(answer, "url"), _text(answer, "token")
    until = _expiry(token)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ({"https"} if secure else {"http", "https"}) and bool(parts.hostname)
    except ValueError:
        return None
    return _Admin(url=parts, token=token, until=until - _MARGIN_SECONDS) if good and until is not None else None


def _expiry(token: str) -> float | None:
    """When a JWT ends, in seconds since 1970; None where it does not say. Whether it is good is for GitHub to judge."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    until: Any = cast("dict[str, Any]", claims).get("exp") if isinstance(claims, dict) else None
    # No float holds a greater whole number exactly, and no token lasts so long.
    return float(until) if isinstance(until, int | float) and not isinstance(until, bool) and until < 2**53 else None


def _agent(scale_set_id: int = _ABSENT) -> dict[str, str]:
    """The User-Agent: JSON with the keys of GitHub's own client, for GitHub's support."""
    value = {
        "system": "runner-fleet",
        "version": "1",
        "commit_sha": "",
        "scale_set_id": scale_set_id,
        "subsystem": "registration-broker",
        "build_version": "1",
        "build_commit_sha": "",
        "kind": "scaleset",
    }
    return {"User-Agent": _encode(value).decode()}


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(answer: Answer, key: str) -> str:
    """A text of a JSON object that can be sent on in a header; empty where there is none."""
    value = answer.json()
    text: Any = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) and text.isascii() and text.isprintable() else ""


def _type_name(answer: Answer) -> str:
    """What kind of error an answer names; empty where it names none."""
    return _text(answer, "typeName")
