from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from rollout.engine.digest import digest
from rollout.engine.spec import (
    Approval,
    AtLeast,
    Bake,
    Compensation,
    FailureBudget,
    Plan,
    Ref,
    Retry,
    Rule,
    Step,
)

ROOT = Path(__file__).parent.parent.parent.parent


class Image(BaseModel):
    name: str


class Picture(BaseModel):
    name: str


def more(_):
    """An expansion that is never called here."""
    return []


def others(_):
    """Another one."""
    return []


FULL = Step(
    id="a",
    backend="fake",
    params={"x": [1, Ref("b", "name")], "y": None},
    title="A",
    group="g",
    needs=("b", "c"),
    rule=AtLeast(share=0.5),
    uses={"cpus": 2},
    weight=3.0,
    retry=Retry(tries={"quota": 2}),
    try_timeout_seconds=5.0,
    timeout_seconds=50.0,
    gate=Bake(seconds=1),
    output=Image,
    expand=more,
    compensation=Compensation(backend="fake"),
)
PLAN = Plan(name="a plan", steps=(FULL, Step(id="b", backend="fake", output=Image), Step(id="c", backend="fake")))
OTHER = {
    "id": "z",
    "backend": "local",
    "params": {"x": [1, Ref("b", "name", default=None)], "y": None},
    "title": "B",
    "group": "h",
    "needs": ("c", "b"),
    "rule": AtLeast(steps=1),
    "uses": {"cpus": 3},
    "weight": 4.0,
    "retry": Retry(tries={"quota": 3}),
    "try_timeout_seconds": 6.0,
    "timeout_seconds": None,
    "gate": FailureBudget(most=1, of=("b",)),
    "output": Picture,
    "expand": others,
    "compensation": Compensation(backend="fake", timeout_seconds=1.0),
    "optional": True,
}


def changed(**fields):
    return Plan(name="a plan", steps=(dataclasses.replace(FULL, **fields), *PLAN.steps[1:]))


def test_equal_plans_have_one_digest_whatever_the_order_of_their_mappings():
    assert digest(changed()) == digest(PLAN)
    assert digest(changed(params={"y": None, "x": [1, Ref("b", "name")]})) == digest(PLAN)
    assert len(digest(PLAN)) == 64


def test_every_field_of_a_step_counts():
    assert set(OTHER) == {field.name for field in dataclasses.fields(Step)}
    digests = {digest(changed(**{name: value})) for name, value in OTHER.items()}
    assert len(digests | {digest(PLAN)}) == len(OTHER) + 1


def test_the_name_the_timeout_and_the_order_of_steps_count():
    plans = [
        PLAN,
        dataclasses.replace(PLAN, name="b"),
        dataclasses.replace(PLAN, timeout_seconds=1.0),
        dataclasses.replace(PLAN, steps=PLAN.steps[::-1]),
    ]
    assert len({digest(plan) for plan in plans}) == len(plans)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"params": {"x": ["..."]}}, {"params": {"x": "..."}}),
        ({"params": {"x": "1"}}, {"params": {"x": 1}}),
        ({"params": {"x": Ref("b", "name", default="...")}}, {"params": {"x": Ref("b", "name")}}),
        (
            {"params": {"x": Ref("b", "name", default=None)}},
            {"params": {"x": {"step": "b", "field": "name", "default": None}}},
        ),
        (
            {"params": {"x": Ref("b", "name", default=None)}},
            {"params": {"x": ["Ref", {"step": "b", "field": "name", "default": None}]}},
        ),
        ({"rule": Rule.ALL}, {"rule": Rule.ANY}),
        ({"gate": Approval(question="?")}, {"gate": None}),
    ],
)
def test_plans_that_look_alike_are_told_apart(one, other):
    assert digest(changed(**one)) != digest(changed(**other))


def test_another_process_comes_to_the_same_digest():
    """Sets and hashes of texts come in another order in every process."""
    program = "from test_digest import PLAN, digest; print(digest(PLAN))"
    path = f"{ROOT}:{Path(__file__).parent}"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": path, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert told.stdout.decode().strip() == digest(PLAN)
