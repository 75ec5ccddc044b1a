"""One run over HTTP: looks, decides, acts, reports, and answers with its counters.

`POST /`, which Cloud Scheduler sends and Cloud IAM guards. Of two runs at once the second does nothing: who runs stands
in the object that sightings are kept in. What a run found is in a report object, in log lines and in gauges. A report
or gauge that cannot be written disturbs nothing; a memory that cannot be written ends the run before it acts.
Nothing that another service said is passed on or logged, but its status.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import flask

from . import memory, report
from .budget import Budget, BudgetedSession
from .clients.app_token import AppKeyError, Installation
from .clients.compute import Compute
from .clients.github import GitHub
from .clients.monitoring import Monitoring
from .clients.secrets import Secrets
from .clients.session import Deadline, GoogleToken, Session, UpstreamError
from .clients.storage import Storage
from .decide import CLOCK, Decision, judge, ordered
from .departure import ChangedError, Departure
from .gather import WORKERS, Gather, Sources
from .limits import CLOCK_SECONDS
from .memory import Claim, Memory
from .report import Outcome
from .settings import Settings

RUN_SECONDS: Final = 240.0
"""For all of a run. The next call comes after 300."""
REPORT_SECONDS: Final = 30.0
"""Kept back for the memory, the report and the gauges."""
ACT_SECONDS: Final = 60.0
"""Kept back for acting."""
CLAIM_SECONDS: Final = RUN_SECONDS + 30.0
"""How long a run keeps others away, by the wall clock. A run that died holds up the next one at most."""
ACTION_SECONDS: Final = 10.0
"""For one remedy."""
MOST_WRITES: Final = 4
"""How often the memory is tried again."""

MEMORY: Final = "sightings.json"
LATEST: Final = "reports/latest.json"

MESSAGES: Final[Mapping[str, tuple[int, str]]] = {
    "no_such_path": (404, "The reconciler has POST / alone."),
    "method_wrong": (405, "This path takes POST alone."),
    "memory_unavailable": (503, "What earlier runs saw cannot be read or written, so nothing was done."),
    "internal": (500, "The reconciler has a bug; its log names it."),
}
"""Every error code: status and message."""


def write_line(entry: Mapping[str, Any]) -> None:
    """Log: one JSON object a line on stdout, as Cloud Logging parses it."""
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


class MemoryUnavailableError(Exception):
    """The memory could not be read, or not be written. The text says which service failed how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """A memory that was written, and by how much Cloud Storage's clock differed."""

    generation: str
    seconds_apart: float


