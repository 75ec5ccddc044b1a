from __future__ import annotations

import dataclasses

import pytest

from rollout.engine import backend, events, spec

FROZEN = [
    found
    for module in (spec, backend, events)
    for found in vars(module).values()
    if dataclasses.is_dataclass(found) and isinstance(found, type) and found.__module__ == module.__name__
]


def test_there_is_something_to_check():
    assert {spec.Step, spec.Plan, backend.Passed, events.Event} < set(FROZEN)


@pytest.mark.parametrize("data", FROZEN, ids=lambda found: found.__name__)
def test_what_is_handed_around_cannot_be_changed(data):
    assert data.__dataclass_params__.frozen


def test_a_step_is_one_thing_on_one_backend_and_needs_nothing_more():
    step = spec.Step(id="a", backend="local")
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.backend = "google"  # pyright: ignore[reportAttributeAccessIssue] - what is tested
    assert (step.rule, step.retry.tries, step.gate, step.optional) == (spec.Rule.ALL, {}, None, False)
