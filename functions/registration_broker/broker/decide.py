"""What the broker makes of what it sees: requests, ages, labels, and what follows each of GitHub's outcomes. Pure.

GitHub's call that creates a runner cannot be repeated blindly: when its answer is lost, a runner may be there whose
configuration nobody has. So a registration is a small machine. Its rules:

- what GitHub certainly did not do leaves no trace: the VM's grant is deleted, and the VM may ask again;
- after an outcome that nobody knows (`doubt`) only a configuration in hand settles the matter. Without one the grant
  stays for good. It holds the runner's name, so what may be left at GitHub is known to whoever clears up;
- a name that is taken is looked up. A runner that carries this very instance's id is what a lost answer left: it is
  removed, and made again. A runner of another instance goes only when that instance is proved gone.
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
PATHS: Final = ("/jit", "/deregister")
WORK_FOLDER: Final = "_work"
MOST_CLASHES: Final = 4
"""How often a name may turn out to be taken before the broker gives up."""

MOST_CONFIG_CHARACTERS: Final = 65536
_CONFIG: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_LABELLED_ID: Final = re.compile(r"instance-id=([1-9][0-9]{0,19})")
_LABELLED_ZONE: Final = re.compile(r"zone=([a-z]+-[a-z]+[0-9]+-[a-z0-9]{1,8})")


def check_request(method: str, path: str, query: bytes, content_type: str, body: bytes) -> None:
    """Whether a request is one that the broker knows; raises RefusedError. `body` may be cut off after its limit.

    An empty body may have any type: curl sends a form's, and the VM's scripts use curl.
    """
    if path not in PATHS:
        raise RefusedError(404, "no_such_path", "The broker has POST /jit and POST /deregister.")
    if method != "POST":
        raise RefusedError(405, "method_wrong", "The broker takes POST alone.")
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


def register_until(instance: Mapping[str, Any], *, boot_deadline_seconds: int, now: float) -> datetime.datetime:
    """When an instance's time to register ends; `now` in seconds since 1970. Raises RefusedError where it has."""
    try:
        created = datetime.datetime.fromisoformat(str(instance.get("creationTimestamp")))
        until = created.astimezone(datetime.UTC) + datetime.timedelta(seconds=boot_deadline_seconds)
    except (ValueError, OverflowError):
        raise RefusedError(403, "too_old", "Compute Engine does not say when the instance was made.") from None
    if now > until.timestamp():
        raise RefusedError(403, "too_old", f"An instance registers within {boot_deadline_seconds} s of its creation.")
    return until


def runner_labels(group: Group, caller: Caller) -> list[str]:
    """The labels of a runner: its group's from the table, and what tells this VM from the others."""
    own = (f"zone={caller.zone}", f"hostname={caller.name}", f"instance-id={caller.instance_id}")
    return [*group.labels, *own]


class Step(Enum):
    """What a registration does next."""

    CREATE = "create"
    """Ask GitHub for a just-in-time configuration."""
    RENEW = "renew"
    """Get another installation token; then create."""
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
    pause: bool = False
    """Wait before the step."""
    reason: str = ""
    """After STOP: the error code."""

    @property
    def keeps_grant(self) -> bool:
        """After STOP: whether the grant stays, so that this VM is refused for good."""
        return self.doubt


_AFTER_FIND: Final = {Result.OURS: Step.REMOVE, Result.OTHERS: Step.PROVE, Result.NOBODY: Step.CREATE}


def follow(now: Registration, result: Result, *, last: Result | None = None) -> Registration:
    """The registration after a step's result. `last` is what LATE came after: it decides what the VM is told."""
    if result is Result.LATE:
        reason = "github_limited" if last is Result.LIMITED else "github_unavailable"
        return _stopped(now, reason)
    match now.step:
        case Step.CREATE:
            return _after_create(now, result)
        case Step.RENEW if result is Result.DONE:
            return replace(now, step=Step.CREATE, renewed=True, pause=False)
        case Step.FIND if result in _AFTER_FIND:
            return replace(now, step=_AFTER_FIND[result], pause=result is Result.NOBODY)
        case Step.PROVE if result is Result.DONE:
            return replace(now, step=Step.REMOVE, pause=False)
        case Step.REMOVE if result is Result.DONE:
            return replace(now, step=Step.CREATE, pause=False)
        case _:
            taken = result in {Result.FOREIGN, Result.ALIVE}
            return _stopped(now, "name_taken" if taken else "github_unavailable")


def _after_create(now: Registration, result: Result) -> Registration:
    match result:
        case Result.CREATED:
            return replace(now, step=Step.GIVE, doubt=False, pause=False)
        case Result.TAKEN if now.clashes < MOST_CLASHES:
            return replace(now, step=Step.FIND, clashes=now.clashes + 1, pause=False)
        case Result.TAKEN:
            return _stopped(now, "name_taken")
        case Result.UNAUTHORISED if not now.renewed:
            return replace(now, step=Step.RENEW, pause=False)
        case Result.FAILED:
            return _stopped(now, "github_unavailable")
        case Result.LIMITED | Result.UNSENT:
            return replace(now, pause=True)
        case Result.UNKNOWN:
            return replace(now, pause=True, doubt=True)
        case _:
            return _stopped(now, "github_refused")


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


def created_runner(answer: Any, name: str) -> tuple[int, str] | None:
    """Runner id and configuration of GitHub's answer; None where it is not one for that name."""
    fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    runner, config = fields.get("runner"), fields.get("encoded_jit_config")
    about = cast("dict[str, Any]", runner) if isinstance(runner, dict) else {}
    runner_id = about.get("id")
    if not _is_id(runner_id) or about.get("name") != name or not isinstance(config, str):
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
