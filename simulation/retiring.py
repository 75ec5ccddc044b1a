"""How an idle VM leaves: the VM's own state machine and its judgement of answers, on the virtual clock.

What decides is startup/lib/retirement.py, and startup/lib/retire.py says which call a stage makes and what its answer
means. Only what a run does around them is written here once more, because there it sleeps and signals: look, decide,
act, save.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from startup.lib import retire

retirement = retire.retirement
"""The machine."""
SERVICES: Final = {
    retirement.Stage.ASKING: "deleter",
    retirement.Stage.DEREGISTERING: "broker",
    retirement.Stage.RETURNING: "deleter",
}
FREEZE_SECONDS: Final = 0.02
"""Until all threads of a listener have stopped; startup/lib/retire.py looks every 5 ms."""


class Leaver(Protocol):
    """The VM, as far as leaving goes."""

    saved_stage: str | None
    """What a file in its /run says."""

    def idle(self) -> bool:
        """Whether it has listened for the idle timeout."""
        ...

    def has_job(self) -> bool:
        """Whether it has or had a worker."""
        ...

    def freeze(self) -> None:
        """Let no worker start from now on."""
        ...

    def thaw(self) -> None:
        """Let the listener run again."""
        ...

    def leave(self) -> None:
        """Kill the frozen listener; the VM's end follows."""
        ...

    async def ask(self, service: str, method: str, path: str, timeout_seconds: float) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON object of one request to a function; 0 where there was no answer."""
        ...


async def run(vm: Leaver) -> None:
    """One run: until the machine rests, the VM leaves, or an outcome is unknown."""
    stage = retirement.begin(vm.saved_stage)
    settled_seconds = 0
    while True:
        seen = retirement.Seen(idle=vm.idle(), job=vm.has_job(), settled_seconds=settled_seconds)
        stage = retirement.decide(stage, seen)
        vm.saved_stage = stage.value
        if stage is retirement.Stage.RESTING:
            return
        outcome = await _act(vm, stage)
        if stage is retirement.Stage.SETTLING:
            settled_seconds += retirement.POLL_SECONDS
        stage = retirement.AFTER[stage, outcome]
        if not retirement.goes_on(stage, outcome):
            vm.saved_stage = stage.value
            return


async def _act(vm: Leaver, stage: retirement.Stage) -> retirement.Outcome:
    """Do what a stage is about to do."""
    match stage:
        case retirement.Stage.SETTLING:
            await asyncio.sleep(retirement.POLL_SECONDS)
        case retirement.Stage.FREEZING:
            vm.freeze()
            await asyncio.sleep(FREEZE_SECONDS)
        case retirement.Stage.STOPPING:
            vm.leave()
            await asyncio.Event().wait()  # the listener's end ends its unit, and this with it
        case _:
            if stage is retirement.Stage.RETURNING:
                vm.thaw()
            return await _call(vm, stage)
    return retirement.Outcome.DONE


async def _call(vm: Leaver, stage: retirement.Stage) -> retirement.Outcome:
    """Make a stage's call and have the VM's own code judge the answer."""
    promised, method, path = retire._PROMISED[stage]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it has no other name
    status, said = await vm.ask(SERVICES[stage], method, f"/{path}", retire.REQUEST_SECONDS)
    return retire._judge(stage, status, dict(said), promised)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nor has this
