"""Measures the floor, in this fresh process: what the SDK alone takes to register the resources of a recording.

    bare_program.py RECORDING [--uncollected]

It is what anyone writes in a unit test: the SDK's stock mocks, which answer with an id and the inputs, and a function
under `pulumi.runtime.test`, which drains. Types, names and inputs are those that the fleet's program registered, so
their number and serialized size are the same; references to other resources are there as text.

It lacks all that makes a program: configuration, typed inputs, resource classes, providers, children inside their
components and a component's outputs, dependencies by Output, options, and a record of what was registered.

A rehearsal switches Python's garbage collector off while it runs, which nobody's unit test does. `--uncollected` does
the same here, to tell what of the difference that is.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import pulumi


class Mocks(pulumi.runtime.Mocks):
    """An id and the inputs."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Answer a registration."""
        return f"{args.name}-id", args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:  # noqa: ARG002 - the SDK's signature
        """Answer a look-up; there is none."""
        return {}, None


def measure(recording: Path) -> dict[str, float]:
    """One run, timed: from setting the mocks until everything is drained."""
    registered = json.loads(recording.read_text())
    monitor = pulumi.runtime.mocks.MockMonitor(Mocks())

    @pulumi.runtime.test
    def program() -> None:
        for type_, name, custom, inputs in registered:
            if custom:
                pulumi.CustomResource(type_, name, inputs)
            else:
                pulumi.ComponentResource(type_, name)

    start = time.process_time()
    pulumi.runtime.set_mocks(Mocks(), monitor=monitor)
    program()
    end = time.process_time()
    return {"resources": len(monitor.resources), "seconds": end - start}


if __name__ == "__main__":
    if sys.argv[2:] == ["--uncollected"]:
        gc.disable()
    print(json.dumps(measure(Path(sys.argv[1]))))
