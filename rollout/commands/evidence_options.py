"""The options by which commands are told how much evidence is enough."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from rollout.view.evidence import Thresholds

_OPTIONS: Final = (
    ("jobs", click.IntRange(1, 100_000), "Jobs of canary VMs without a failed boot between them."),
    (
        "jobs_each",
        click.IntRange(0, 100_000),
        "Jobs in each pool that has a canary; 0: pools nobody asks for are fine.",
    ),
    ("bake_hours", click.FloatRange(0, 2160), "Hours since the first canary VM."),
    ("most_failures", click.IntRange(0, 100_000), "Failed boots of the canary above which it is given up."),
)


def evidence_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the function gets them as `thresholds`."""

    @functools.wraps(function)
    def with_thresholds(*arguments: Any, **given: Any) -> None:
        values = {name: given.pop(name) for name, _, _ in _OPTIONS}
        function(*arguments, thresholds=Thresholds(**values), **given)

    for name, kind, meaning in reversed(_OPTIONS):
        default = getattr(Thresholds(), name)
        flag = f"--{name.replace('_', '-')}"
        add = click.option(flag, name, type=kind, default=default, show_default=True, help=meaning)
        with_thresholds = add(with_thresholds)
    return with_thresholds
