"""Permits to leave: reads what `decide` wants to see, in its order, and writes the ledger it makes.

Compare and set: whoever writes second reads everything again. A write whose answer is lost is read back: the ledger
then holds the permit, or does not. So a yes is only ever said of a ledger that holds it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from . import decide
from .clients.compute import Compute
from .clients.session import Deadline, Session
from .clients.storage import Storage, Stored
from .decide import Answer, Ledger, LedgerUnreadableError, Reason
from .fleet_table import Group
from .identity import Caller


class ContendedError(Exception):
    """Others, or lost answers, kept the ledger from being written in time. What was asked for may have been done."""


class Permits:
    """The ledgers of all groups."""

    def __init__(
        self, session: Session, compute: Compute, storage: Storage, demand: Storage, now: Callable[[], float]
    ) -> None:
        """The ledgers lie in `storage`; `demand` is the listener's bucket, which is only read."""
        self._session = session
        self._compute = compute
        self._storage = storage
        self._demand = demand
        self._now = now

    def ask(self, caller: Caller, group: Group, deadline: Deadline, *, drained: bool = False) -> Answer:
        """Whether the caller may leave, which an operator may drain. No fixed pool loses any: its VMs are made anew.

        Raises UpstreamError, ContendedError and LedgerUnreadableError.
        """
        if group.signal == "fixed" and not drained:
            return Answer(permit=False, reason=Reason.FIXED_POOL)
        attempt = 0
        while True:
            stored = self._storage.read(_name(group), deadline)
            answer = self._judge(caller, group, stored, deadline, drained=drained)
            if answer.ledger is None:
                return answer
            written = self._write(group, answer.ledger, stored, deadline)
            # A no that also clears a suspicion is a no; the suspicion can wait for another time.
            if written or not answer.permit:
                return answer
            if not self._session.pause(attempt, deadline):
                raise ContendedError
            attempt += 1

    def give_back(self, caller: Caller, group: Group, deadline: Deadline) -> None:
        """Have the caller hold no permit. Raises UpstreamError and ContendedError.

        It writes even where the caller holds none: a write of a grant that is still on its way is too late then.
        """
        attempt = 0
        while True:
            stored = self._storage.read(_name(group), deadline)
            try:
                ledger = decide.read_ledger(stored.data)
            except LedgerUnreadableError:
                ledger = decide.suspect_all(self._compute.members(group, deadline))
            if self._write(group, ledger.without(caller.instance_id), stored, deadline):
                return
            if not self._session.pause(attempt, deadline):
                raise ContendedError
            attempt += 1

    def _judge(self, caller: Caller, group: Group, stored: Stored, deadline: Deadline, *, drained: bool) -> Answer:
        """The answer after a look at everything, in the order of `decide.READS`."""
        try:
            ledger = decide.read_ledger(stored.data)
        except LedgerUnreadableError:
            # Nobody is answered from a guess; whoever comes next finds everybody under suspicion.
            self._write(group, decide.suspect_all(self._compute.members(group, deadline)), stored, deadline)
            raise
        early = decide.ask_ledger(caller.instance_id, ledger)
        if early is not None:
            return early
        members = self._compute.members(group, deadline)
        size, autoscaler = self._compute.size(group, deadline)
        wanted = size.target if group.signal == "fixed" else self._wanted(group, autoscaler, deadline)
        if drained:
            least = wanted if isinstance(wanted, Reason) else max(wanted, group.min)
            return decide.ask_drained(caller.instance_id, ledger, members, least, now=self._moment())
        surplus = decide.surplus_of(size, wanted, group.min)
        return decide.ask(caller.instance_id, ledger, members, surplus, now=self._moment())

    def _wanted(self, group: Group, autoscaler: str, deadline: Deadline) -> int | Reason:
        if group.signal == "jobs":
            return decide.demanded(self._demand.read(f"demand/{group.name}.json", deadline).data, now=self._moment())
        if not autoscaler:
            return Reason.NO_RECOMMENDATION
        return decide.recommended(self._compute.autoscaler(group, autoscaler, deadline), group.name)

    def _write(self, group: Group, ledger: Ledger, stored: Stored, deadline: Deadline) -> bool:
        return self._storage.write(_name(group), ledger.text(), stored.generation, deadline)

    def _moment(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now(), datetime.UTC)


def _name(group: Group) -> str:
    return f"permits/{group.name}.json"
