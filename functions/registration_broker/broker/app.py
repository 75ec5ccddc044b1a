"""The broker's three operations over HTTP: requests in, replies out, one log line each.

`POST /jit` gives a VM its one just-in-time configuration, `POST /deregister` removes that VM's own runner, and `GET
/demand` says why jobs of the VM's pool wait. Everything about a runner (name, group, scale set, labels) follows from
the proven identity and the fleet's table; a request chooses nothing.
Replies are JSON, errors {"error": CODE, "message": sentence}; docs/openapi/registration-broker.yaml has them all.
Nothing that another service said is passed on or logged, but its status.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import flask
from werkzeug.exceptions import HTTPException

from . import decide, demand
from .clients import app_token, scale_set
from .clients.app_token import AppKeyError, Installation
from .clients.compute import Compute
from .clients.github import GitHub
from .clients.pools import Pools
from .clients.scale_set import ScaleSets
from .clients.secrets import Secrets
from .clients.session import Deadline, GoogleToken, Session, UpstreamError
from .clients.storage import Grants
from .decide import Result
from .fleet_table import Group
from .identity import Caller, Keys, KeysUnavailableError, RefusedError, Verifier, verdict
from .places import NoPlaceError, OrganizationPlace, Place, ScaleSetPlace
from .registration import Given, Registrar, Stopped
from .settings import Settings

BUDGET_SECONDS: Final = 45.0
"""For all of a request. The VM's own limit is 60 (startup/lib/common.sh)."""
CERTS_SECONDS: Final = 6.0
PAUSE_SECONDS: Final = 5
"""What Retry-After says where no service has said more."""

