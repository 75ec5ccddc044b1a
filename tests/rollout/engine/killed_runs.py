"""Runs one plan in processes that kill themselves, once at every line of the journal, and resumes each: a program.

    killed_runs.py FOLDER

Each process is a fork of this one. The first is left alone. The others die by SIGKILL right after their n-th line has
come onto the disk, and another goes on from there. What each came to, and what happened to the world outside, is
printed as JSON: a list, the uninterrupted run first.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rollout.engine.backend import Attempt, Failed, Outcome, Passed
from rollout.engine.gates import Decision
from rollout.engine.journal import Journal
from rollout.engine.run import Run
from rollout.engine.spec import Approval, Bake, Compensation, Plan, Ref, Retry, Rule, Step


class Found(BaseModel):
    names: list[str]


class Made(BaseModel):
    name: str


def one_each(found: Found) -> list[Step]:
    return [
        Step(id=f"find/{name}", backend="world", params={"make": name}, output=Made, compensation=undo())
        for name in found.names
    ]


def undo() -> Compensation:
    return Compensation(backend="world", params={"undo": True})


PLAN = Plan(
    name="killed",
    steps=(
        Step(id="find", backend="world", params={"find": ["x", "y"]}, output=Found, expand=one_each),
        Step(id="flaky", backend="world", retry=Retry(tries={"unavailable": 3}, first_seconds=0.001)),
        Step(id="asked", backend="world", needs=("flaky",), gate=Approval(question="now?")),
        Step(id="baked", backend="world", needs=("flaky",), gate=Bake(seconds=0.02)),
        Step(id="remote", backend="world", needs=("asked",), params={"make": "far"}, output=Made, compensation=undo()),
        Step(id="uses", backend="world", needs=("remote", "find/*"), params={"of": Ref("remote", "name")}),
        Step(id="breaks", backend="world", needs=("uses", "baked")),
        Step(id="never", backend="world", needs=("breaks",)),
        Step(id="back", backend="world", needs=("breaks",), rule=Rule.ON_FAILURE),
        Step(id="cleanup", backend="world", needs=("never", "back"), rule=Rule.ALWAYS),
    ),
)


class World:
    """What is outside of every process: files. What is being made there goes on without us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, attempt: Attempt) -> Outcome:
        params = attempt.params
        if "find" in params:
            return Passed(output={"names": params["find"]})
        if "make" in params:
            self.say(f"made {params['make']}")
            await attempt.attach(f"operation-{params['make']}")
            return self.made(params["make"])
        if "undo" in params:
            self.say(f"undone {attempt.step_id}")
        if attempt.step_id == "flaky" and attempt.number < 3:
            return Failed(code="http-503", message="come back", error_class="unavailable")
        if attempt.step_id == "breaks":
            return Failed(code="broken", message="as told")
        return Passed()

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        self.say(f"reattached {attempt.step_id}")
        return self.made(external_id.removeprefix("operation-"))

    async def cancel(self, attempt: Attempt) -> None: ...

    async def close(self) -> None: ...

    def made(self, name: str) -> Passed:
        return Passed(output={"name": name}, link=f"https://world.example/{name}")

    def say(self, what: str) -> None:
        with (self.folder / "world").open("a", encoding="utf-8") as file:
            file.write(what + "\n")


class DyingJournal(Journal):
    """Kills its process once the n-th line is on the disk."""

    lines_to_live = 0

    def append(self, kind: str, /, **fields: Any) -> None:
        super().append(kind, **fields)
        self.lines_to_live -= 1
        if not self.lines_to_live:
            self._thread.submit(lambda: None).result()  # what a sync had already taken is there first
            os.write(self._descriptor, "".join(self._buffer).encode())
            os.fsync(self._descriptor)
            os.kill(os.getpid(), signal.SIGKILL)


async def approve(step_id: str, question: str) -> Decision:
    return Decision(opened=True, by=f"{step_id} {question}")


def carry_out(folder: Path, lines: int) -> None:
    """The run, or the rest of it; its report becomes a file."""
    path = folder / "journal.jsonl"
    journal = DyingJournal.open(path, PLAN) if path.exists() else DyingJournal.create(path, PLAN)
    journal.lines_to_live = lines

    async def main() -> None:
        report = await Run(PLAN, {"world": World(folder)}, journal=journal, approver=approve).execute()
        (folder / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")

    asyncio.run(main())


def in_a_process(folder: Path, lines: int = 0) -> int:
    """What the process came to: 0, or minus the signal that ended it."""
    process = os.fork()
    if not process:
        carry_out(folder, lines)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def found(folder: Path, statuses: list[int]) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {
        "statuses": statuses,
        "verdict": report["verdict"],
        "steps": {
            step["id"]: [step["state"], step["reason"], step["output"], step["attempts"], step["link"]]
            for step in report["results"]
        },
        "undone": {undone["id"]: undone["outcome"] for undone in report["compensations"]},
        "order": [undone["id"] for undone in report["compensations"]],
        "world": (folder / "world").read_text(encoding="utf-8").split("\n")[:-1],
        "lines": len((folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()),
    }


def main(root: Path) -> None:
    results: list[dict[str, Any]] = []
    lines = 0
    while True:
        folder = root / str(lines)
        folder.mkdir()
        statuses = [in_a_process(folder, lines)]
        if lines and statuses == [0]:
            break
        if lines:
            statuses.append(in_a_process(folder))
        results.append(found(folder, statuses))
        lines += 1
    print(json.dumps(results))  # noqa: T201 - a program


if __name__ == "__main__":
    main(Path(sys.argv[1]))
