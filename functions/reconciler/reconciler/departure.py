"""Carries out one remedy. Each looks once more right before it acts, for the plan is minutes old by then.

A group takes names, not ids, so its members are looked at again before every order, and an order carries a request id
of its VM's own. That id is the deleter's for the first order: a VM that asks for its end at the same moment ends once.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

from . import vms
from .clients.compute import Compute
from .clients.github import GitHub, Removed
from .clients.session import Deadline, NoAnswerError, UpstreamError
from .clients.storage import Storage
from .findings import Kind, Remedy, Verb
from .fleet_table import Fleet, Group

_REQUESTS: Final = uuid.UUID("0d6f1f0c-9a4b-4a0e-8f2e-6f2f4f0c7b11")
"""Namespace of request ids; the deleter's."""

DONE: Final[dict[Verb, str]] = {
    Verb.END_VM: "ordered to end",
    Verb.DEREGISTER: "deregistered",
    Verb.REMOVE_GRANT: "removed",
    Verb.DROP_PLACEHOLDER: "ordered to drop",
}
"""What a remedy that was carried out is called in logs and reports."""


class ChangedError(Exception):
    """The last look shows something else than the plan was made for. The text says what."""


def request_id(subject: str, verb: str, orders: int) -> str:
    """The request id of one order about a VM or placeholder, the same however often it is sent.

    Google ignores a request whose id it has seen. So what is still there after an order gets another id, by how many
    orders there were.
    """
    name = f"{verb}/{subject}" if orders == 0 else f"{verb}/{subject}/{orders}"
    return str(uuid.uuid5(_REQUESTS, name))


class Departure:
    """Has groups let go of VMs, and GitHub of runners."""

    def __init__(
        self, compute: Compute, github: GitHub, grants: Storage, fleet: Fleet, now: Callable[[], float]
    ) -> None:
        self._compute = compute
        self._github = github
        self._grants = grants
        self._fleet = fleet
        self._now = now

    def carry_out(self, remedy: Remedy, kind: Kind, orders: int, since: float, deadline: Deadline) -> None:
        """Do it. Raises ChangedError where it is not to be done any more, UpstreamError where it failed.

        `orders` is how often it was done before, `since` when its finding was first seen.
        """
        match remedy.verb:
            case Verb.END_VM:
                self._end_vm(remedy, kind, orders, deadline)
            case Verb.DEREGISTER:
                self._deregister(remedy, deadline)
            case Verb.REMOVE_GRANT:
                if not self._grants.delete(f"grants/{remedy.instance_id}.json", remedy.generation, deadline):
                    raise ChangedError("the grant was written anew")
            case Verb.DROP_PLACEHOLDER:
                self._drop(remedy, orders, since, deadline)

    def _end_vm(self, remedy: Remedy, kind: Kind, orders: int, deadline: Deadline) -> None:
        group = self._fleet.groups[remedy.group]
        if kind is Kind.UNREGISTERED:
            self._still_without(remedy, deadline)
        self._still_let_go(remedy, deadline)
        members = self._compute.members(group, deadline) or []
        vm = next((vm for vm in members if vm.id == remedy.instance_id), None)
        if vm is None or not vms.stands(vm):
            raise ChangedError("its group is taking it away, or has done so")
        verb = "recreateInstances" if group.signal == "fixed" else "deleteInstances"
        self._order(group, verb, remedy, request_id(remedy.instance_id, verb, orders), deadline)

    def _still_let_go(self, remedy: Remedy, deadline: Deadline) -> None:
        """That no operator holds a VM by now."""
        facts = self._compute.instance(remedy.zone, remedy.name, deadline)
        if facts is not None and facts.id == remedy.instance_id and facts.held(self._now()):
            raise ChangedError("an operator holds it")

    def _still_without(self, remedy: Remedy, deadline: Deadline) -> None:
        """That a VM that never had a configuration has none now."""
        stored = self._grants.read(f"grants/{remedy.instance_id}.json", deadline)
        if stored.generation != (remedy.generation or "0"):
            raise ChangedError("its grant has changed")

    def _deregister(self, remedy: Remedy, deadline: Deadline) -> None:
        runner = self._github.runner(remedy.runner_id, deadline)
        if runner is None:
            return
        if runner.online or runner.busy or runner.name != remedy.name:
            raise ChangedError("the runner is online, or has a job")
        if self._github.remove(remedy.runner_id, deadline) is Removed.BUSY:
            raise ChangedError("GitHub keeps the runner: it has a job")

    def _drop(self, remedy: Remedy, orders: int, since: float, deadline: Deadline) -> None:
        group = self._fleet.groups[remedy.group]
        members = self._compute.members(group, deadline) or []
        if not vms.unmade(members, remedy.name):
            raise ChangedError("its group has made it, or given it up")
        # A placeholder has no id; its name and when it was first seen tell it from a later one.
        subject = f"{remedy.group}/{remedy.name}/{since:.0f}"
        self._order(group, "deleteInstances", remedy, request_id(subject, "deleteInstances", orders), deadline)

    def _order(self, group: Group, verb: str, remedy: Remedy, request: str, deadline: Deadline) -> None:
        """One try. An order whose answer is lost was given or not; the next run sees which."""
        try:
            answer = self._compute.order(group, verb, remedy.zone, remedy.name, request, deadline)
        except NoAnswerError as error:
            raise UpstreamError("compute", 0, passing=True) from error
        if answer.status != 200:
            raise UpstreamError("compute", answer.status, passing=answer.passing)
