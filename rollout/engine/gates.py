"""Gates: what stands between a step whose dependencies allow it and its place in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from rollout.engine.graph import Graph
from rollout.engine.record import Record
from rollout.engine.spec import Approval, FailureBudget
from rollout.engine.states import BAD_ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person said at a gate."""

    opened: bool
    by: str
    why: str = ""
    """What people read as the step's reason, where it was refused."""


class Approver(Protocol):
    """Asks a person. There is one call for each gate, many at once; one that is not needed any more is cancelled."""

    async def __call__(self, step_id: str, question: str) -> Decision | None:
        """None leaves the gate to whoever calls `Run.approve` or `Run.refuse`. To raise refuses it."""
        ...


class Asking:
    """The gates at which somebody is being asked."""

    def __init__(
        self, approver: Approver | None, decided: Callable[[str, Decision], None], fault: Callable[[str], None]
    ) -> None:
        self._approver = approver
        self._decided = decided
        self._fault = fault
        self._asked: dict[str, asyncio.Task[None]] = {}

    def ask(self, step_id: str, gate: Approval) -> None:
        """Begin to ask, where there is somebody to."""
        if self._approver:
            self._asked[step_id] = asyncio.create_task(self._ask(self._approver, step_id, gate), name=f"gate {step_id}")

    def drop(self, step_id: str) -> None:
        """Nobody needs that answer any more."""
        if task := self._asked.pop(step_id, None):
            task.cancel()

    async def close(self, seconds: float) -> None:
        """Ask no more, and wait for so long at most until those who were asked know it."""
        tasks = list(self._asked.values())
        self._asked.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def _ask(self, approver: Approver, step_id: str, gate: Approval) -> None:
        try:
            decision: object = await approver(step_id, gate.question)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an approver's fault must not hang the run: it is a no
            self._fault(f"approver of {step_id}: {type(error).__name__}: {error}")
            decision = Decision(opened=False, by="engine", why=f"the approver raised {type(error).__name__}")
        if isinstance(decision, Decision):
            self._decided(step_id, decision)
        elif decision is not None:
            self._fault(f"approver of {step_id}: it returned {decision!r:.80}, which is no Decision")
            self._decided(step_id, Decision(opened=False, by="engine", why="the approver's answer made no sense"))


def over_budget(gate: FailureBudget, graph: Graph, records: Mapping[str, Record]) -> str:
    """Why the gate refuses, or nothing."""
    bad = [step_id for step_id in graph.matching(gate.of) if records[step_id].state in BAD_ENDS]
    if len(bad) <= gate.most:
        return ""
    return f"{len(bad)} steps ended badly, and {gate.most} may: {', '.join(bad[:5])}{', …' if len(bad) > 5 else ''}"
