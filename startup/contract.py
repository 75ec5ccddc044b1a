"""Writes what follows from the metadata contract: the names that a VM's scripts may read, and the reference page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, cast

from fleet.metadata import MARKS, RunnerMetadata, attribute_name

ROOT: Final = Path(__file__).parent.parent
NAMES: Final = ROOT / "startup/lib/attributes.txt"
PAGE: Final = ROOT / "docs/reference-metadata.md"

_HEAD: Final = """\
# Reference: the metadata of a runner VM

Written by `python -m startup.contract` from `fleet/metadata.py`; edit there. A template sets these attributes and the
scripts of the boot bundle read them, each through the one function `attribute` in `startup/lib/common.sh`, which
refuses a name that is not listed here. Values are text. None is secret: every process on a VM can ask for them, and a
job's processes are kept from it only as far as [security.md](security.md) says.

| attribute | meaning | unit | example | read by |
|---|---|---|---|---|
"""

_MARKS_HEAD: Final = """
## What an operator writes

No template sets these. An operator writes them on one VM with `scripts/rollout hold`, `release` and `drain`, or by
hand with `gcloud compute instances add-metadata`; no VM's account may ([security.md](security.md)). A VM asks for them
afresh each time, in `startup/lib/marks.py`; the deleter and the reconciler read them from Compute Engine.
[lifecycle.md](lifecycle.md#hold-and-drain) says what they do.

| attribute | meaning | form | read by |
|---|---|---|---|
"""


def names() -> str:
    """The attributes' names, one by line."""
    return "".join(f"{attribute_name(field)}\n" for field in sorted(RunnerMetadata.model_fields))


def page() -> str:
    """The reference page."""
    return _HEAD + "".join(_row(field) for field in sorted(RunnerMetadata.model_fields)) + _marks()


def readers(field: str) -> list[str]:
    """The scripts below startup/ that read a field's attribute; `people` where none does."""
    return _extra(field)["readers"]


def _marks() -> str:
    rows = [
        f"| `{name}` | {meaning} | {form} | {_code(readers.split())} |\n"
        for name, (meaning, form, readers) in sorted(MARKS.items())
    ]
    return _MARKS_HEAD + "".join(rows)


def _code(readers: list[str]) -> str:
    return ", ".join(f"`{reader}`" if "/" in reader else reader for reader in readers)


def _row(field: str) -> str:
    info, extra = RunnerMetadata.model_fields[field], _extra(field)
    example = (info.examples or [""])[0]
    shown = example if len(example) <= 60 else example[:57] + "…"
    read_by = _code(extra["readers"])
    return f"| `{attribute_name(field)}` | {info.description} | {extra['unit']} | `{shown}` | {read_by} |\n"


def _extra(field: str) -> dict[str, Any]:
    extra: Any = RunnerMetadata.model_fields[field].json_schema_extra
    assert isinstance(extra, dict), f"{field} is described by a plain Field; use _attribute"
    return cast("dict[str, Any]", extra)


def _main() -> None:
    NAMES.write_text(names(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {NAMES.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    _main()
