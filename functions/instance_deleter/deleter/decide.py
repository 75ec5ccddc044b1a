"""What the deleter decides, pure: whether an idle VM may leave, how the ledger changes, what an operation's end means.

One ledger per group holds the permits that were given. It is read, judged and written back on the condition that
nobody wrote it meanwhile, so permits are given one after the other. Nothing is locked: who dies half-way leaves the
ledger as it was, or with a permit that its VM keeps, gives back, or takes along when it goes.

The order of looking is part of the safety (`READS`). A VM that leaves lowers the group's target size at once and is
among its members for a while longer. So members are read before the size: a holder who is gone from the members has
already lowered the size that is read after. The other way round, a holder who leaves between the two looks would be
counted in neither, and its place be given twice. tests/functions/deleter/test_deleter_search.py explores all of it.

A VM may leave because it is surplus (`ask`), or because an operator drains it (`ask_drained`): then another takes its
place, so only so many may be missing at once. Both count in the one ledger. Nobody may leave whom an operator holds.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, cast

from .identity import RefusedError

READS: Final = ("ledger", "members", "size", "wanted")
"""In this order, and then the ledger is written: members before the size (above), the ledger before everything."""

_ID: Final = re.compile(r"[1-9][0-9]{0,19}")
_REQUESTS: Final = uuid.UUID("0d6f1f0c-9a4b-4a0e-8f2e-6f2f4f0c7b11")
"""Namespace of request ids; any constant does."""


MOST_BODY_BYTES: Final = 1024
METHODS: Final[Mapping[str, tuple[str, ...]]] = {"/": ("DELETE",), "/retire": ("POST", "DELETE")}
"""The operations, by path."""


def allowed(path: str) -> str:
    """What a path's Allow header says."""
    return ", ".join(METHODS.get(path, ()))


def check_request(method: str, path: str, query: bytes, content_type: str, body: bytes) -> None:
    """Whether a request is one that the deleter knows; raises RefusedError. `body` may be cut off after its limit.

    An empty body may have any type: curl sends a form's, and the VM's scripts use curl. Nothing else may be said at
    all, so nobody can take a parameter for one that names a VM.
    """
    if path not in METHODS:
        raise RefusedError(404, "no_such_path", "The deleter has DELETE /, POST /retire and DELETE /retire.")
    if method not in METHODS[path]:
        raise RefusedError(405, "method_wrong", f"This path takes {' and '.join(METHODS[path])} alone.")
    if len(body) > MOST_BODY_BYTES:
        raise RefusedError(413, "body_too_large", f"A body has at most {MOST_BODY_BYTES} bytes.")
    if query:
        raise RefusedError(400, "unknown_field", "The deleter takes no parameters.")
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


class Reason(Enum):
    """Why there is, or is not, a permit. The value is what the reply says."""

    GRANTED = "granted"
    HELD = "held"
    """This VM has had its permit before: an answer was lost, or it asks twice."""
    FIXED_POOL = "fixed_pool"
    """The pool's size is fixed; none of it is ever surplus (ADR 0011)."""
    NOT_A_MEMBER = "not_a_member"
    """The group does not list this VM, or is already taking it away."""
    GROUP_UNSTABLE = "group_unstable"
    """The group is changing, so its size says little."""
    NO_RECOMMENDATION = "no_recommendation"
    """No autoscaler says how many VMs are wanted. An absent number is not 0."""
    NO_DEMAND = "no_demand"
    """Nobody has written how many VMs the jobs want."""
    DEMAND_STALE = "demand_stale"
    """What was written is no longer valid, or cannot be read."""
    AT_MINIMUM = "at_minimum"
    """The group is no larger than the pool's minimum."""
    NO_SURPLUS = "no_surplus"
    """All of the group's VMs are wanted."""
    ALL_GIVEN = "all_given"
    """As many VMs as are surplus may leave already."""
    MOST_MISSING = "most_missing"
    """It is to be drained, and as many VMs of its group as may be missing at once are missing, or about to be."""
    ON_HOLD = "on_hold"
    """An operator holds this VM."""


