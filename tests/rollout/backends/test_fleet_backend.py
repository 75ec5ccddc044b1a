"""Steps that look until something is so, under a real run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from rollout.backends.fleet import PASSING, FleetLooks
from rollout.cloud.errors import CloudError
from rollout.engine.backend import Failed, Passed
from rollout.engine.polling import Waiting
from rollout.engine.report import Report, StepResult
from rollout.engine.run import Run
from rollout.engine.spec import Plan, Step


class Answers:
    """A look that gives one answer after the other, and the last one for ever."""

    def __init__(self, *answers: Waiting | Passed | Failed | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Mapping[str, Any]] = []
        self.closed = 0
        self.looked = asyncio.Event()

    async def __call__(self, params: Mapping[str, Any]) -> Waiting | Passed | Failed:
        self.asked.append(params)
        self.looked.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed += 1


def run(look: Answers, **params: Any) -> StepResult:
    backend = FleetLooks({"it": look}, first_seconds=0.001, most_seconds=0.01, close=look.close)
    plan = Plan(name="looking", steps=(Step(id="step", backend="fleet", params={"look": "it", **params}),))

    async def course() -> Report:
        async with asyncio.timeout(20):
            return await Run(plan, {"fleet": backend}).execute()

    return asyncio.run(course()).results[0]


def test_it_looks_until_it_is_so():
    look = Answers(Waiting(progress="not yet"), Waiting(progress="nearly"), Passed(output={"found": 1}))
    result = run(look, group="g")
    assert (result.state, result.output) == ("passed", {"found": 1})
    assert [params["group"] for params in look.asked] == ["g", "g", "g"]


def test_a_failed_look_ends_it_with_its_own_code():
    result = run(Answers(Waiting(progress="not yet"), Failed(code="bad-evidence", message="4 of 4")))
    assert result.state == "failed"
    assert result.reason is not None
    assert result.reason.code == "bad-evidence"


@pytest.mark.parametrize("error_class", sorted(PASSING))
def test_a_service_that_fails_for_now_is_asked_again(error_class: str):
    error = CloudError("compute", 503, "the groups", error_class=error_class)
    assert run(Answers(error, error, Passed())).state == "passed"


@pytest.mark.parametrize("error_class", ["denied", "credentials", "permanent", "not-found"])
def test_a_service_that_refuses_ends_it(error_class: str):
    result = run(Answers(CloudError("compute", 403, "the groups", error_class=error_class)))
    assert result.state == "failed"
    assert result.reason is not None
    assert (result.reason.code, "HTTP 403" in result.reason.message) == ("unreachable", True)


def test_a_look_with_a_bug_fails_the_step_and_not_the_run():
    result = run(Answers(RuntimeError("a bug")))
    assert result.state == "failed"
    assert result.reason is not None
    assert result.reason.code == "backend-bug"


def test_what_the_looks_share_is_freed_once():
    look = Answers(Passed())
    run(look)
    assert look.closed == 1


def test_a_stop_ends_the_waiting_at_once():
    look = Answers(Waiting(progress="not yet"))
    backend = FleetLooks({"it": look}, first_seconds=3600, most_seconds=3600)
    plan = Plan(name="looking", steps=(Step(id="step", backend="fleet", params={"look": "it"}),))

    async def course() -> Report:
        going = Run(plan, {"fleet": backend})
        task = asyncio.create_task(going.execute())
        async with asyncio.timeout(20):
            await look.looked.wait()
            going.stop("enough")
            return await task

    report = asyncio.run(course())
    assert (report.verdict, report.results[0].state) == ("stopped", "killed")
