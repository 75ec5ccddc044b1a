"""What the broker makes of what it sees: requests, ages, labels, and what follows each of GitHub's outcomes. Pure.

GitHub's call that creates a runner cannot be repeated blindly: when its answer is lost, a runner may be there whose
configuration nobody has. So a registration is a small machine. Its rules:

- what GitHub certainly did not do leaves no trace: the VM's grant is deleted, and the VM may ask again;
- after an outcome that nobody knows (`doubt`) only a configuration in hand settles the matter. Without one the grant
  stays for good. It holds the runner's name, so what may be left at GitHub is known to whoever clears up;
- a name that is taken is looked up. A runner that carries this very instance's id is what a lost answer left: it is
  removed, and made again. A runner of another instance goes only when that instance is proved gone;
- a scale set that is gone is looked up once by its name: the demand listener makes a missing one anew.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, cast

from .fleet_table import Group
from .identity import Caller, RefusedError

MOST_BODY_BYTES: Final = 1024
METHODS: Final[Mapping[str, str]] = {"/jit": "POST", "/deregister": "POST", "/demand": "GET"}
"""By path."""
WORK_FOLDER: Final = "_work"
MOST_CLASHES: Final = 4
"""How often a name may turn out to be taken before the broker gives up."""

MOST_CONFIG_CHARACTERS: Final = 65536
MOST_NAME_CHARACTERS: Final = 64
"""Of a runner's name at GitHub, as its registration form says (read 2026-11-25)."""

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_CONFIG: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_LABELLED_ID: Final = re.compile(r"instance-id=([1-9][0-9]{0,19})")
_LABELLED_ZONE: Final = re.compile(r"zone=([a-z]+-[a-z]+[0-9]+-[a-z0-9]{1,8})")


