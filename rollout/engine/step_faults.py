"""What is wrong with one step taken by itself: its id, its numbers, its params, and the code that it names.

What it says about other steps (needs, references, cycles) the graph judges.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from rollout.engine.outputs import not_json
from rollout.engine.spec import Approval, AtLeast, Bake, FailureBudget, Rule, Step

_ID: Final = re.compile(r"[A-Za-z0-9_.:@-]+(/[A-Za-z0-9_.:@-]+)*")
_ONLY_DOTS: Final = re.compile(r"(^|/)\.+(/|$)")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_./:@*-]+")


def of_step(step: Step) -> Iterator[str]:
    """Every fault of a step, without its id in front."""
    yield from _of_id(step.id)
    yield from _of_numbers(step)
    yield from _of_retry(step)
    yield from _of_rule(step)
    yield from _of_gate(step)
    yield from not_json(step.params, "params")
    if step.compensation:
        yield from not_json(step.compensation.params, "compensation.params")
        yield from of_seconds("compensation.timeout_seconds", step.compensation.timeout_seconds)
    if step.output is not None:
        yield from _of_code("output", step.output)
    if step.expand is not None:
        yield from _of_code("expand", step.expand)


def _of_id(step_id: str) -> Iterator[str]:
    if not _ID.fullmatch(step_id):
        yield "a bad id; allowed are letters, digits and -_./:@, with something before, between and after slashes"
    elif _ONLY_DOTS.search(step_id):
        yield "a bad id; a part of nothing but dots would be a folder's in the run's logs"


def _of_numbers(step: Step) -> Iterator[str]:
    if not _finite(step.weight) or step.weight < 0:
        yield f"weight: {step.weight!r} is not a finite number of seconds, 0 or more"
    if step.try_timeout_seconds is not None:
        yield from of_seconds("try_timeout_seconds", step.try_timeout_seconds)
    if step.timeout_seconds is not None:
        yield from of_seconds("timeout_seconds", step.timeout_seconds)
    for name, units in step.uses.items():
        if not _whole(units, 1):
            yield f"uses.{name}: {units!r} is not a whole number of units, 1 or more"


def _of_retry(step: Step) -> Iterator[str]:
    retry = step.retry
    for error_class, tries in retry.tries.items():
        if not _whole(tries, 2):
            yield f"retry.tries.{error_class}: {tries!r} is not a whole number of tries in all, 2 or more"
    if not _finite(retry.first_seconds) or retry.first_seconds < 0:
        yield f"retry.first_seconds: {retry.first_seconds!r} is not a finite number of seconds, 0 or more"
    elif not _finite(retry.most_seconds) or retry.most_seconds < retry.first_seconds:
        yield f"retry.most_seconds: {retry.most_seconds!r} is not a finite number, {retry.first_seconds} or more"


def _of_rule(step: Step) -> Iterator[str]:
    rule = step.rule
    if not step.needs and rule not in (Rule.ALL, Rule.ALWAYS):
        yield f"rule {rule if isinstance(rule, Rule) else 'at least'}: it needs nothing, so that can never be met"
    if not isinstance(rule, AtLeast):
        return
    if (rule.steps is None) == (rule.share is None):
        yield f"rule at least: steps {rule.steps}, share {rule.share}; exactly one is given"
    elif rule.steps is not None:
        if not _whole(rule.steps, 1):
            yield f"rule at least: steps {rule.steps!r} is not a whole number, 1 or more"
        elif rule.steps > len(set(step.needs)) and not any(need.endswith("/*") for need in step.needs):
            yield f"rule at least: {rule.steps} steps have to pass, and it needs {len(set(step.needs))}"
    elif not _finite(rule.share) or not 0 < (rule.share or 0) <= 1:
        yield f"rule at least: share {rule.share!r} is not above 0 and up to 1"


def _of_gate(step: Step) -> Iterator[str]:
    match step.gate:
        case Bake(seconds=seconds) if not _finite(seconds) or seconds < 0:
            yield f"gate bake: {seconds!r} is not a finite number of seconds, 0 or more"
        case FailureBudget():
            if not _whole(step.gate.most, 0):
                yield f"gate failure budget: most {step.gate.most!r} is not a whole number, 0 or more"
            if not step.gate.of:
                yield "gate failure budget: of is empty; name steps, or patterns with *"
            for pattern in step.gate.of:
                if not _PATTERN.fullmatch(pattern):
                    yield f"gate failure budget: {pattern!r} is no id, nor one with *"
        case Approval(question=""):
            yield "gate approval: the question is empty; say what a person is to approve"
        case _:
            pass


def _of_code(name: str, code: Any) -> Iterator[str]:
    """Code that another process, which resumes the run, could not find again."""
    module, path = getattr(code, "__module__", None), getattr(code, "__qualname__", None)
    if not module or not path:
        yield f"{name}: {code!r} has no name of its own; give a class or function of a module"
        return
    found: Any = None
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if found is not code:
        yield f"{name}: {module}.{path} cannot be imported; move it to the top level of a module, and give it a name"


def qualified_name(code: Any) -> str:
    """By which code is found again."""
    return f"{code.__module__}:{code.__qualname__}"


def of_seconds(name: str, seconds: float) -> Iterator[str]:
    """A timeout that is none."""
    if not _finite(seconds) or seconds <= 0:
        yield f"{name}: {seconds!r} is not a finite number of seconds above 0; leave it out for no timeout"


def _finite(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)


def _whole(number: object, least: int) -> bool:
    return type(number) is int and number >= least
