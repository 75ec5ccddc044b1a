"""The one way in which commands edit configuration: as text, checked as data, judged by the model, written whole.

An edit is refused when it means something else than it should, when a stack would get a fault that it did not have, or
when it changes a version that exists. Faults that were there before are no reason against it: a way back must stay open
while somebody works on something else.
"""

from __future__ import annotations

import copy
import difflib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fleet import versions
from fleet.checks import ALL_CHECKS
from fleet.draft import Draft, parse
from fleet.errors import Fault
from rehearsal import stack_files
from rehearsal.stack_files import StackFileError, StackFiles
from rollout.config.yaml_text import HandError
from rollout.exits import Exit, Problem
from startup import bundle

PROJECT_FILE: Final = "Pulumi.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an edit is to do, said twice: to the text, and to what the text means."""

    change: Callable[[str], str]
    meant: Callable[[dict[str, Any]], None]
    """Does the same to the plain data of the whole file."""
    by_hand: str
    """What a person does where the text cannot be edited: an imperative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEdit:
    """What one stack's configuration is before and after an edit."""

    stack: str
    before: StackFiles
    after: StackFiles
    faults_before: tuple[str, ...]
    faults_after: tuple[str, ...]
    """Those of before that are still there: an edit that adds one is refused."""
    confirm: bool
    """Whether the stack wants to be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A checked edit of one file, not written yet."""

    path: Path
    before: str
    after: str
    stacks: tuple[StackEdit, ...]
    """All stacks that the file is for, by name."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after

    def diff(self) -> str:
        """The edit as a unified diff."""
        name = self.path.name
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def write(self) -> None:
        """Put the new file in the place of the old one: whole or not at all, whenever the process ends.

        Raises Problem when the file is no longer what the edit was made from.
        """
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two edits at once; an editor asks for no lock, but has a minute less
            if self.path.read_bytes() != self.before.encode():
                what = f"{self.path.name} was changed by somebody else meanwhile; nothing was written: run it again"
                raise Problem(Exit.FAILED, what)
            _replace(self.path, self.after.encode())
            os.fsync(folder)
        finally:
            os.close(folder)


def prepare(root: Path, name: str, wanted: Wanted) -> Edit:
    """Make an edit of the file of that name and check it; nothing is written.

    Raises Problem where the edit cannot be made, or must not be; StackFileError for files that are no configuration.
    """
    path = (root / name).resolve()
    before = _text(path)
    after = _changed(name, before, wanted)
    stacks = [stack for stack in stack_files.stacks(root) if name in {PROJECT_FILE, f"Pulumi.{stack}.yaml"}]
    tree = _tree_bundle(root)
    with tempfile.TemporaryDirectory(prefix="runner-fleet-edit-") as folder:
        for file in root.glob("Pulumi*.yaml"):
            (Path(folder) / file.name).write_bytes(after.encode() if file.name == name else file.read_bytes())
        edits = tuple(_of_stack(root, Path(folder), stack, tree) for stack in stacks)
    return Edit(path=path, before=before, after=after, stacks=edits)


def plain(text: str) -> dict[str, Any]:
    """What a file means, as plain data. Raises YAMLError and HandError."""
    yaml: Any = YAML(typ="safe", pure=True)
    found: Any = yaml.load(text)
    if not isinstance(found, dict):
        raise HandError
    return cast("dict[str, Any]", found)


def _changed(name: str, before: str, wanted: Wanted) -> str:
    try:
        meant = copy.deepcopy(plain(before))
        wanted.meant(meant)
        after = wanted.change(before)
        if plain(after) == meant:
            return after
    except (HandError, YAMLError, KeyError, TypeError):
        pass
    what = f"{name} is written in a way that this command cannot edit safely; nothing was written. By hand: "
    raise Problem(Exit.FAULT, what + wanted.by_hand)


def _of_stack(root: Path, folder: Path, stack: str, tree: str) -> StackEdit:
    before, after = stack_files.read(root, stack), stack_files.read(folder, stack)
    old, old_faults = _judged(before, tree)
    new, new_faults = _judged(after, tree)
    added = [fault for fault in new_faults if fault not in old_faults]
    if added:
        _refuse(stack, _located(after, added))
    edited = versions.edits(old.versions, new.versions)
    if edited:
        _refuse(stack, [f"versions.{edit.version}.{edit.field}: a version is immutable" for edit in edited])
    return StackEdit(
        stack=stack,
        before=before,
        after=after,
        faults_before=tuple(_located(before, old_faults)),
        faults_after=tuple(_located(after, new_faults)),
        confirm=old.rollout is None or old.rollout.confirm,
    )


def _judged(files: StackFiles, tree: str) -> tuple[Draft, list[Fault]]:
    draft, faults = parse(files.sections, files.stack, tree)
    for check in ALL_CHECKS:
        faults += check(draft)
    return draft, faults


def _located(files: StackFiles, faults: Iterable[Fault]) -> list[str]:
    return [f"{files.locate(fault.path)}: {fault}" for fault in faults]


def _refuse(stack: str, faults: list[str]) -> None:
    head = f"nothing was written: with this edit stack {stack} would have a fault that it does not have now"
    raise Problem(Exit.FAULT, "\n".join((head, *faults)))


def _tree_bundle(root: Path) -> str:
    try:
        return bundle.build(root / "startup").digest
    except ValueError as error:
        raise Problem(Exit.FAULT, f"startup/ cannot be packed: {error}; take that out, or mend it") from None


def _text(path: Path) -> str:
    """The file with the line breaks that it has."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise StackFileError(f"{path.name}: cannot be read: {error.strerror}; fix: restore the file") from None
    except UnicodeDecodeError:
        raise StackFileError(f"{path.name}: not in UTF-8; fix: save it as UTF-8") from None


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), path.stat().st_mode)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
