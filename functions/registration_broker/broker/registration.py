"""Carries out a registration: `decide` says what comes next, the clients do it, and the grant is settled at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import decide
from .clients.app_token import AppKeyError, Installation
from .clients.compute import Compute
from .clients.session import Deadline, Session, UpstreamError
from .clients.storage import Grant, Grants
from .decide import Registration, Result, Step
from .identity import Caller
from .places import NoPlaceError, Place

SETTLING_SECONDS: Final = 8.0
"""Kept back of a request's time for writing down, or deleting, the grant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A configuration, and the runner that it is for."""

    runner_id: int
    config: str
    recorded: bool
    """Whether the grant names the runner's id; else it is to be found by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """No configuration."""

    reason: str
    """The error code."""
    grant: str
    """What became of the grant: `free`, `kept` or `stuck`, which is kept because it could not be deleted."""
    cause: str
    """For the log: the services and statuses that led here."""


class Registrar:
    """Registers VMs that have a grant."""

    def __init__(self, session: Session, installation: Installation, compute: Compute, grants: Grants) -> None:
        self._session = session
        self._installation = installation
        self._compute = compute
        self._grants = grants

    def register(self, caller: Caller, place: Place, grant: Grant, deadline: Deadline) -> Given | Stopped:
        """Give the caller its configuration, or say why not. The grant is settled in either case.

        Whatever is raised here is a bug: then the grant stays, and the VM is refused for good.
        """
        attempt = Attempt(
            self._session, self._installation, self._compute, caller, place, deadline.before(SETTLING_SECONDS)
        )
        end = attempt.run()
        if attempt.created is not None:
            runner_id, config = attempt.created
            record = {**place.record, "state": "registered", "runner_id": runner_id}
            return Given(runner_id=runner_id, config=config, recorded=self._amend(grant, record, deadline))
        cause = ", ".join(attempt.causes)
        if end.keeps_grant:
            self._amend(grant, {**place.record, "state": "unknown"}, deadline)
            return Stopped(reason=end.reason, grant="kept", cause=cause)
        try:
            self._grants.free(grant, deadline)
        except UpstreamError as error:
            return Stopped(reason="grant_stuck", grant="stuck", cause=f"{cause}, {error}")
        if end.reason == "github_refused":
            place.forget()
        return Stopped(reason=end.reason, grant="free", cause=cause)

    def _amend(self, grant: Grant, record: Mapping[str, Any], deadline: Deadline) -> bool:
        """Write down how it ended; the VM's configuration does not depend on it."""
        try:
            self._grants.amend(grant, record, deadline)
        except UpstreamError:
            return False
        return True


class Attempt:
    """One run of the machine in `decide`."""

    def __init__(
        self,
        session: Session,
        installation: Installation,
        compute: Compute,
        caller: Caller,
        place: Place,
        deadline: Deadline,
    ) -> None:
        self._session = session
        self._installation = installation
        self._compute = compute
        self._caller = caller
        self._place = place
        self._deadline = deadline
        self._holder: decide.Runner | None = None
        self.created: tuple[int, str] | None = None
        self.causes: list[str] = []

    def run(self) -> Registration:
        """Go on until there is a configuration or none can be had; the registration as it stands then."""
        now = Registration()
        pauses = 0
        while now.step not in {Step.GIVE, Step.STOP}:
            result = self._do(now.step)
            if result is not Result.DONE:
                self.causes.append(f"{now.step.value}: {result.value}")
            now = decide.follow(now, result)
            if now.pause:
                wait = self._installation.limited_seconds() if result is Result.LIMITED else None
                if not self._session.pause(pauses, self._deadline, at_least=wait):
                    now = decide.follow(now, Result.LATE, last=result)
                pauses += 1
        return now

    def _do(self, step: Step) -> Result:
        try:
            match step:
                case Step.CREATE:
                    result, self.created = self._place.create(self._deadline)
                    return result
                case Step.RENEW:
                    self._place.renew(self._deadline)
                    return Result.DONE
                case Step.SEEK:
                    self._place.forget()
                    self._place.seek(self._deadline)
                    return Result.DONE
                case Step.FIND:
                    return self._find()
                case Step.PROVE:
                    return self._prove()
                case _:
                    assert self._holder is not None
                    return self._place.remove(self._holder.runner_id, self._deadline)
        except NoPlaceError:
            return Result.GONE
        except (UpstreamError, AppKeyError) as error:
            self.causes.append(str(error))
            return Result.FAILED

    def _find(self) -> Result:
        found = self._place.find(self._deadline)
        self._holder = found[0] if len(found) == 1 else None
        return decide.whose(found, self._caller)

    def _prove(self) -> Result:
        """Whether the holder's instance is gone: no such instance in its zone, or one with another id."""
        holder = self._holder
        assert holder is not None
        assert holder.zone is not None
        instance = self._compute.instance(holder.zone, self._caller.name, self._deadline)
        gone = instance is None or str(instance.get("id")) != holder.instance_id
        return Result.DONE if gone else Result.ALIVE