def check_request(method: str, path: str, query: bytes, content_type: str, body: bytes) -> None:
    """Whether a request is one that the broker knows; raises RefusedError. `body` may be cut off after its limit.

    An empty body may have any type: curl sends a form's, and the VM's scripts use curl.
    """
    if path not in METHODS:
        raise RefusedError(404, "no_such_path", "The broker has POST /jit, POST /deregister and GET /demand.")
    if method != METHODS[path]:
        raise RefusedError(405, "method_wrong", f"This path takes {METHODS[path]} alone.")
    if len(body) > MOST_BODY_BYTES:
        raise RefusedError(413, "body_too_large", f"A body has at most {MOST_BODY_BYTES} bytes.")
    if query:
        raise RefusedError(400, "unknown_field", "The broker takes no parameters.")
    if not body:
        return
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "type_wrong", "A body must be application/json.")
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise RefusedError(400, "body_malformed", "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "body_malformed", "The body is no JSON object.")
    if value:
        raise RefusedError(400, "unknown_field", "The body must be empty, or an empty object.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """An instance that is in time."""

    seconds: float | None
    """Since its creation, or its last start out of a reserve; None where it was suspended since."""
    until: datetime.datetime
    """When its time to register ends."""


def boot(instance: Mapping[str, Any], *, boot_deadline_seconds: int, now: float, standby: bool = False) -> Boot:
    """How an instance's boot stands; `now` in seconds since 1970. Raises RefusedError where its time is over.

    In a group with a reserve (`standby`) the time begins again with each start, and is twice as long: an instance runs
    in reserve for one boot deadline before it sleeps, and has another once it is wanted (bin/watch-boot counts alike).
    """
    seconds = boot_deadline_seconds * (2 if standby else 1)
    try:
        began = _moment(instance, "creationTimestamp")
        if standby:
            began = max(began, _moment(instance, "lastStartTimestamp", began))
            # Compute Engine does not say when it resumed an instance, so one that slept last may have any age. That is
            # safe: age is the lesser guard. An instance gets one configuration, ever, and only while its group means
            # it to run, which is looked at before this.
            if _moment(instance, "lastSuspendedTimestamp", began) > began:
                until = datetime.datetime.fromtimestamp(now + boot_deadline_seconds, datetime.UTC)
                return Boot(seconds=None, until=until)
        until = began + datetime.timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise RefusedError(403, "too_old", "Compute Engine does not say when the instance was made.") from None
    if now > until.timestamp():
        raise RefusedError(403, "too_old", f"An instance registers within {seconds} s of its creation or start.")
    return Boot(seconds=max(0.0, now - began.timestamp()), until=until)


def _moment(instance: Mapping[str, Any], key: str, otherwise: datetime.datetime | None = None) -> datetime.datetime:
    """A time of an instance. Raises ValueError and OverflowError for what is none."""
    value = instance.get(key)
    if otherwise is not None and not value:
        return otherwise
    return datetime.datetime.fromisoformat(str(value)).astimezone(datetime.UTC)


def check_wanted(target: str | None) -> None:
    """Whether an instance's group means it to run, by its `targetStatus` in the group's list; raises RefusedError.

    One that runs for the reserve is to be suspended or stopped soon: a runner there would take a job to sleep with it.
    """
    if target is None:
        raise RefusedError(403, "not_in_a_group", "The instance's group does not list it.")
    if target != "RUNNING":
        raise RefusedError(425, "standby", "The group holds this instance in reserve; ask again until it is wanted.")


def runner_name(instance_name: str, instance_id: str) -> str:
    """The name of a scale set's runner: its VM's, and the VM's id in base 36. No other VM can ever have the same.

    A scale set's call takes no labels of a runner's own, so its name tells whose it is. An id has 13 digits at most.
    """
    suffix = _base36(int(instance_id))
    return f"{instance_name[: MOST_NAME_CHARACTERS - 1 - len(suffix)]}-{suffix}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"


def runner_labels(group: Group, caller: Caller) -> list[str]:
    """The labels of a runner: its group's from the table, and what tells this VM from the others."""
    own = (f"zone={caller.zone}", f"hostname={caller.name}", f"instance-id={caller.instance_id}")
    return [*group.labels, *own]


class Step(Enum):
    """What a registration does next."""

    CREATE = "create"
    """Ask GitHub for a just-in-time configuration."""
    RENEW = "renew"
    """Get another token; then create."""
    SEEK = "seek"
    """Look the scale set up anew; then create."""
    FIND = "find"
    """Look who has the name."""
    PROVE = "prove"
    """Look whether the instance that the name's holder was made for is gone."""
    REMOVE = "remove"
    """Remove the name's holder."""
    GIVE = "give"
    """There is a configuration: the VM gets it."""
    STOP = "stop"
    """There is none: `Registration.reason` says why."""


class Result(Enum):
    """How a step ended."""

    CREATED = "created"
    TAKEN = "taken"
    """Nothing was created: the name is taken."""
    REFUSED = "refused"
    """Nothing was created, and trying again will not help."""
    UNAUTHORISED = "unauthorised"
    """Nothing was created: GitHub does not accept the token."""
    GONE = "gone"
    """Nothing was created: the scale set is not there."""
    LIMITED = "limited"
    """Nothing was created: too many requests."""
    UNSENT = "unsent"
    """Nothing was created: GitHub cannot be reached."""
    UNKNOWN = "unknown"
    """A runner may have been created, or may yet be."""
    DONE = "done"
    OURS = "ours"
    """The name's holder was made for this very instance."""
    OTHERS = "others"
    """It was made for another instance."""
    FOREIGN = "foreign"
    """It does not say for whom it was made."""
    NOBODY = "nobody"
    ALIVE = "alive"
    """The other instance exists, or its runner has a job."""
    FAILED = "failed"
    """A look or a removal was not possible."""
    LATE = "late"
    """There is no time for another try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where a registration stands. It begins as `Registration()`."""

    step: Step = Step.CREATE
    doubt: bool = False
    """A runner may be at GitHub whose configuration is lost."""
    clashes: int = 0
    renewed: bool = False
    sought: bool = False
    pause: bool = False
    """Wait before the step."""
    reason: str = ""
    """After STOP: the error code."""

    @property
    def keeps_grant(self) -> bool:
        """After STOP: whether the grant stays, so that this VM is refused for good."""
        return self.doubt


_AFTER: Final[Mapping[tuple[Step, Result], Step]] = {
    (Step.RENEW, Result.DONE): Step.CREATE,
    (Step.SEEK, Result.DONE): Step.CREATE,
    (Step.FIND, Result.OURS): Step.REMOVE,
    (Step.FIND, Result.OTHERS): Step.PROVE,
    (Step.FIND, Result.NOBODY): Step.CREATE,
    (Step.PROVE, Result.DONE): Step.REMOVE,
    (Step.REMOVE, Result.DONE): Step.CREATE,
}
"""What follows a step but CREATE; all else is the end."""

_REASONS: Final[Mapping[Result, str]] = {
    Result.TAKEN: "name_taken",
    Result.FOREIGN: "name_taken",
    Result.ALIVE: "name_taken",
    Result.GONE: "scale_set_missing",
    Result.FAILED: "github_unavailable",
}
"""Why a result is the end; all others mean that GitHub refuses."""


def follow(now: Registration, result: Result, *, last: Result | None = None) -> Registration:
    """The registration after a step's result. `last` is what LATE came after: it decides what the VM is told."""
    if result is Result.LATE:
        return _stopped(now, "github_limited" if last is Result.LIMITED else "github_unavailable")
    if now.step is Step.CREATE:
        return _after_create(now, result)
    step = _AFTER.get((now.step, result))
    if step is None:
        return _stopped(now, _REASONS.get(result, "github_refused"))
    return replace(now, step=step, pause=result is Result.NOBODY)


def _after_create(now: Registration, result: Result) -> Registration:
    match result:
        case Result.CREATED:
            return replace(now, step=Step.GIVE, doubt=False, pause=False)
        case Result.TAKEN if now.clashes < MOST_CLASHES:
            return replace(now, step=Step.FIND, clashes=now.clashes + 1, pause=False)
        case Result.UNAUTHORISED if not now.renewed:
            return replace(now, step=Step.RENEW, renewed=True, pause=False)
        case Result.GONE if not now.sought:
            return replace(now, step=Step.SEEK, sought=True, pause=False)
        case Result.LIMITED | Result.UNSENT | Result.UNKNOWN:
            return replace(now, pause=True, doubt=now.doubt or result is Result.UNKNOWN)
        case _:
            return _stopped(now, _REASONS.get(result, "github_refused"))


def _stopped(now: Registration, reason: str) -> Registration:
    return replace(now, step=Step.STOP, pause=False, reason="registration_unknown" if now.doubt else reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A runner at GitHub, as far as the broker's decisions need it."""

    runner_id: int
    instance_id: str | None
    """Of the instance that it was made for, by its label; None where the labels do not say."""
    zone: str | None


def runners_named(listing: Any, name: str) -> tuple[Runner, ...] | None:
    """The runners of that very name in GitHub's listing; None where it is no listing. GitHub folds labels' case."""
    entries = cast("dict[str, Any]", listing).get("runners") if isinstance(listing, dict) else None
    if not isinstance(entries, list):
        return None
    found: list[Runner] = []
    for entry in cast("list[Any]", entries):
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        runner_id, seen = fields.get("id"), fields.get("name")
        if not _is_id(runner_id) or not isinstance(seen, str):
            return None
        if seen.lower() == name.lower():
            labels = _label_names(fields.get("labels"))
            ids, zones = _only(_LABELLED_ID, labels), _only(_LABELLED_ZONE, labels)
            found.append(Runner(runner_id=cast("int", runner_id), instance_id=ids, zone=zones))
    return tuple(found)


def whose(runners: Sequence[Runner], caller: Caller) -> Result:
    """For whom the holder of a name was made."""
    if not runners:
        return Result.NOBODY
    if len(runners) > 1 or runners[0].instance_id is None or runners[0].zone is None:
        return Result.FOREIGN
    return Result.OURS if runners[0].instance_id == caller.instance_id else Result.OTHERS


def ids_named(listing: Any, name: str, **more: int) -> tuple[int, ...] | None:
    """The ids of what has that very name, and these numbers, in a list of the Actions service; None where it is none.

    The service is asked for nothing else; what it lists is not taken on trust.
    """
    entries = cast("dict[str, Any]", listing).get("value") if isinstance(listing, dict) else None
    if not isinstance(entries, list):
        return None
    found: list[int] = []
    for entry in cast("list[Any]", entries):
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        number, seen = fields.get("id"), fields.get("name")
        if not _is_id(number) or not isinstance(seen, str):
            return None
        if seen.lower() == name.lower() and all(fields.get(key) == value for key, value in more.items()):
            found.append(cast("int", number))
    return tuple(found)


def agents_of(runner_ids: Sequence[int], name: str, caller: Caller) -> tuple[Runner, ...]:
    """Runners of a scale set that have a name: the caller's where the name carries its id, else nobody knows whose."""
    own = name == runner_name(caller.name, caller.instance_id)
    instance_id, zone = (caller.instance_id, caller.zone) if own else (None, None)
    return tuple(Runner(runner_id=each, instance_id=instance_id, zone=zone) for each in runner_ids)


def created_runner(answer: Any, name: str) -> tuple[int, str] | None:
    """Runner id and configuration of the REST call's answer; None where it is not one for that name."""
    return _created(answer, name, "encoded_jit_config", {})


def created_agent(answer: Any, name: str, scale_set_id: int) -> tuple[int, str] | None:
    """The same of the Actions service's answer; None also where it is for another scale set."""
    return _created(answer, name, "encodedJITConfig", {"runnerScaleSetId": scale_set_id})


def _created(answer: Any, name: str, key: str, more: Mapping[str, int]) -> tuple[int, str] | None:
    fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    runner, config = fields.get("runner"), fields.get(key)
    about = cast("dict[str, Any]", runner) if isinstance(runner, dict) else {}
    runner_id = about.get("id")
    if not _is_id(runner_id) or about.get("name") != name or not isinstance(config, str):
        return None
    if any(about.get(other) != value for other, value in more.items()):
        return None
    if len(config) > MOST_CONFIG_CHARACTERS or not _CONFIG.fullmatch(config):
        return None
    return cast("int", runner_id), config


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _label_names(labels: Any) -> list[str]:
    entries = cast("list[Any]", labels) if isinstance(labels, list) else []
    names = [cast("dict[str, Any]", entry).get("name") for entry in entries if isinstance(entry, dict)]
    return [name.lower() for name in names if isinstance(name, str)]


def _only(form: re.Pattern[str], labels: Sequence[str]) -> str | None:
    """What the one label of a form says; None where none or several have it."""
    found = [match.group(1) for label in labels if (match := form.fullmatch(label))]
    return found[0] if len(found) == 1 else None
