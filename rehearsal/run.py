"""Runs a Pulumi program against the recording monitor."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import runpy
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pulumi.runtime
from google.protobuf import empty_pb2
from pulumi.runtime.mocks import MockEngine, MockSettings
from pulumi.runtime.settings import configure, reset_options
from pulumi.runtime.stack import run_in_stack

from rehearsal.inventory import Inventory
from rehearsal.monitor import RecordingMonitor

PROJECT: Final = "runner-fleet"

Config = Mapping[str, Any]
"""Namespaced configuration keys, such as runner-fleet:pools, to plain values."""


class ProgramError(Exception):
    """The program registered something that no engine would accept."""


def rehearse(
    program: Callable[[], None], stack: str, config: Config, on_register: Callable[[int], None] | None = None
) -> Inventory:
    """Run a program and return what it registered, all of it drained.

    `on_register` is called with the number of registrations so far. Raises whatever the program raises,
    LookupRefusedError for a look-up, and ProgramError for two resources of one URN.
    """
    monitor = RecordingMonitor(PROJECT, stack, on_register)
    with _engine(monitor, stack):
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        pulumi.runtime.set_all_config(texts)
        with _uncollected():
            asyncio.run(run_in_stack(_settling(program)))
    if monitor.duplicates:
        raise ProgramError("registered twice: " + ", ".join(sorted(monitor.duplicates)))
    return monitor.inventory()


def rehearse_project(
    root: Path, stack: str, config: Config, on_register: Callable[[int], None] | None = None
) -> Inventory:
    """Run the project's own `__main__.py`."""

    def program() -> None:
        runpy.run_path(str(root / "__main__.py"), run_name="__main__")

    return rehearse(program, stack, config, on_register)


def _settling(program: Callable[[], None]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Lets everything that a program started come to its end before the SDK begins to wait for it.

    The SDK waits a tick at a time, each time for all that is open, which takes longer than the rest of a large run.
    """

    async def settled() -> None:
        program()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    return settled


@contextmanager
def _uncollected() -> Generator[None]:
    """Next to nothing of a run is garbage before it ends, and collecting walks all of it again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _engine(monitor: RecordingMonitor, stack: str) -> Generator[None]:
    """The SDK's settings for one run: a preview, with Outputs that refuse to become text by accident."""
    engine_side: Any = monitor
    before = os.environ.get("PULUMI_ERROR_OUTPUT_STRING")
    os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"
    reset_options()
    configure(
        MockSettings(
            monitor=monitor,
            monitor_features=set(engine_side.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
            engine=MockEngine(logging.getLogger("pulumi")),
            project=PROJECT,
            stack=stack,
            dry_run=True,
            organization="organization",
            callbacks=None,
        )
    )
    try:
        yield
    finally:
        reset_options()
        pulumi.runtime.set_all_config({})
        if before is None:
            del os.environ["PULUMI_ERROR_OUTPUT_STRING"]
        else:
            os.environ["PULUMI_ERROR_OUTPUT_STRING"] = before
