from __future__ import annotations

import copy
import datetime

import pytest
from pydantic import BaseModel

from rollout.engine.outputs import MissingOutputError, OutputError, check_output, resolve
from rollout.engine.spec import Ref, Step


class Image(BaseModel):
    name: str
    made: datetime.date
    sizes: list[int] = []


STEP = Step(id="build", backend="fake", output=Image)
OUTPUTS = {"build": {"name": "image-7", "sizes": [1, 2]}}


def test_an_output_is_checked_against_its_type_and_handed_on_as_json():
    checked = check_output(STEP, {"name": "image-7", "made": "2026-11-25"})
    assert checked.value == Image(name="image-7", made=datetime.date(2026, 11, 25))
    assert checked.data == {"name": "image-7", "made": "2026-11-25", "sizes": []}


def test_an_output_without_a_type_is_handed_on_as_it_is():
    checked = check_output(Step(id="a", backend="fake"), {"any": [1]})
    assert checked.value == checked.data == {"any": [1]}


def test_an_output_that_is_not_what_the_step_says_is_told_field_by_field():
    with pytest.raises(OutputError) as caught:
        check_output(STEP, {"made": "soon", "sizes": ["x" * 999]})
    text = str(caught.value)
    assert text.startswith("output is no Image: name: Field required")
    assert "made: Input should be a valid date" in text
    assert "sizes.0: Input should be a valid integer" in text
    assert "\n" not in text
    assert len(text) < 500


def test_an_output_that_is_no_json_is_told_where():
    with pytest.raises(OutputError, match=r"output\.at: a date has no place in JSON"):
        check_output(STEP, {"at": datetime.date(2026, 11, 25)})


def test_references_are_replaced_wherever_they_are():
    params = {"a": Ref("build", "name"), "b": [{"c": (Ref("build", "sizes"), 3)}], "d": "build"}
    assert resolve(params, OUTPUTS) == {"a": "image-7", "b": [{"c": [[1, 2], 3]}], "d": "build"}


def test_a_default_stands_in_for_a_step_that_gave_nothing_and_none_is_one():
    params = {"a": Ref("other", "name", default=None), "b": Ref("build", "gone", default=7)}
    assert resolve(params, OUTPUTS) == {"a": None, "b": 7}


def test_a_reference_without_default_to_nothing_says_where_it_stands_and_what_helps():
    with pytest.raises(MissingOutputError) as caught:
        resolve({"a": [Ref("other", "name")]}, OUTPUTS)
    assert str(caught.value) == "params.a[0] refers to other.name, which is not there; give the reference a default"
    assert caught.value.step == "other"


def test_what_a_backend_does_to_its_params_changes_neither_the_plan_nor_another_steps_output():
    params = {"list": [{"deep": 1}], "sizes": Ref("build", "sizes"), "default": Ref("other", "x", default=[1])}
    before, outputs = copy.deepcopy(params), copy.deepcopy(OUTPUTS)
    resolved = resolve(params, outputs)
    resolved["list"][0]["deep"] = 2
    resolved["sizes"].append(3)
    resolved["default"].append(2)
    assert params == before
    assert outputs == OUTPUTS