MESSAGES: Final[Mapping[str, tuple[int, str]]] = {
    "grant_taken": (409, "This instance had its one configuration before."),
    "name_taken": (409, "A runner of this name is at GitHub, and its instance is not proved gone."),
    "busy": (409, "The runner has a job."),
    "no_grant": (404, "This instance never had a configuration."),
    "no_demand": (404, "Nobody has said what the jobs of this instance's pool demand."),
    "github_refused": (502, "GitHub refuses the broker; nothing was registered."),
    "github_unavailable": (503, "GitHub did not answer as it should; nothing was registered."),
    "github_limited": (503, "GitHub takes no more requests for now; nothing was registered."),
    "scale_set_missing": (503, "The pool's scale set is not at GitHub, and nothing was registered; it is made anew."),
    "google_refused": (502, "Google Cloud refuses the broker."),
    "google_unavailable": (503, "Google Cloud did not answer as it should."),
    "keys_unavailable": (503, "Google's signing keys cannot be fetched, so nobody can be recognised."),
    "app_key_wrong": (502, "The GitHub App's private key cannot be used."),
    "registration_unknown": (503, "GitHub may or may not have registered a runner; this instance gets no other."),
    "grant_stuck": (503, "Nothing was registered, but the grant could not be taken back; this instance gets no other."),
    "internal": (500, "The broker has a bug; its log names it."),
}
"""Every code that is no refusal of `identity` or `decide`: status and message."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer, and what its log line says beyond it."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict[str, str])
    notes: dict[str, Any] = field(default_factory=dict[str, Any])


def write_line(entry: Mapping[str, Any]) -> None:
    """Log: one JSON object a line on stdout, as Cloud Logging parses it."""
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


class Broker:
    """The function. Make one per process; it serves many threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        session: Session | None = None,
        token: Callable[[Deadline], str] | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[Mapping[str, Any]], None] = write_line,
    ) -> None:
        """`token` gives the function's own access token; google-auth does unless told otherwise."""
        self._settings = settings
        self._session = session or Session()
        self._now = now
        self._clock = clock
        self._log = log
        google = token or GoogleToken(self._session)
        secrets = Secrets(self._session, google, settings.secrets_url)
        keys = Keys(self._fetch_keys, clock)
        project = settings.fleet.project
        self._verifier = Verifier(keys, audience=settings.audience, project=project, now=now)
        self._compute = Compute(self._session, google, settings.compute_url, project, clock)
        self._grants = Grants(self._session, google, settings.storage_url, settings.grants_bucket)
        self._pools = Pools(self._session, google, settings.storage_url, settings.listener_bucket)
        self._installation = Installation(
            self._session,
            settings.github_url,
            app_id=settings.app_id,
            installation_id=settings.installation_id,
            key=lambda deadline: secrets.text(settings.app_key_secret, deadline),
            agent="runner-fleet-registration-broker",
            now=now,
            clock=clock,
        )
        organization = settings.fleet.organization
        self._github = GitHub(self._installation, organization, clock=clock)
        self._scale_sets = ScaleSets(
            self._session,
            self._installation,
            api_url=settings.github_url,
            web_url=settings.github_web_url,
            organization=organization,
            now=now,
        )
        self._registrar = Registrar(self._session, self._installation, self._compute, self._grants)

    def handle(self, request: flask.Request) -> flask.Response:
        """Serve one request."""
        begun = self._clock()
        who: dict[str, Any] = {}
        reply = self._reply(request, who)
        self._log(
            {
                "severity": _severity(reply.status),
                "message": f"{request.method[:16]} {request.path[:64]}",
                "status": reply.status,
                "outcome": reply.body.get("error", "done"),
                **who,
                **reply.notes,
                "milliseconds": round((self._clock() - begun) * 1000),
            }
        )
        return flask.Response(
            json.dumps(reply.body), status=reply.status, headers=reply.headers, mimetype="application/json"
        )

    def _reply(self, request: flask.Request, who: dict[str, Any]) -> Reply:
        try:
            return self._serve(request, who)
        except RefusedError as error:
            headers = {"Allow": decide.METHODS[request.path]} if error.status == 405 else {}
            if error.status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            if error.status == 425:
                headers["Retry-After"] = str(PAUSE_SECONDS)
            return Reply(status=error.status, body={"error": error.code, "message": error.message}, headers=headers)
        except KeysUnavailableError:
            return _failure("keys_unavailable")
        except NoPlaceError as error:
            return _failure(error.code, cause=str(error))
        except AppKeyError as error:
            return _failure("app_key_wrong", cause=str(error))
        except UpstreamError as error:
            return _upstream(error)
        except Exception as error:  # noqa: BLE001 - a bug has a reply of its own, and its text may hold anything
            return _failure("internal", cause=f"{type(error).__name__} at {_place(error)}")

    def _serve(self, request: flask.Request, who: dict[str, Any]) -> Reply:
        deadline = self._session.deadline(BUDGET_SECONDS)
        decide.check_request(
            request.method, request.path, request.query_string, request.headers.get("Content-Type", ""), _body(request)
        )
        caller = self._verifier.caller(request.headers.get("Authorization"))
        who.update({"instance_id": caller.instance_id, "instance": caller.name, "zone": caller.zone})
        instance = self._compute.instance(caller.zone, caller.name, deadline)
        group = verdict(caller, instance, self._settings.fleet)
        who.update({"group": group.name, "pool": group.pool})
        match request.path:
            case "/deregister":
                return self._deregister(caller, group, deadline)
            case "/demand":
                return self._demand(group, deadline)
            case _:
                return self._jit(caller, group, instance or {}, deadline)

    def _jit(self, caller: Caller, group: Group, instance: Mapping[str, Any], deadline: Deadline) -> Reply:
        """Give the caller its one configuration."""
        standby = group.standby is not None
        if standby:
            # Before its age: while it is in reserve, an instance is neither too old nor in time.
            decide.check_wanted(self._compute.target(group, caller.instance_id, deadline))
        deadline_seconds = self._settings.boot_deadline_seconds
        boot = decide.boot(instance, boot_deadline_seconds=deadline_seconds, now=self._now(), standby=standby)
        place = self._place(caller, group, in_scale_set=group.signal == "jobs")
        # All that can fail without a grant comes before it: what is cut off here leaves nothing behind.
        place.seek(deadline)
        record = {
            "instance_id": caller.instance_id,
            "instance": caller.name,
            "zone": caller.zone,
            "group": group.name,
            "pool": group.pool,
            **place.record,
            "state": "registering",
            "since": _rfc3339(datetime.datetime.fromtimestamp(self._now(), datetime.UTC)),
        }
        grant = self._grants.claim(caller.instance_id, record, deadline)
        if grant is None:
            return _failure("grant_taken")
        return self._given(self._registrar.register(caller, place, grant, deadline), boot)

    def _given(self, end: Given | Stopped, boot: decide.Boot) -> Reply:
        if isinstance(end, Stopped):
            wait = self._installation.limited_seconds() if end.reason == "github_limited" else None
            return _failure(end.reason, wait=wait, cause=end.cause, grant=end.grant)
        body = {
            "jit_config": end.config,
            "runner_id": end.runner_id,
            "expires": _rfc3339(boot.until),
        }
        notes: dict[str, Any] = {"runner_id": end.runner_id, "recorded": end.recorded}
        if boot.seconds is not None:
            notes["boot_seconds"] = round(boot.seconds, 1)
        return Reply(status=200, body=body, notes=notes)

    def _place(self, caller: Caller, group: Group, *, in_scale_set: bool) -> Place:
        if in_scale_set:
            return ScaleSetPlace(self._scale_sets, caller, group)
        return OrganizationPlace(self._github, caller, group)

    def _demand(self, group: Group, deadline: Deadline) -> Reply:
        """What the demand listener last said of the caller's pool."""
        stored = self._pools.read(group.pool, deadline) if group.signal == "jobs" else None
        body = None if stored is None else demand.told(stored, group.pool, now=self._now())
        if body is None:
            cause = "the pool follows no jobs, or nothing was written" if stored is None else "the object is malformed"
            return _failure("no_demand", cause=cause)
        return Reply(status=200, body=body)

    def _deregister(self, caller: Caller, group: Group, deadline: Deadline) -> Reply:
        """Remove the caller's own runner: the one its grant names, or the one of its name that carries its id.

        The grant says where it was made: the pool may have changed its signal since.
        """
        grant = self._grants.read(caller.instance_id, deadline)
        if grant is None:
            return _failure("no_grant")
        place = self._place(caller, group, in_scale_set=grant.in_scale_set)
        runner_id = grant.runner_id
        if runner_id is None:
            found = place.find(deadline)
            runner_id = found[0].runner_id if decide.whose(found, caller) is Result.OURS else None
        if runner_id is not None and place.remove(runner_id, deadline) is Result.ALIVE:
            return _failure("busy", runner_id=runner_id)
        return Reply(status=200, body={"deregistered": True}, notes={"runner_id": runner_id})

    def _fetch_keys(self) -> Mapping[str, Any]:
        try:
            answer = self._session.call(
                "certs",
                "GET",
                self._settings.certs_url,
                deadline=self._session.deadline(CERTS_SECONDS),
                try_seconds=CERTS_SECONDS / 2,
            )
        except UpstreamError as error:
            raise KeysUnavailableError(str(error)) from None
        value = answer.json()
        if answer.status != 200 or not isinstance(value, dict):
            raise KeysUnavailableError(f"certs answered with HTTP {answer.status}")
        return value  # pyright: ignore[reportUnknownVariableType]


