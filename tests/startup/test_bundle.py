"""The boot bundle: the same bytes on every machine, and nothing in it that should not be."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from startup import bundle as module
from startup.bundle import PARTS, build, write

FILES = {
    "bin/serve": (b"#!/bin/bash\n", 0o755),
    "lib/metadata.sh": (b"get() { :; }\n", 0o644),
    "lib/deep/er/data": (b"\0\1", 0o644),
    "lib-like/ignored": (b"", 0o644),
    "units/runner.target": (b"[Unit]\n", 0o644),
}
TREE_DIGEST = "sha256:87a8f202194303b299310fb07b0f2f69567cfc33cdcadd82be0b86cb8ca2f825"
"""Of `FILES`, so that another Python's tarfile, or an edit here, cannot change the format unseen."""


def lay_out(folder: Path, files: Mapping[str, tuple[bytes, int]], *, mtime_seconds: int = 1) -> Path:
    for name, (content, mode) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, (mtime_seconds, mtime_seconds))
    return folder


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return archive.getmembers()


def test_two_machines_pack_the_same_bytes(tmp_path: Path) -> None:
    with umask(0o077):
        one = lay_out(tmp_path / "one", FILES, mtime_seconds=1)
    with umask(0o000):
        two = lay_out(tmp_path / "two", dict(reversed(FILES.items())), mtime_seconds=2_000_000_000)
    (two / "lib/deep/er/data").chmod(0o600)
    assert build(one) == build(two)


def test_the_format_does_not_change_unseen(tmp_path: Path) -> None:
    assert build(lay_out(tmp_path, FILES)).digest == TREE_DIGEST


def test_the_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    bundle = build(lay_out(tmp_path, FILES))
    sha256 = hashlib.sha256(bundle.data).hexdigest()
    assert (bundle.digest, bundle.sha256, bundle.object_name) == (f"sha256:{sha256}", sha256, f"boot-{sha256}.tar")


def test_members_are_sorted_owned_by_root_and_without_time(tmp_path: Path) -> None:
    bundle = build(lay_out(tmp_path, FILES))
    entries = members(bundle.data)
    assert [(entry.name, oct(entry.mode), entry.isdir()) for entry in entries] == [
        ("bin", "0o755", True),
        ("bin/serve", "0o755", False),
        ("lib", "0o755", True),
        ("lib/deep", "0o755", True),
        ("lib/deep/er", "0o755", True),
        ("lib/deep/er/data", "0o644", False),
        ("lib/metadata.sh", "0o644", False),
        ("units", "0o755", True),
        ("units/runner.target", "0o644", False),
    ]
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries} == {
        (0, 0, "root", "root", 0)
    }
    assert bundle.files == tuple(entry.name for entry in entries if entry.isfile())
    assert b"ustar\x0000" in bundle.data[:512], "a plain ustar header, neither GNU nor pax"


@pytest.mark.parametrize("mode", [0o100, 0o010, 0o001])
def test_any_executable_bit_makes_a_file_executable(tmp_path: Path, mode: int) -> None:
    lay_out(tmp_path, {"bin/serve": (b"x", 0o644 | mode)})
    assert oct(members(build(tmp_path).data)[-1].mode) == "0o755"


def test_content_names_and_modes_all_count(tmp_path: Path) -> None:
    variants = [FILES, {**FILES, "bin/serve": (b"other", 0o755)}, {**FILES, "bin/serve": (b"#!/bin/bash\n", 0o644)}]
    variants.append({("bin/server" if name == "bin/serve" else name): file for name, file in FILES.items()})
    digests = {build(lay_out(tmp_path / str(index), files)).digest for index, files in enumerate(variants)}
    assert len(digests) == len(variants)


def test_leftovers_of_tools_are_not_packed(tmp_path: Path) -> None:
    clean = build(lay_out(tmp_path, FILES))
    noise = ["lib/__pycache__/a.cpython-311.pyc", "lib/a.pyc", "bin/serve~", "bin/.serve.swp", "units/.hidden/deep"]
    lay_out(tmp_path, dict.fromkeys(noise, (b"noise", 0o644)))
    (tmp_path / "lib/.#metadata.sh").symlink_to("nobody@nowhere")
    (tmp_path / "hooks/empty").mkdir(parents=True)
    assert build(tmp_path) == clean


