"""The deleter's three operations over HTTP: requests in, replies out, one log line each.

`DELETE /` ends the calling VM through its group; `POST /retire` asks whether it may leave, being surplus or drained;
`DELETE /retire` gives that permit back. A VM that an operator holds is neither ended nor let go. Whom it concerns
follows from the proven identity alone; a request names nobody.
Replies are JSON, errors {"error": CODE, "message": sentence}; docs/openapi/instance-deleter.yaml has them all.
Nothing that another service said is passed on or logged, but its status.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import flask

from . import decide, marks
from .clients.compute import Compute
from .clients.session import Deadline, GoogleToken, Session, UpstreamError
from .clients.storage import Storage
from .decide import Ended, LedgerUnreadableError, Reason
from .departure import Departure, OperationFailedError
from .fleet_table import Group
from .identity import Caller, Keys, KeysUnavailableError, RefusedError, Verifier, verdict
from .permits import ContendedError, Permits
from .settings import Settings

RETIRE_SECONDS: Final = 25.0
"""For all of a request about a permit. The VM waits 30 (startup/lib/retire.py), and then takes it for unknown."""
DELETE_SECONDS: Final = 45.0
"""For all of a deletion. The VM's own limit is 60 (startup/lib/common.sh)."""
CERTS_SECONDS: Final = 6.0
PAUSE_SECONDS: Final = 5
"""What Retry-After says where no service has said more."""

LEAVING: Final = frozenset({"RUNNING", "STOPPING"})
"""A VM that stops may still ask to be deleted, and give its permit back."""

MESSAGES: Final[Mapping[str, tuple[int, str]]] = {
    "operation_failed": (502, "The group took the order to end this instance, and failed."),
    "google_refused": (502, "Google Cloud refuses the deleter."),
    "google_unavailable": (503, "Google Cloud did not answer as it should."),
    "keys_unavailable": (503, "Google's signing keys cannot be fetched, so nobody can be recognised."),
    "ledger_contended": (503, "Too many instances wrote the ledger of permits at once, or answers got lost."),
    "ledger_unreadable": (503, "The ledger of permits cannot be read; it is being rebuilt."),
    "internal": (500, "The deleter has a bug; its log names it."),
}
"""Every code that is no refusal of `identity`, `decide` or `departure`: status and message."""


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


class Deleter:
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
        project = settings.fleet.project
        keys = Keys(self._fetch_keys, clock)
        self._verifier = Verifier(keys, audience=settings.audience, project=project, now=now)
        self._compute = Compute(self._session, google, settings.compute_url, project)
        ledgers = Storage(self._session, google, settings.storage_url, settings.permits_bucket)
        demand = Storage(self._session, google, settings.storage_url, settings.demand_bucket)
        self._permits = Permits(self._session, self._compute, ledgers, demand, now)
        self._departure = Departure(self._session, self._compute)

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
                "outcome": reply.body.get("error") or reply.body.get("reason") or "done",
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
            headers = {"Allow": decide.allowed(request.path)} if error.status == 405 else {}
            if error.status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            return Reply(status=error.status, body={"error": error.code, "message": error.message}, headers=headers)
        except KeysUnavailableError:
            return _failure("keys_unavailable")
        except UpstreamError as error:
            code = "google_unavailable" if error.passing else "google_refused"
            return _failure(code, wait=error.retry_after_seconds, cause=str(error))
        except OperationFailedError:
            return _failure("operation_failed")
        except ContendedError:
            return _failure("ledger_contended")
        except LedgerUnreadableError as error:
            return _failure("ledger_unreadable", cause=str(error))
        except Exception as error:  # noqa: BLE001 - a bug has a reply of its own, and its text may hold anything
            return _failure("internal", cause=f"{type(error).__name__} at {_place(error)}")

    def _serve(self, request: flask.Request, who: dict[str, Any]) -> Reply:
        deletes = request.path == "/"
        deadline = self._session.deadline(DELETE_SECONDS if deletes else RETIRE_SECONDS)
        decide.check_request(
            request.method, request.path, request.query_string, request.headers.get("Content-Type", ""), _body(request)
        )
        caller = self._verifier.caller(request.headers.get("Authorization"))
        who.update({"instance_id": caller.instance_id, "instance": caller.name, "zone": caller.zone})
        instance = self._compute.instance(caller.zone, caller.name, deadline)
        if deletes and instance is None:
            return Reply(status=200, body={"deleting": True}, notes={"cause": "it is gone"})
        asks = request.method == "POST"
        group = verdict(caller, instance, self._settings.fleet, statuses={"RUNNING"} if asks else LEAVING)
        who.update({"group": group.name, "pool": group.pool})
        if asks:
            return self._permit(caller, group, instance or {}, deadline)
        if not deletes:
            self._permits.give_back(caller, group, deadline)
            return Reply(status=200, body={"returned": True})
        if instance is not None and instance.get("status") == "STOPPING":
            return Reply(status=200, body={"deleting": True}, notes={"cause": "it stops already"})
        if marks.held(instance or {}, self._now()):
            raise RefusedError(423, "on_hold", "An operator holds this instance for a while.")
        done = self._departure.end(caller, group, deadline) is Ended.WELL
        return Reply(status=200 if done else 202, body={"deleting": True})

    def _permit(self, caller: Caller, group: Group, instance: Mapping[str, Any], deadline: Deadline) -> Reply:
        """Whether a VM may leave. What an operator has written on it is read afresh."""
        if marks.held(instance, self._now()):
            return Reply(status=200, body={"permit": False, "reason": Reason.ON_HOLD.value})
        drained = marks.drained(instance)
        answer = self._permits.ask(caller, group, deadline, drained=drained)
        return Reply(
            status=200,
            body={"permit": answer.permit, "reason": answer.reason.value},
            notes={"drained": True} if drained else {},
        )

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
    while len(content) <= decide.MOST_BODY_BYTES:
        piece = request.stream.read(decide.MOST_BODY_BYTES + 1 - len(content))
        if not piece:
            break
        content += piece
    return content


def _failure(code: str, *, wait: float | None = None, **notes: Any) -> Reply:
    status, message = MESSAGES[code]
    headers = {"Retry-After": str(max(1, round(wait or PAUSE_SECONDS)))} if status > 500 else {}
    return Reply(status=status, body={"error": code, "message": message}, headers=headers, notes=notes)


def _severity(status: int) -> str:
    if status >= 500:
        return "ERROR"
    return "WARNING" if status >= 400 else "INFO"


def _place(error: Exception) -> str:
    """Where an exception comes from: function and line, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "?"
