"""A dry run tells every call in order, and makes none."""

from __future__ import annotations

import asyncio
import json

from pydantic import BaseModel

from rollout.backends.dry_run import DryRun
from rollout.engine.backend import Failed
from rollout.engine.run import Run
from rollout.engine.spec import Approval, Bake, Compensation, FailureBudget, Plan, Ref, Retry, Rule, Step
from tests.rollout.backends.attempts import OneTry


class Image(BaseModel):
    name: str
    gigabytes: int


def regions(image: Image) -> list[Step]:
    raise AssertionError(f"nothing is known of {image} in a dry run")


PLAN = Plan(
    name="roll",
    timeout_seconds=0.001,
    steps=(
        Step(id="bake", backend="google", params={"call": "create_image"}, output=Image, expand=regions),
        Step(
            id="canary",
            backend="github",
            needs=("bake",),
            params={"ref": Ref("bake", "name"), "inputs": [{"size": Ref("bake", "gigabytes", 10)}, 7, None]},
            gate=Approval(question="Is image <b> good?"),
            retry=Retry(tries={"unavailable": 3}),
            compensation=Compensation(backend="local", params={"argv": ["undo", Ref("canary", "run_id")]}),
        ),
        Step(id="all", backend="google", needs=("canary", "bake/*"), gate=Bake(seconds=86400)),
        Step(id="last", backend="google", needs=("all",), gate=FailureBudget(most=1, of=("all", "can*"))),
        Step(id="back", backend="google", needs=("all",), rule=Rule.ON_FAILURE),
    ),
)


CANARY = """\
canary: github {"ref": "<bake.name>", "inputs": [{"size": "<bake.gigabytes>"}, 7, null]}
    before: somebody approves: Is image <b> good?
    undone, should the run fail, by: local {"argv": ["undo", "<canary.run_id>"]}"""


def test_every_call_is_told_in_order_with_what_comes_before_and_after_it():
    lines: list[str] = []
    dry = DryRun(PLAN, lines.append)
    report = asyncio.run(Run(dry.plan, dry.backends).execute())
    assert report.verdict == "passed"
    assert lines == [
        'bake: google {"call": "create_image"}\n    after: it may add steps, by what it finds',
        CANARY,
        "all: google {}\n    before: 86400 s pass",
        "last: google {}\n    before: at most 1 of all, can* have failed",
    ]


def test_what_was_told_is_there_as_data_too():
    dry = DryRun(PLAN, lambda _: None)
    asyncio.run(Run(dry.plan, dry.backends).execute())
    assert [(told.step_id, told.backend) for told in dry.told] == [
        ("bake", "google"),
        ("canary", "github"),
        ("all", "google"),
        ("last", "google"),
    ]
    assert json.loads(json.dumps(dry.told[1].params))["ref"] == "<bake.name>"


def test_the_plan_itself_stays_as_it_is():
    dry = DryRun(PLAN, lambda _: None)
    assert PLAN.steps[1].params["ref"] == Ref("bake", "name")
    assert dry.plan.steps[1].gate is None


def test_nothing_is_found_again_and_nothing_is_held():
    async def main() -> None:
        backend = DryRun(PLAN, lambda _: None).backends["google"]
        outcome = await backend.reattach(OneTry("bake"), "op")
        assert isinstance(outcome, Failed)
        assert outcome.code == "lost"
        await backend.cancel(OneTry("bake"))
        await backend.close()

    asyncio.run(main())