@pytest.mark.parametrize("target", ["metadata.sh", "missing", "/etc"])
def test_a_symbolic_link_is_refused_by_name(tmp_path: Path, target: str) -> None:
    lay_out(tmp_path, FILES)
    (tmp_path / "lib/alias").symlink_to(target)
    with pytest.raises(ValueError, match="lib/alias: a symbolic link"):
        build(tmp_path)


def test_a_part_that_is_a_link_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, FILES)
    (tmp_path / "hooks").symlink_to("bin")
    with pytest.raises(ValueError, match="hooks: a symbolic link"):
        build(tmp_path)


def test_a_pipe_is_refused_by_name(tmp_path: Path) -> None:
    lay_out(tmp_path, FILES)
    os.mkfifo(tmp_path / "lib/pipe")
    with pytest.raises(ValueError, match="lib/pipe: neither a regular file nor a folder"):
        build(tmp_path)


def test_a_name_outside_ascii_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside ASCII"):
        build(lay_out(tmp_path, {"lib/é": (b"", 0o644)}))


def test_a_folder_without_anything_to_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file to pack in bin, hooks, image, lib, units"):
        build(tmp_path)


SEGMENT = st.text("abz-_09@", min_size=1, max_size=6)
TREES = st.dictionaries(
    st.builds(
        "/".join, st.tuples(st.sampled_from(PARTS), SEGMENT) | st.tuples(st.sampled_from(PARTS), SEGMENT, SEGMENT)
    ),
    st.tuples(st.binary(max_size=600), st.sampled_from([0o644, 0o755, 0o600, 0o700])),
    min_size=1,
    max_size=8,
).filter(lambda tree: not any(other.startswith(f"{name}/") for name in tree for other in tree))


@settings(deadline=None, max_examples=50)  # a busy machine is no fault of the bundle's
@given(tree=TREES, data=st.data())
def test_the_bytes_depend_on_the_files_alone(tree: dict[str, tuple[bytes, int]], data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(tree.items()))))
    with tempfile.TemporaryDirectory() as scratch:
        one = build(lay_out(Path(scratch, "one"), tree))
        two = build(lay_out(Path(scratch, "two"), shuffled, mtime_seconds=9))
        assert one == two
        with tarfile.open(fileobj=io.BytesIO(one.data)) as archive:
            contents = {entry.name: (archive.extractfile(entry), entry.mode) for entry in archive if entry.isfile()}
            unpacked = {name: (content and content.read(), mode) for name, (content, mode) in contents.items()}
    assert unpacked == {name: (content, 0o755 if mode & 0o111 else 0o644) for name, (content, mode) in tree.items()}


def test_write_leaves_one_whole_file_and_keeps_one_that_is_right(tmp_path: Path) -> None:
    bundle = build(lay_out(tmp_path / "startup", FILES))
    out = tmp_path / "out/of/nothing"
    path = write(bundle, out)
    assert (path.name, path.read_bytes()) == (bundle.object_name, bundle.data)
    before = path.stat()
    assert write(bundle, out).stat() == before, "a file with the right bytes is not touched"
    path.write_bytes(b"half")
    assert write(bundle, out).read_bytes() == bundle.data
    assert list(out.iterdir()) == [path]


def test_the_module_prints_the_digest_and_each_file_with_its_mode() -> None:
    root = Path(module.__file__).parents[1]
    run = subprocess.run([sys.executable, "-m", "startup.bundle"], cwd=root, capture_output=True, text=True, check=True)
    bundle = build(root / "startup")
    first, *files = run.stdout.splitlines()
    assert first == bundle.digest
    assert [line.split(" ", 1)[1] for line in files] == list(bundle.files)
    assert "0644 units/runner.target" in files


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar")
def test_a_real_tar_reads_it(tmp_path: Path) -> None:
    bundle = build(lay_out(tmp_path / "startup", FILES))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", "-", "-C", str(tmp_path / "out")], input=bundle.data, check=True)
    assert build(tmp_path / "out") == bundle
