"""Writes a fleet to measure: prod itself, or copies of prod's cpu pools until there are so many groups.

    synthetic_fleet.py FOLDER [GROUPS]

The files are prod's own but for the pools, so the fleet stays as valid as prod is. A copy is told apart by its key and
by one more runner label; it stands in every region of prod's network, in all of the region's zones, and is as large as
its pattern is in that pattern's first region. The newest version pins the boot bundle of the tree, so that `startup/`
can be measured in the middle of an edit.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fleet.catalog.regions import ZONES
from fleet.versions import version_key
from rehearsal.stack_files import NAMESPACE
from startup import bundle

ROOT = Path(__file__).parent.parent
STACK = "prod"
MACHINE_CLASS = "cpu"


def pools(patterns: dict[str, Any], regions: list[str], groups: int) -> dict[str, Any]:
    """So many groups, a pool for as many as there are regions; the last pool takes what is left."""
    made: dict[str, Any] = {}
    for number in range(groups):
        serial, place = divmod(number, len(regions))
        key = list(patterns)[serial % len(patterns)]
        pool = made.setdefault(f"{key}-{serial:03}", deepcopy(patterns[key]))
        if place == 0:
            pool["regions"] = {}
            pool["scaling"].pop("region_order", None)  # its pattern's regions, which the last pool may lack
            pool["labels"] = [*pool.get("labels", ()), f"bench-{serial:03}"]
        size = deepcopy(next(iter(patterns[key]["regions"].values())))
        size["zones"] = [zone[-1] for zone in ZONES[regions[place]]]
        pool["regions"][regions[place]] = size
    return made


def write(folder: Path, groups: int | None) -> None:
    """Write the project's file and the stack's; without a number of groups the pools are prod's."""
    yaml = YAML()
    project, stack = (yaml.load(ROOT / name) for name in ("Pulumi.yaml", f"Pulumi.{STACK}.yaml"))
    versions, config = project["config"][f"{NAMESPACE}versions"]["value"], stack["config"]
    versions[max(versions, key=version_key)]["boot_bundle"] = bundle.build(ROOT / "startup").digest
    if groups is not None:
        own = config[f"{NAMESPACE}pools"]
        patterns = {key: pool for key, pool in own.items() if pool["machine_class"] == MACHINE_CLASS}
        regions = sorted(config[f"{NAMESPACE}network"]["regions"])
        config[f"{NAMESPACE}pools"] = pools(patterns, regions, groups)
    yaml.dump(project, folder / "Pulumi.yaml")
    yaml.dump(stack, folder / f"Pulumi.{STACK}.yaml")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
