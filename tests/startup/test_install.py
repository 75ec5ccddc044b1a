"""bin/install: the pinned archive and no other, from whichever source has it, over whatever lay there before."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from emulators.cloud import Cloud, Reply
from tests.startup.vm import Outcome, Vm

BUCKET = "iree-oss-gh-runner-boot"
LISTENER = b"#!/bin/bash\n"


def entry(name: str, *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = "", uid: int = 4711):
    made = tarfile.TarInfo(name)
    made.mode, made.type, made.linkname, made.uid, made.gid = mode, kind, link, uid, uid
    return made


def pack(*more: tuple[tarfile.TarInfo, bytes], listener_mode: int = 0o755) -> bytes:
    """An archive like GitHub's, with more in it."""
    buffer = io.BytesIO()
    files = [(entry("./bin/Runner.Listener", mode=listener_mode), LISTENER), (entry("./run.sh", mode=0o755), b"#")]
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for made, content in [*files, *more]:
            made.size = len(content)
            archive.addfile(made, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0)


def pin(vm: Vm, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    url = f"http://{vm.cloud.host}/actions/runner/releases/a.tar.gz"
    vm.set_attributes({"archive-sha256": digest, "archive-url": url, "boot-bundle-bucket": BUCKET})
    vm.environment["STORAGE_EMULATOR_HOST"] = f"http://{vm.cloud.host}"
    remember(vm)
    return digest


def remember(vm: Vm) -> None:
    """As if an earlier step had asked for every attribute: most of a test's time would go into asking."""
    (vm.run_dir / "attributes").mkdir(exist_ok=True)
    for path, value in vm.cloud.metadata.items():
        if "attributes/runner-" in path:
            (vm.run_dir / path.removeprefix("instance/")).write_text(value)


def mirror(vm: Vm, data: bytes, digest: str) -> None:
    vm.cloud.objects[BUCKET, f"runner-archives%2F{digest}.tar.gz"] = data


def bake(vm: Vm, data: bytes, digest: str) -> Path:
    baked = vm.root / "opt/runner-archives" / f"{digest}.tar.gz"
    baked.parent.mkdir(parents=True)
    baked.write_bytes(data)
    return baked


@pytest.fixture
def mirrored(vm: Vm) -> Vm:
    data = pack()
    mirror(vm, data, pin(vm, data))
    return vm


def from_the_url(cloud: Cloud) -> int:
    return len([request for request in cloud.asked("") if request.path.startswith("/actions/")])


def assert_installed(vm: Vm) -> None:
    """The one right end state, whatever came before."""
    assert (vm.runner_dir / "bin/Runner.Listener").read_bytes() == LISTENER
    environment = vm.cloud.metadata["instance/attributes/runner-job-environment"]
    assert (vm.runner_dir / ".env").read_text() == environment
    assert list((vm.runner_dir / "_work").iterdir()) == []
    assert (vm.run_dir / "policy.json").read_text() == vm.cloud.metadata["instance/attributes/runner-job-policy"]
    assert (vm.run_dir / "policy.json").stat().st_mode & 0o777 == 0o644
    assert vm.job_dir.is_dir()
    assert f"-R runner:runner {vm.runner_dir}.new" in vm.record("chown")
    assert f"runner:runner {vm.job_dir}" in vm.record("chown")
    assert {path.name for path in vm.run_dir.iterdir()} == {"attributes", "installed", "job", "policy.json"}
    assert not Path(f"{vm.runner_dir}.new").exists()


def fails(vm: Vm, code: int, *words: str) -> Outcome:
    outcome = vm.run("bin/install")
    assert outcome.status == code, outcome.log
    assert all(word in vm.failure() for word in words), vm.failure()
    assert not vm.runner_dir.exists()
    assert not (vm.run_dir / "installed").exists()
    return outcome


def test_the_mirrors_archive_is_installed_as_the_job_users(mirrored: Vm) -> None:
    shutil.rmtree(mirrored.run_dir / "attributes")
    assert mirrored.run("bin/install").status == 0
    assert_installed(mirrored)
    assert from_the_url(mirrored.cloud) == 0
    assert mirrored.pauses_seconds() == []


def test_nothing_belongs_to_whom_the_archive_names(mirrored: Vm) -> None:
    mirrored.run("bin/install")
    assert (mirrored.runner_dir / "run.sh").stat().st_uid == Path("/proc/self").stat().st_uid


def test_a_second_run_touches_nothing(mirrored: Vm) -> None:
    mirrored.run("bin/install")
    (mirrored.runner_dir / ".runner").write_text("{}")
    asked = len(mirrored.cloud.requests)
    assert mirrored.run("bin/install").status == 0
    assert (mirrored.runner_dir / ".runner").exists()
    assert len(mirrored.cloud.requests) == asked


def test_an_image_captured_from_a_runner_keeps_nothing_of_it(mirrored: Vm) -> None:
    for name in (".runner", ".credentials", "_diag/Worker_1.log", "_work/left", "bin/Runner.Listener"):
        path = mirrored.runner_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    Path(f"{mirrored.runner_dir}.new").mkdir()
    Path(f"{mirrored.runner_dir}.new/half").write_text("old")
    assert mirrored.run("bin/install").status == 0
    assert_installed(mirrored)
    assert {path.name for path in mirrored.runner_dir.iterdir()} == {"bin", "run.sh", ".env", "_work"}


def test_a_mirror_without_it_sends_to_github_at_once(vm: Vm, cloud: Cloud) -> None:
    data = pack()
    pin(vm, data)
    cloud.replies[""].append(Reply(body=data))
    assert vm.run("bin/install").status == 0
    assert_installed(vm)
    assert vm.pauses_seconds() == []
    (asked,) = cloud.asked("")
    assert "Authorization" not in asked.headers, "the VM's token is for the mirror alone"


@pytest.mark.parametrize("reply", [Reply(body=b"another archive"), Reply(status=403), Reply(hangs=True)])
def test_a_mirror_that_is_wrong_or_down_sends_to_github(mirrored: Vm, cloud: Cloud, reply: Reply) -> None:
    mirrored.cut_curl_at(0.3)
    cloud.replies["object"].append(reply)
    cloud.replies[""].append(Reply(body=pack()))
    assert mirrored.run("bin/install").status == 0
    assert_installed(mirrored)
    assert from_the_url(cloud) == 1


@pytest.mark.parametrize(
    "token", [Reply(status=404), Reply(body=b"<html>"), Reply(body=b'{"access_token": "a\\nb: c"}')]
)
def test_a_vm_without_a_token_takes_githubs(mirrored: Vm, cloud: Cloud, token: Reply) -> None:
    cloud.replies["token"].append(token)
    cloud.replies[""].append(Reply(body=pack()))
    assert mirrored.run("bin/install").status == 0
    assert cloud.asked("object") == []


def test_a_transfer_that_breaks_off_is_begun_again(vm: Vm, cloud: Cloud) -> None:
    data = pack()
    pin(vm, data)
    cloud.replies[""].extend([Reply(body=data[:100], promised=len(data)), Reply(body=data[:100]), Reply(body=data)])
    assert vm.run("bin/install").status == 0
    assert_installed(vm)
    assert len(vm.pauses_seconds()) == 2


def test_the_images_own_archive_needs_no_network(vm: Vm, cloud: Cloud) -> None:
    data = pack()
    baked = bake(vm, data, pin(vm, data))
    assert vm.run("bin/install").status == 0
    assert_installed(vm)
    assert cloud.asked("token") == []
    assert baked.read_bytes() == data


def test_a_wrong_archive_in_the_image_is_left_alone_and_not_taken(mirrored: Vm) -> None:
    data = pack()
    baked = bake(mirrored, b"wrong", hashlib.sha256(data).hexdigest())
    (mirrored.run_dir / "archive.tar.gz").symlink_to(baked)  # of a run cut off while it was right
    assert mirrored.run("bin/install").status == 0
    assert_installed(mirrored)
    assert baked.read_bytes() == b"wrong"


def test_an_archive_with_another_digest_is_never_unpacked(vm: Vm, cloud: Cloud) -> None:
    wrong = pack((entry("owned"), b"x"))
    digest = pin(vm, pack())
    mirror(vm, wrong, digest)
    cloud.replies[""].extend([Reply(body=wrong)] * 60)
    seen = hashlib.sha256(wrong).hexdigest()
    fails(vm, 26, f"sha256:{digest}", "2.337.0", f"gs://{BUCKET}", "/actions/runner/", f"(sha256:{seen})")
    assert list(vm.root.rglob("owned")) == []
    assert 60 < sum(vm.pauses_seconds()) < 240


def test_no_source_at_all_ends_within_the_budget(vm: Vm) -> None:
    pin(vm, pack())
    fails(vm, 26, "HTTP 404")
    assert 60 < sum(vm.pauses_seconds()) < 240


def test_time_that_one_source_takes_is_no_longer_there_for_the_other(vm: Vm) -> None:
    pin(vm, pack())
    script = vm.bundle / "bin/install"
    whole = script.read_text()
    token = 'reply="$(metadata instance/service'
    script.write_text(whole.replace(token, f"SECONDS=100 {token}"))  # as if the token had taken that long
    assert script.read_text() != whole
    fails(vm, 26)
    asked = [line for line in vm.record("curl") if "/actions/" in line]
    allowed = [int(line.split("--max-time ")[1].split()[0]) for line in asked]
    assert allowed[0] == 120
    assert len(allowed) == 2
    assert 30 < allowed[1] < 40


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_redirect_to_anything_but_https_is_not_followed(vm: Vm, cloud: Cloud, scheme: str) -> None:
    data = pack()
    pin(vm, data)
    where = {"http": f"http://{cloud.host}/elsewhere", "ftp": f"ftp://{cloud.host}/x", "file": "file:///etc/passwd"}
    cloud.replies[""].extend([Reply(status=302, location=where[scheme]), Reply(body=data)])
    outcome = vm.run("bin/install")
    assert outcome.status == 0
    assert any("HTTP 302" in line and f'"{scheme}" not supported' in line for line in outcome.log)
    assert {request.path for request in cloud.asked("")} == {"/actions/runner/releases/a.tar.gz"}


def test_a_redirect_to_https_is_followed(vm: Vm, cloud: Cloud) -> None:
    """As far as it goes here: nobody speaks TLS on loopback, so the connection is made and ends there."""
    data = pack()
    pin(vm, data)
    cloud.replies[""].extend([Reply(status=302, location=f"https://{cloud.host}/elsewhere"), Reply(body=data)])
    outcome = vm.run("bin/install")
    assert outcome.status == 0
    assert any("/actions/" in line and "SSL" in line for line in outcome.log)


HOSTILE = {
    "up": entry("../../outside"),
    "far up": entry("../../../../../../../../../../outside-of-all"),
    "absolute": entry("/outside-of-all"),
    "absolute link": entry("bin/link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_with_our_digest_still_writes_nowhere_else(vm: Vm, name: str) -> None:
    data = pack((HOSTILE[name], b""))
    mirror(vm, data, pin(vm, data))
    before = {path for path in vm.root.rglob("*") if vm.run_dir not in path.parents}
    vm.run("bin/install")
    outside = {path for path in vm.root.rglob("*") if vm.run_dir not in path.parents} - before
    allowed = vm.runner_dir, Path(f"{vm.runner_dir}.new")
    assert all(path in allowed or set(allowed) & set(path.parents) for path in outside)
    assert not Path("/outside-of-all").exists()


def test_a_link_in_the_archive_leads_no_later_entry_astray(vm: Vm, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    link = entry("way", kind=tarfile.SYMTYPE, link=str(victim))
    data = pack((link, b""), (entry("way/owned"), b"x"))
    mirror(vm, data, pin(vm, data))
    vm.run("bin/install")
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("name", [".env", "_work"])
def test_a_link_in_the_archive_leads_nothing_of_ours_astray(vm: Vm, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole")
    data = pack((entry(name, kind=tarfile.SYMTYPE, link=str(victim)), b""))
    mirror(vm, data, pin(vm, data))
    assert vm.run("bin/install").status == 0
    assert_installed(vm)
    assert victim.read_text() == "whole"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no archive", "gzip"),
        (pack()[:-20], "unexpected end"),
        (pack(listener_mode=0o644), "no bin/Runner.Listener"),
        (gzip.compress(b"\0" * 10240), "no bin/Runner.Listener"),
    ],
    ids=["garbage", "truncated", "not executable", "empty"],
)
def test_an_archive_that_is_none_is_named(vm: Vm, data: bytes, words: str) -> None:
    mirror(vm, data, pin(vm, data))
    fails(vm, 27, "unpacking 2.337.0", words)


def test_a_disk_that_is_full_is_named(vm: Vm) -> None:
    data = pack((entry("big"), bytes(300_000)))
    mirror(vm, data, pin(vm, data))
    work = f"{vm.runner_dir}.new"
    tiny = "mount -t tmpfs -o size=64k none"
    probe = ["unshare", "-m", "sh", "-c", f"{tiny} {vm.root}"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        print("no tiny file system can be mounted here, so a tar that only says so stood in for a full disk")  # noqa: T201
        vm.fake("tar", "echo 'tar: big: Cannot write: No space left on device' >&2; echo 'tar: Exiting' >&2; exit 2")
    else:
        vm.fake("tar", f'exec unshare -m sh -c \'{tiny} {work} && exec {shutil.which("tar")} "$@"\' - "$@"')
    fails(vm, 27, "is the disk full?", "big")
    vm.real("tar")
    assert vm.run("bin/install").status == 0
    assert (vm.runner_dir / "big").stat().st_size == 300_000


@pytest.mark.parametrize(
    "name", ["version", "archive-sha256", "archive-url", "boot-bundle-bucket", "job-environment", "job-policy"]
)
def test_an_attribute_that_is_missing_is_named(mirrored: Vm, name: str) -> None:
    del mirrored.cloud.metadata[f"instance/attributes/runner-{name}"]
    (mirrored.run_dir / f"attributes/runner-{name}").unlink()
    fails(mirrored, 44, f"runner-{name}")
