"""A stack's settings, as plans read them: what runs is looked at, whatever bundle the tree makes."""

from __future__ import annotations

from pathlib import Path

from fleet.settings import Settings, load
from fleet.versions import newest
from rehearsal import stack_files


def stack_settings(root: Path, stack: str) -> Settings:
    """What its files say; an edit of startup/ without a version is no fault. Raises ConfigError and StackFileError."""
    files = stack_files.read(root, stack)
    versions = files.sections.get("versions", {})
    pinned = versions.get(newest(versions) or "", {}).get("boot_bundle", "")
    return load(files.sections, environment=stack, tree_bundle=pinned)
