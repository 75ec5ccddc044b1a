"""The functions' packages, each of which is deployed at the top of its own source, made importable side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

FOLDERS: Final = ("registration_broker", "instance_deleter", "demand_listener", "reconciler")


def functions_importable() -> None:
    """Have `broker`, `deleter`, `listener`, `scaleset` and `reconciler` found by an import from now on."""
    root = Path(__file__).parents[1] / "functions"
    sys.path[:0] = [str(root / folder) for folder in FOLDERS if str(root / folder) not in sys.path]