class LedgerUnreadableError(Exception):
    """The stored ledger is not one that `Ledger.text` wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A VM of a group, as the group lists it."""

    id: str
    """Numeric, in text; empty where the group lists a name whose VM does not exist (yet, or any more)."""
    name: str
    zone: str
    action: str
    """What the group does to it (`currentAction`); NONE for nothing."""
    runs: bool = True
    """Whether it runs, and is to: not one that is still being made, nor one in reserve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a group is to be, and whether it is that."""

    target: int
    stable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The permits of one group."""

    permits: Mapping[str, str] = field(default_factory=dict[str, str])
    """Instance id to the time of granting, RFC 3339; the time is for people."""
    suspects: frozenset[str] = frozenset()
    """Ids that may hold a permit that an unreadable ledger hid. They count as holders until they ask, return or end."""

    def text(self) -> bytes:
        """What is stored."""
        stored = {"permits": dict(sorted(self.permits.items())), "suspects": sorted(self.suspects)}
        return json.dumps(stored, separators=(",", ":")).encode()

    def without(self, instance_id: str) -> Ledger:
        """The ledger when a VM holds nothing and is not suspected any more."""
        permits = {holder: when for holder, when in self.permits.items() if holder != instance_id}
        return Ledger(permits=permits, suspects=self.suspects - {instance_id})

    def among(self, ids: Collection[str]) -> Ledger:
        """The ledger without those that are gone: a permit ends with its VM."""
        permits = {holder: when for holder, when in self.permits.items() if holder in ids}
        return Ledger(permits=permits, suspects=self.suspects & frozenset(ids))

    @property
    def held(self) -> int:
        """How many permits there are, or may be."""
        return len(self.permits.keys() | self.suspects)


def read_ledger(stored: bytes | None) -> Ledger:
    """The ledger in what is stored; an empty one where nothing is. Raises LedgerUnreadableError for anything else.

    Strict on purpose: what cannot be read whole may hide permits, as may what a later version of this wrote.
    """
    if stored is None:
        return Ledger()
    try:
        said: Any = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise LedgerUnreadableError("the ledger is not JSON") from error
    if not isinstance(said, dict) or set(cast("dict[str, Any]", said)) != {"permits", "suspects"}:
        raise LedgerUnreadableError("the ledger is no object of permits and suspects")
    permits, suspects = cast("dict[str, Any]", said)["permits"], cast("dict[str, Any]", said)["suspects"]
    if not isinstance(permits, dict) or not isinstance(suspects, list):
        raise LedgerUnreadableError("permits are no object, or suspects no list")
    holders = cast("dict[str, Any]", permits)
    ids = [*holders, *cast("list[Any]", suspects)]
    if not all(isinstance(one, str) and _ID.fullmatch(one) for one in ids):
        raise LedgerUnreadableError("an instance id in the ledger is no number")
    if not all(isinstance(when, str) for when in holders.values()):
        raise LedgerUnreadableError("a time in the ledger is no text")
    return Ledger(permits=cast("dict[str, str]", permits), suspects=frozenset(cast("list[str]", suspects)))


def suspect_all(members: Collection[Member]) -> Ledger:
    """What replaces an unreadable ledger: everybody may hold a permit. It heals as they ask, return and end."""
    return Ledger(suspects=frozenset(member.id for member in members if member.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a VM that wants to leave, and the ledger to write before it may be given; None to write nothing."""

    permit: bool
    reason: Reason
    ledger: Ledger | None = None


def ask_ledger(asker: str, ledger: Ledger) -> Answer | None:
    """The answer that the ledger alone gives: a VM keeps the permit it has. None where more must be looked at."""
    return Answer(permit=True, reason=Reason.HELD) if asker in ledger.permits else None


def ask(
    asker: str, ledger: Ledger, members: Collection[Member], surplus: int | Reason, *, now: datetime.datetime
) -> Answer:
    """Whether a VM that holds no permit gets one, given looks in the order of `READS`.

    `surplus` is what `surplus_of` made of the looks. A suspect that asks knows of no permit, so it is none any more.
    """
    ids = {member.id for member in members if member.id and member.action not in GONE}
    listed = {member.id for member in members}
    others = ledger.among(listed).without(asker)
    cleared = others if asker in ledger.suspects else None
    if asker not in ids:
        return Answer(permit=False, reason=Reason.NOT_A_MEMBER)
    if isinstance(surplus, Reason):
        return Answer(permit=False, reason=surplus, ledger=cleared)
    if others.held >= surplus:
        return Answer(permit=False, reason=Reason.ALL_GIVEN, ledger=cleared)
    return Answer(permit=True, reason=Reason.GRANTED, ledger=_granted(asker, others, now))


MISSING_PERCENT: Final = 25
"""Of the VMs that a group is to have, how many may be missing at once while it is drained. Chosen: what Kubernetes lets
a Deployment's rolling update do by default (maxUnavailable in its API reference, read 2026-11-25)."""