class Reconciler:
    """The function. Make one per process."""

    def __init__(
        self,
        settings: Settings,
        *,
        budget: Budget | None = None,
        session: Session | None = None,
        token: Callable[[Deadline], str] | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[Mapping[str, Any]], None] = write_line,
        workers: int = WORKERS,
    ) -> None:
        """`token` gives the function's own access token; google-auth does unless told otherwise.

        A `session` of the caller's counts in the `budget` only if it was made so. One of `workers` means no threads.
        """
        self._limits = settings.limits
        self._budget = budget or Budget()
        self._session = session or BudgetedSession(self._budget)
        self._workers = workers
        self._now = now
        self._clock = clock
        self._log = log
        google = token or GoogleToken(self._session)
        secrets = Secrets(self._session, google, settings.secrets_url)
        installation = Installation(
            self._session,
            settings.github_url,
            app_id=settings.app_id,
            installation_id=settings.installation_id,
            key=lambda deadline: secrets.text(settings.app_key_secret, deadline),
            agent="runner-fleet-reconciler",
            now=now,
            clock=clock,
        )

        def bucket(name: str) -> Storage:
            return Storage(self._session, google, settings.storage_url, name)

        self._own = bucket(settings.bucket)
        self._sources = Sources(
            github=GitHub(installation, settings.fleet.organization),
            compute=Compute(self._session, google, settings.compute_url, settings.fleet.project),
            grants=bucket(settings.grants_bucket),
            permits=bucket(settings.permits_bucket),
            listener=bucket(settings.listener_bucket),
        )
        self._fleet = settings.fleet
        fleet = settings.fleet
        self._monitoring = Monitoring(
            self._session, google, settings.monitoring_url, project=fleet.project, environment=fleet.environment
        )
        self._departure = Departure(
            self._sources.compute, self._sources.github, self._sources.grants, settings.fleet, now
        )

    def handle(self, request: flask.Request) -> flask.Response:
        """Serve one request."""
        status, body = self._reply(request.method, request.path)
        headers = {"Allow": "POST"} if status == 405 else {}
        return flask.Response(json.dumps(body), status=status, headers=headers, mimetype="application/json")

    def _reply(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        if path != "/":
            return _failure("no_such_path")
        if method != "POST":
            return _failure("method_wrong")
        try:
            return 200, self.run()
        except MemoryUnavailableError as error:
            self._log_failure("memory_unavailable", str(error))
            return _failure("memory_unavailable")
        except Exception as error:  # noqa: BLE001 - a bug has a reply of its own, and its text may hold anything
            self._log_failure("internal", f"{type(error).__name__} at {_place(error)}")
            return _failure("internal")

    def _log_failure(self, code: str, because: str) -> None:
        self._log({"severity": "ERROR", "message": "not reconciled", "outcome": code, "because": because})

    def run(self) -> dict[str, Any]:
        """One run; its counters. Raises MemoryUnavailableError, after which nothing was done."""
        self._budget.begin()
        begun = self._clock()
        deadline = self._session.deadline(RUN_SECONDS)
        claimed = self._claim(deadline)
        if claimed is None:
            self._log({"severity": "INFO", "message": "another run is under way"})
            return {"outcome": "another_run"}
        before, written, claim = claimed
        looking = deadline.before(REPORT_SECONDS + ACT_SECONDS)
        seen = Gather(self._sources, self._fleet, self._limits, self._now, self._workers).observe(looking)
        seen = replace(seen, failures={**seen.failures, **self._clock_failure(written)})
        now = self._now()
        plan = judge(before, seen, self._limits, now)
        # What was seen is kept before anything is done: a run that dies half-way has still been one of two.
        written = self._keep(replace(plan.memory, claim=claim), written.generation, deadline)
        wrong = self._clock_failure(written).get(CLOCK, "")
        outcomes = self._act(plan.decisions, claim, wrong, deadline.before(REPORT_SECONDS))
        done = frozenset(outcome.decision.finding.key for outcome in outcomes if outcome.done)
        try:
            self._keep(ordered(plan.memory, done), written.generation, deadline)
        except MemoryUnavailableError as error:
            # The claim then lapses by itself.
            self._log({"severity": "WARNING", "message": "the claim stays", "because": str(error)})
        counted = {"outcome": "done", **report.counters(outcomes, dry_run=self._limits.dry_run)}
        counted["asked"] = self._budget.asked
        reported = self._report(outcomes, plan.gauges, counted, now, deadline)
        counted = {**counted, **reported, "milliseconds": round((self._clock() - begun) * 1000)}
        for outcome in outcomes:
            self._log(report.line(outcome))
        self._log({"severity": "INFO", "message": "reconciled", **counted})
        return counted

    # The memory.

    def _claim(self, deadline: Deadline) -> tuple[Memory, Clocked, Claim] | None:
        """The memory, what was written of it, and this run's claim on it; None where another run is under way."""
        try:
            stored = self._own.read(MEMORY, deadline)
        except UpstreamError as error:
            raise MemoryUnavailableError(str(error)) from None
        known, now = memory.parse(stored.data), self._now()
        if known.claim is not None and now < known.claim.until <= now + CLAIM_SECONDS:
            return None
        claim = Claim(holder=uuid.uuid4().hex, until=now + CLAIM_SECONDS)
        written = self._write(replace(known, claim=claim), stored.generation, deadline)
        # Written by another first, or nobody knows: in either case this is no run.
        return (known, written, claim) if written else None

    def _keep(self, known: Memory, generation: str, deadline: Deadline) -> Clocked:
        """Write the memory. A write whose answer was lost is read back."""
        attempt = 0
        while True:
            written = self._write(known, generation, deadline)
            if written:
                return written
            try:
                stored = self._own.read(MEMORY, deadline)
            except UpstreamError as error:
                raise MemoryUnavailableError(str(error)) from None
            if stored.data == known.text():
                return Clocked(generation=stored.generation, seconds_apart=0.0)
            if stored.generation != generation:
                raise MemoryUnavailableError("the memory was written by another")
            # One object takes about one change a second (Cloud Storage's quotas, read 2026-11-25).
            if not self._session.pause(attempt, deadline, at_least=1.0) or attempt == MOST_WRITES:
                raise MemoryUnavailableError("the memory could not be written")
            attempt += 1

    def _write(self, known: Memory, generation: str, deadline: Deadline) -> Clocked | None:
        before = self._now()
        try:
            written = self._own.write(MEMORY, known.text(), generation, deadline)
        except UpstreamError as error:
            raise MemoryUnavailableError(str(error)) from None
        if written is None:
            return None
        # It was written between the two looks at the clock.
        apart = max(before - written.at, written.at - self._now(), 0.0)
        return Clocked(generation=written.generation, seconds_apart=apart)

    @staticmethod
    def _clock_failure(written: Clocked) -> dict[str, str]:
        """That this function's clock is wrong, where Cloud Storage's says another time."""
        if written.seconds_apart <= CLOCK_SECONDS:
            return {}
        return {CLOCK: f"it differs from Cloud Storage's by {written.seconds_apart:.0f} s, so no age is known"}

    # Acting and reporting.

    def _act(self, decisions: Sequence[Decision], claim: Claim, wrong: str, deadline: Deadline) -> list[Outcome]:
        """Carry out what is due, unless the clock is `wrong`. One failure hinders no other."""
        return [self._carry_out(decision, claim, wrong, deadline) for decision in decisions]

    def _carry_out(self, decision: Decision, claim: Claim, wrong: str, deadline: Deadline) -> Outcome:
        remedy = decision.remedy
        if remedy is None:
            return Outcome(decision=decision)
        if wrong:
            return Outcome(decision=decision, failure=f"the clock: {wrong}")
        soon = deadline.before(max(0.0, deadline.left() - ACTION_SECONDS))
        if self._now() >= claim.until or soon.left() < ACTION_SECONDS / 2:
            return Outcome(decision=decision, failure="this run's time is over")
        try:
            sighting = decision.sighting
            self._departure.carry_out(remedy, decision.finding.kind, sighting.orders, sighting.since, soon)
        except (UpstreamError, AppKeyError, ChangedError) as error:
            return Outcome(decision=decision, failure=str(error))
        return Outcome(decision=decision)

    def _report(
        self,
        outcomes: Sequence[Outcome],
        gauges: Mapping[tuple[str, str], int],
        counted: Mapping[str, Any],
        now: float,
        deadline: Deadline,
    ) -> dict[str, bool]:
        """Write the report twice, and the gauges; what of it was taken."""
        text = report.document(outcomes, gauges, {"written": memory.rfc3339(now), **counted})
        when = datetime.datetime.fromtimestamp(now, datetime.UTC)
        try:
            written = [self._own.replace(name, text, deadline) for name in (LATEST, _dated(when))]
        except UpstreamError:
            written = [False]
        return {"reported": all(written), "measured": self._monitoring.write(gauges, when, deadline)}


def _dated(when: datetime.datetime) -> str:
    return f"reports/{when.isoformat(timespec='seconds').replace('+00:00', 'Z')}.json"


def _failure(code: str) -> tuple[int, dict[str, Any]]:
    status, message = MESSAGES[code]
    return status, {"error": code, "message": message}


def _place(error: Exception) -> str:
    """Where an exception comes from: function and line, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "?"
