"""Measures one run of the project's program on the fleet in the working directory, in this fresh process.

    fleet_program.py RECORDING

Timed is all that a preview does once its files are read, `rehearsal.run.rehearse_project`: the configuration as JSON,
`__main__.py` (pack the boot bundle, parse and check the settings, render the bootstrap, register every resource),
draining all registrations, and the sorted inventory. Reading the fleet's YAML is timed apart. Imports are not timed.
Memory is the peak over what the process had after its imports, YAML included.

Prints the measurement as JSON, and leaves in RECORDING what the bare program has to register.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path
from types import ModuleType

from rehearsal import stack_files
from rehearsal.run import rehearse_project

ROOT = Path(__file__).parent.parent
STACK = "prod"
GROUP = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"


def import_program() -> None:
    """Import what `__main__.py` does. The SDKs' modules load when first touched, which would fall into the timing."""
    for name in ("pulumi_gcp", "pulumi_github", "startup.bundle", "startup.render"):
        importlib.import_module(name)
    for path in sorted(ROOT.glob("components/*.py")):
        component = importlib.import_module(f"components.{path.stem}")
        for value in vars(component).values():
            if isinstance(value, ModuleType):
                hasattr(value, "loaded")


def peak_kib() -> int:
    """The most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(recording: Path) -> dict[str, float]:
    """One run, timed; the recording is written when the clock has stopped."""
    import_program()
    before = peak_kib()
    start = time.process_time()
    files = stack_files.read(Path.cwd(), STACK)
    read = time.process_time()
    inventory = rehearse_project(ROOT, STACK, files.config)
    end = time.process_time()
    kib = peak_kib() - before
    registered = [[entry.type, entry.name, entry.custom, entry.inputs] for entry in inventory.resources]
    recording.write_text(json.dumps(registered))
    return {
        "groups": len(inventory.of_type(GROUP)),
        "resources": len(registered),
        "yaml_seconds": read - start,
        "seconds": end - read,
        "kib": kib,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
