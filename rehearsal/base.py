"""The inventory to compare with: of another stack, or of this stack at another git revision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pulumi

from rehearsal import stack_files
from rehearsal.inventory import Inventory
from rehearsal.run import rehearse_project

_TIMEOUT_SECONDS = 120


class BaseError(Exception):
    """There is no inventory to compare with. Its text is one line for people."""


def base(root: Path, stack: str, ref: str) -> tuple[Inventory, dict[str, Any]]:
    """The inventory of `ref`, which names a stack or else a git revision, and the configuration it came from."""
    if ref not in stack_files.stacks(root):
        return _at_revision(root, stack, ref)
    try:
        config = stack_files.read(root, ref)
        return rehearse_project(root, ref, config.config), config.sections
    except (stack_files.StackFileError, pulumi.RunError):
        raise BaseError(
            f"--against {ref}: that stack has faults of its own; scripts/preview {ref} says which"
        ) from None


def _at_revision(root: Path, stack: str, ref: str) -> tuple[Inventory, dict[str, Any]]:
    """Each revision is rehearsed by its own program in a process of its own, with the packages of this checkout."""
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    if not commit:
        known = ", ".join(stack_files.stacks(root))
        raise BaseError(f"--against {ref}: neither a stack ({known}) nor a git revision; fetch it, or name another")
    with tempfile.TemporaryDirectory(prefix="runner-fleet-base-") as folder:
        archive = subprocess.run(["git", "-C", str(root), "archive", commit], capture_output=True, check=False)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        done = _recorded(folder, stack, ref)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BaseError(f"--against {ref}: stack {stack} cannot be rehearsed at {commit[:10]}: {reason}")
    recorded = json.loads(done.stdout)
    return Inventory.from_json(recorded["inventory"]), recorded["sections"]


def _recorded(folder: str, stack: str, ref: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rehearsal.record", stack]
    environment = {**os.environ, "PYTHONPATH": folder}
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BaseError(f"--against {ref}: its rehearsal took longer than {_TIMEOUT_SECONDS} s") from None


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
