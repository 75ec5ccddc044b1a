"""Ends a VM through its group: deletes it, or has a fixed pool recreate it.

A group takes names, not ids, so the members are looked at again right before every order, also before one that is
repeated because its answer was lost. And an order carries a request id of its VM's own (`decide.request_id`).
"""

from __future__ import annotations

from typing import Final, cast

from . import decide
from .clients.compute import Compute
from .clients.session import Answer, Deadline, NoAnswerError, Session, UpstreamError
from .decide import Ended, Leaving
from .fleet_table import Group
from .identity import Caller, RefusedError

WAIT_SECONDS: Final = 25.0
"""For the group to take the order; its operation is done then, though the VM is not gone yet."""

SOON: Final = -3
"""The attempt that looking at an operation begins with: an eighth of the pause after a failure, then doubled."""


class OperationFailedError(Exception):
    """The group took the order and could not follow it."""


class Departure:
    """Has groups let go of VMs."""

    def __init__(self, session: Session, compute: Compute) -> None:
        self._session = session
        self._compute = compute

    def end(self, caller: Caller, group: Group, deadline: Deadline) -> Ended:
        """Order the caller's end and wait a while; WELL, or NOT_YET where that takes longer.

        Raises OperationFailedError, UpstreamError, and RefusedError where the group does not have the caller.
        """
        verb = "recreateInstances" if group.signal == "fixed" else "deleteInstances"
        attempt = 0
        while not self._under_way(caller, group, deadline):
            status = 0
            wait = None
            try:
                answer = self._compute.order(
                    group, verb, caller.zone, caller.name, decide.request_id(caller.instance_id, verb), deadline
                )
                if answer.status == 200:
                    return self._await(caller, group, answer, deadline)
                status = answer.status
                wait = self._session.retry_after_seconds(answer)
                if not answer.passing and status != 409:
                    return self._unless_under_way(
                        caller, group, UpstreamError("compute", status, passing=False), deadline
                    )
            except NoAnswerError:
                pass
            if not self._session.pause(attempt, deadline, at_least=wait):
                raise UpstreamError("compute", status, passing=True, retry_after_seconds=wait)
            attempt += 1
        return Ended.WELL

    def _await(self, caller: Caller, group: Group, answer: Answer, deadline: Deadline) -> Ended:
        """How the order fares. It was taken, so what cannot be learned about it counts as not done yet."""
        waiting = self._session.deadline(min(WAIT_SECONDS, deadline.left()))
        value = answer.json()
        operation = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        name = str(operation.get("name", ""))
        attempt = SOON
        while decide.ended(operation) is Ended.NOT_YET:
            if not self._session.pause(attempt, waiting):
                return Ended.NOT_YET
            attempt += 1
            try:
                operation = self._compute.operation(group, name, waiting)
            except UpstreamError:
                return Ended.NOT_YET
        if decide.ended(operation) is Ended.BADLY:
            return self._unless_under_way(caller, group, OperationFailedError(), deadline)
        return Ended.WELL

    def _unless_under_way(self, caller: Caller, group: Group, error: Exception, deadline: Deadline) -> Ended:
        """An order also fails where another came first."""
        if self._under_way(caller, group, deadline):
            return Ended.WELL
        raise error

    def _under_way(self, caller: Caller, group: Group, deadline: Deadline) -> bool:
        leaving = decide.leaving(caller.instance_id, caller.name, self._compute.members(group, deadline))
        if leaving is Leaving.NOT_A_MEMBER:
            raise RefusedError(403, "not_a_member", "The instance's group does not have it any more.")
        return leaving is Leaving.UNDER_WAY
