"""A process that carries out a run and is sent signals: a program.

    signalled_run.py FOLDER obeys|stubborn|blocks|passes

It says what goes on, a line each, so that whoever sends signals knows when. Its report becomes a file; it ends with 0
for a run that passed, else with 3.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

from rollout.engine.backend import Attempt, Failed, Outcome, Passed
from rollout.engine.run import Run, stop_on_signals
from rollout.engine.spec import Plan, Rule, Step


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program


class Backend:
    def __init__(self, manner: str) -> None:
        self.manner = manner

    async def run(self, attempt: Attempt) -> Outcome:
        if attempt.step_id == "cleanup":
            say("cleans up")
        if attempt.step_id == "cleanup" or self.manner == "passes":
            return Passed()
        say("runs")
        await attempt.cancelled.wait()
        say("asked to end")
        if self.manner == "obeys":
            return Failed(code="cancelled", message="was asked to end")
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self.manner == "blocks":
                say("blocks the loop")
                time.sleep(60.0)  # noqa: ASYNC251 - that is what this manner is about
            say("made to end")
            raise

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome: ...

    async def cancel(self, attempt: Attempt) -> None: ...

    async def close(self) -> None: ...


async def main(folder: Path, manner: str) -> int:
    plan = Plan(
        name="signalled",
        steps=(
            Step(id="work", backend="b"),
            *([Step(id="cleanup", backend="b", needs=("work",), rule=Rule.ALWAYS)] if manner != "passes" else []),
        ),
    )
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = Run(plan, {"b": Backend(manner)}, grace_seconds=60.0)
    with stop_on_signals(run):
        report = await run.execute()
    (folder / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")
    if manner == "passes" and before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]:
        say("handlers are back")
    return 0 if report.verdict == "passed" else 3


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2])))
