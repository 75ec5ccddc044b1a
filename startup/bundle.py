"""Packs what runs on a VM into the boot bundle: one archive, named by its SHA-256, the same bytes on every machine.

The archive is a plain ustar file. It is not compressed, because two builds of zlib may compress the same text to
different bytes, and a digest that depends on who packed is worth nothing. Of a file only its path, its content and
whether anybody may execute it are kept; git keeps no more. Folders are listed only as parents of files, since git
does not know an empty one.

Editors and interpreters leave files behind: names that start with a dot, `__pycache__`, `*.pyc` and `*~` are skipped.
Anything else that is no regular file, and any name outside ASCII, is refused.

Nothing is uploaded here; that is the boot bundle's component. What a VM does with the archive is `bootstrap.sh.j2`.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

PARTS: Final = ("bin", "hooks", "image", "lib", "units")
"""The folders of `startup/` that go to a VM; those that do not exist are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A packed boot bundle: its bytes, their digest as `sha256:<hex>`, and the paths of its files, sorted."""

    data: bytes
    digest: str
    files: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The digest's 64 hexadecimal digits."""
        return self.digest.removeprefix("sha256:")

    @property
    def object_name(self) -> str:
        """What the archive is called in its bucket."""
        return f"boot-{self.sha256}.tar"


class Archive(Protocol):
    """Bytes, and a name that holds their digest: a boot bundle, or a packed function."""

    @property
    def data(self) -> bytes:
        """The archive."""
        ...

    @property
    def object_name(self) -> str:
        """What it is called in its bucket."""
        ...


def build(startup: Path) -> Bundle:
    """Pack the parts of the folder `startup`. Raises ValueError for what cannot be packed, naming it."""
    sources = {_name(path, startup): path for part in PARTS for path in _files(startup / part)}
    if not sources:
        raise ValueError(f"{startup}: no file to pack in {', '.join(PARTS)}; a VM could not boot from an empty bundle")
    folders = {str(parent) for name in sources for parent in PurePosixPath(name).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding="ascii") as archive:
        for name in sorted({*sources, *folders}):
            if name in folders:
                archive.addfile(_entry(name, kind=tarfile.DIRTYPE, executable=True))
                continue
            content = sources[name].read_bytes()
            executable = bool(sources[name].stat().st_mode & 0o111)
            archive.addfile(_entry(name, executable=executable, size=len(content)), io.BytesIO(content))
    data = buffer.getvalue()
    return Bundle(data=data, digest=f"sha256:{hashlib.sha256(data).hexdigest()}", files=tuple(sorted(sources)))


def write(archive: Archive, folder: Path) -> Path:
    """Make sure that `folder` holds the archive under its object name, never half of it; return its path."""
    target = folder / archive.object_name
    if target.is_file() and target.read_bytes() == archive.data:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".boot-") as scratch:
        partial = Path(scratch, archive.object_name)
        partial.write_bytes(archive.data)
        partial.replace(target)
    return target


def _files(path: Path) -> Iterator[Path]:
    """The regular files at and below `path`, without leftovers; none where there is nothing."""
    if _is_leftover(path.name):
        return
    if path.is_symlink():
        raise ValueError(f"{path}: a symbolic link cannot be packed; put the file itself there")
    if path.is_dir():
        for child in path.iterdir():
            yield from _files(child)
    elif path.is_file():
        yield path
    elif path.exists():
        raise ValueError(f"{path}: neither a regular file nor a folder, so it cannot be packed; remove it")


def _is_leftover(name: str) -> bool:
    return name == "__pycache__" or name.startswith(".") or name.endswith((".pyc", "~"))


def _name(path: Path, startup: Path) -> str:
    name = path.relative_to(startup).as_posix()
    if not name.isascii():
        raise ValueError(f"{path}: a name outside ASCII is encoded differently from machine to machine; rename it")
    return name


def _entry(name: str, *, executable: bool, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """A header that owes nothing to the machine: `TarInfo` itself starts with time, user and group 0."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, 0o755 if executable else 0o644
    entry.uname = entry.gname = "root"
    return entry


def _main() -> None:
    bundle = build(Path(__file__).parent)
    with tarfile.open(fileobj=io.BytesIO(bundle.data)) as archive:
        files = [f"{entry.mode:04o} {entry.name}" for entry in archive if entry.isfile()]
    sys.stdout.write("\n".join([bundle.digest, *files]) + "\n")


if __name__ == "__main__":
    _main()