def missing_at_once(wanted: int) -> int:
    """How many VMs may be missing at once, at least one: a group of one could not be drained else."""
    return max(1, wanted * MISSING_PERCENT // 100)


def ask_drained(
    asker: str, ledger: Ledger, members: Collection[Member], wanted: int | Reason, *, now: datetime.datetime
) -> Answer:
    """Whether a VM that an operator drains gets a permit, given looks in the order of `READS`.

    `wanted` is what the group is to have, its minimum included. Counted are the VMs that run, not the group's size: a
    group that cannot make what it wants must not be drained empty. One that changes all the time can be drained.
    """
    here = {member.id for member in members if member.id and member.runs and member.action not in GONE}
    others = ledger.among({member.id for member in members}).without(asker)
    cleared = others if asker in ledger.suspects else None
    if asker not in here:
        return Answer(permit=False, reason=Reason.NOT_A_MEMBER)
    if isinstance(wanted, Reason):
        return Answer(permit=False, reason=wanted, ledger=cleared)
    stay = len(here) - others.among(here).held - 1
    if stay < wanted - missing_at_once(wanted):
        return Answer(permit=False, reason=Reason.MOST_MISSING, ledger=cleared)
    return Answer(permit=True, reason=Reason.GRANTED, ledger=_granted(asker, others, now))


def _granted(asker: str, others: Ledger, now: datetime.datetime) -> Ledger:
    when = now.astimezone(datetime.UTC).isoformat(timespec="seconds")
    return Ledger(permits={**others.permits, asker: when}, suspects=others.suspects)


def surplus_of(size: Size, wanted: int | Reason, minimum: int) -> int | Reason:
    """How many VMs more than wanted a group has, at least 1; or why none may leave."""
    if not size.stable:
        return Reason.GROUP_UNSTABLE
    if isinstance(wanted, Reason):
        return wanted
    if size.target <= minimum:
        return Reason.AT_MINIMUM
    surplus = size.target - max(wanted, minimum)
    return surplus if surplus > 0 else Reason.NO_SURPLUS


def recommended(autoscaler: Mapping[str, Any], group: str) -> int | Reason:
    """What a regional autoscaler recommends for a group: only an active one that says a number, and for this group.

    The API leaves `recommendedSize` out while there is no recommendation; read as 0 it would send everybody away.
    """
    size: Any = autoscaler.get("recommendedSize")
    target = str(autoscaler.get("target", ""))
    ours = target.endswith(f"/instanceGroupManagers/{group}")
    if not ours or autoscaler.get("status") != "ACTIVE" or not _count(size):
        return Reason.NO_RECOMMENDATION
    return size


def demanded(stored: bytes | None, *, now: datetime.datetime) -> int | Reason:
    """How many VMs the demand listener wants: {"desired": N, "expires": RFC 3339}, and only until then."""
    if stored is None:
        return Reason.NO_DEMAND
    try:
        said: Any = json.loads(stored)
        desired, expires = said["desired"], datetime.datetime.fromisoformat(said["expires"])
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return Reason.DEMAND_STALE
    # A time without an offset says no time.
    if not _count(desired) or expires.tzinfo is None or expires <= now:
        return Reason.DEMAND_STALE
    return desired


def _count(value: Any) -> bool:
    """Whether a value of JSON is a number of VMs."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


GONE: Final = frozenset({"DELETING", "RECREATING", "ABANDONING"})
"""Actions after which the group has this VM no more."""


class Leaving(Enum):
    """What deleting a VM comes to."""

    ACT = "act"
    """The group has it and keeps it: to be deleted, or recreated."""
    UNDER_WAY = "under_way"
    """Its group takes it away already, or it is gone."""
    NOT_A_MEMBER = "not_a_member"
    """The group does not have it: abandoned, so the group will not delete it."""


def leaving(instance_id: str, name: str, members: Collection[Member]) -> Leaving:
    """What is to be done about a VM that exists and wants to go, given its group's members."""
    for member in members:
        if member.id == instance_id:
            under_way = member.action in ("DELETING", "RECREATING")
            return Leaving.UNDER_WAY if under_way else _kept(member)
    # Another VM of its name: its own was replaced after it asked, and must not drag its successor along.
    return Leaving.UNDER_WAY if any(member.name == name for member in members) else Leaving.NOT_A_MEMBER


def _kept(member: Member) -> Leaving:
    return Leaving.NOT_A_MEMBER if member.action == "ABANDONING" else Leaving.ACT


def request_id(instance_id: str, verb: str) -> str:
    """The request id of one VM's deletion or recreation, the same however often it is asked for.

    A group takes names, and a recreated VM has its predecessor's. Google ignores a request whose id it has seen, so a
    late copy of a request cannot hit the successor. A failed operation is not tried again under the same id either;
    then the VM powers off, and its group repairs it.
    """
    return str(uuid.uuid5(_REQUESTS, f"{verb}/{instance_id}"))


class Ended(Enum):
    """How an operation ended."""

    NOT_YET = "not_yet"
    WELL = "well"
    BADLY = "badly"


def ended(operation: Mapping[str, Any]) -> Ended:
    """What an operation's resource says. One is done when the group has taken the order, not when the VM is gone."""
    status: Any = operation.get("httpErrorStatusCode")
    if operation.get("error") or (isinstance(status, int) and status >= 400):
        return Ended.BADLY
    return Ended.WELL if operation.get("status") == "DONE" else Ended.NOT_YET
