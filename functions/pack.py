"""Packs a function's folder and its table into the archive that is deployed, the same bytes on every machine.

The archive is a zip without compression: two builds of zlib may compress the same text to different bytes. Files are
sorted, dated 1980-01-01 and readable by all. Into it go Python files, `requirements.txt` and the table; what people
keep beside them, such as `requirements.in`, stays out.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TABLE: Final = "fleet.json"

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A packed function: its bytes, and what the archive is called, which holds their digest."""

    data: bytes
    object_name: str
    files: tuple[str, ...]


def build(folder: Path, table: str) -> Package:
    """Pack the function in `folder` with its table. Raises ValueError where there is no `main.py`."""
    sources = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    if "main.py" not in sources:
        raise ValueError(f"{folder}: no main.py, so there is nothing that could be deployed")
    sources["requirements.txt"] = folder / "requirements.txt"
    contents = {name: path.read_bytes() for name, path in sources.items()} | {TABLE: table.encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # as if packed on Unix, whoever packs
            archive.writestr(entry, contents[name])
    data = buffer.getvalue()
    name = f"{folder.name}-{hashlib.sha256(data).hexdigest()}.zip"
    return Package(data=data, object_name=name, files=tuple(sorted(contents)))
