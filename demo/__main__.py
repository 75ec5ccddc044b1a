"""What the demo is made of: prod's groups, metadata, bootstrap and bundle, handed to stand-ins that know no fleet.

With `--jobs` it is the simulation's: a whole fleet on a virtual clock (`simulation`), without files and processes.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from demo import show
from fleet.errors import ConfigError
from fleet.function_table import function_table
from fleet.metadata import runner_metadata
from fleet.settings import load
from rehearsal import stack_files
from startup import bundle, render

STACK = "prod"


def plan() -> show.Plan:
    """The demo's plan. Raises DemoError where the stack's files are at fault."""
    packed = bundle.build(Path("startup"))
    try:
        sections = stack_files.read(Path(), STACK).sections
        settings = load(sections, environment=STACK, tree_bundle=packed.digest)
    except (ConfigError, stack_files.StackFileError) as error:
        raise show.DemoError(f"{STACK} is no fleet: {error}") from error
    bucket, deadline = settings.names.boot_bucket, settings.lifecycle.boot_deadline_seconds
    attributes: dict[str, dict[str, str]] = {}
    for pool in settings.pools:
        newest = settings.pool_versions(pool)[-1]
        environment = render.pool_environment(settings, pool)
        attributes[pool] = runner_metadata(settings, pool, newest, job_environment=environment).attributes()
    return show.Plan(
        table=json.loads(function_table(settings)),
        attributes=attributes,
        boot_deadline_seconds=deadline,
        script=render.bootstrap(bundle_bucket=bucket, bundle_sha256=packed.sha256, boot_deadline_seconds=deadline),
        boot_bucket=bucket,
        objects={packed.object_name: packed.data},
        boot_bundle=packed.data,
    )


def simulate() -> int:
    """Play a fleet instead of VMs; the exit status."""
    from simulation.importing import functions_importable  # noqa: PLC0415 - not for a demo of VMs

    functions_importable()
    from simulation.command import main  # noqa: PLC0415 - only now are the functions' packages found

    return main()


if __name__ == "__main__":
    if any(argument.partition("=")[0] == "--jobs" for argument in sys.argv[1:]):
        sys.exit(simulate())
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the demo has something to clear up
    sys.exit(show.main(plan))