def _body(request: flask.Request) -> bytes:
    """The body, read to one byte beyond its limit."""
    if (request.content_length or 0) > decide.MOST_BODY_BYTES:
        return b" " * (decide.MOST_BODY_BYTES + 1)
    content = b""
    try:
        while len(content) <= decide.MOST_BODY_BYTES:
            piece = request.stream.read(decide.MOST_BODY_BYTES + 1 - len(content))
            if not piece:
                break
            content += piece
    except (HTTPException, OSError, ValueError):
        raise RefusedError(400, "body_malformed", "The body is not all there.") from None
    return content


def _failure(code: str, *, wait: float | None = None, **notes: Any) -> Reply:
    status, message = MESSAGES[code]
    headers = {"Retry-After": str(max(1, round(wait or PAUSE_SECONDS)))} if status > 500 else {}
    return Reply(status=status, body={"error": code, "message": message}, headers=headers, notes=notes)


def _upstream(error: UpstreamError) -> Reply:
    of_github = error.service in {app_token.SERVICE, scale_set.SERVICE}
    if of_github and error.status == 429:
        code = "github_limited"
    else:
        where = "github" if of_github else "google"
        code = f"{where}_{'unavailable' if error.passing else 'refused'}"
    return _failure(code, wait=error.retry_after_seconds, cause=str(error))


def _severity(status: int) -> str:
    if status >= 500:
        return "ERROR"
    # An instance in reserve asks every few seconds, and nothing is wrong with it.
    return "WARNING" if status >= 400 and status != 425 else "INFO"


def _place(error: Exception) -> str:
    """Where an exception comes from: file and line, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "?"


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
