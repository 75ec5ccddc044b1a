"""Provisioning, run: the real scripts under bash on a stock Ubuntu whose apt, dpkg and services are faked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from emulators.cloud import Cloud
from startup.image import manifest
from tests.startup.fake_apt import DEPENDENCY, KERNEL, TABLE, UBUNTU, Stock, digest, names
from tests.startup.vm import STARTUP, Outcome, Vm

STEPS = sorted(path.stem for path in (STARTUP / "image/steps").iterdir())
ARCHIVE = "https://github.com/actions/runner/releases/download/v2.337.0/actions-runner-linux-x64-2.337.0.tar.gz"
IMAGE = "docker.io/nvidia/cuda@sha256:" + "a" * 64


@pytest.fixture
def stock(vm: Vm, tmp_path: Path) -> Stock:
    return Stock(vm, tmp_path)


@dataclass(frozen=True, kw_only=True)
class Provisioned:
    machine: Stock
    outcome: Outcome


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    """A machine after its first run, for tests that only look."""
    folder = tmp_path_factory.mktemp("provisioned")
    with Cloud() as cloud:
        machine = Stock(Vm(folder, cloud), folder)
        yield Provisioned(machine=machine, outcome=machine.provision())


@pytest.fixture
def pins(provisioned: Provisioned, tmp_path: Path) -> Path:
    """The manifest of that machine, to feed back to another."""
    path = tmp_path / "pins.json"
    path.write_bytes(provisioned.machine.manifest_path.read_bytes())
    return path


def assert_failed(stock: Stock, *arguments: str, status: int = 1, step: str = "", reason: str) -> None:
    """The last line, which is also on record, names step and reason, and nothing claims success."""
    outcome = stock.provision(*arguments)
    assert outcome.status == status, outcome.log
    assert outcome.log[-1] == f"provision: {stock.vm.failure().removeprefix('provision: ')}"
    assert f"{step}: " in outcome.log[-1]
    assert reason in "\n".join(outcome.log), outcome.log
    assert not stock.manifest_path.exists()


def test_a_stock_machine_becomes_a_runner_machine(provisioned: Provisioned) -> None:
    stock, outcome = provisioned.machine, provisioned.outcome
    assert outcome.status == 0, outcome.log
    assert names(gpu=False) | {DEPENDENCY} <= set(stock.installed())
    assert not {name for name in stock.installed() if "nvidia" in name}
    assert "snapd" not in stock.installed()
    steps = [
        line.split()[1].rstrip(":") for line in outcome.log if re.fullmatch(r"provision: \d\d-[a-z-]+: \d+ s", line)
    ]
    assert steps == STEPS, "each step says how long it took, in order"
    assert not [line for line in outcome.log if "FAILED" in line]
    etc = stock.vm.root / "etc"
    assert (etc / "google-cloud-ops-agent/config.yaml").read_text() == (STARTUP / "image/ops-agent.yaml").read_text()
    assert (etc / "sysctl.d/60-runner-fleet.conf").read_text() == "vm.mmap_rnd_bits = 28\n"
    assert "force-all" not in (etc / "dpkg/dpkg.cfg.d/90-runner-fleet").read_text()
    assert (stock.state / "masked/unattended-upgrades.service").exists()
    assert not (stock.vm.state_dir / "provision").exists()


def test_nothing_of_how_is_left(provisioned: Provisioned) -> None:
    stock = provisioned.machine
    apt = stock.vm.root / "etc/apt"
    assert [path.name for path in (apt / "sources.list.d").iterdir()] == ["ubuntu.sources"]
    assert list((apt / "keyrings").iterdir()) == []
    assert [path.name for path in (apt / "preferences.d").iterdir()] == ["runner-fleet-no-snapd"]
    assert list((stock.vm.root / "var/lib/apt/lists").iterdir()) == []
    assert (stock.vm.root / "tmp/left").exists(), "a boot's temporary files are not ours"


def test_the_manifest_says_what_is_there_and_where_it_came_from(provisioned: Provisioned) -> None:
    stock = provisioned.machine
    content = stock.manifest()
    assert {key: content[key] for key in ("schema", "architecture", "gpu", "sealed", "os", "kernel", "pins")} == {
        "schema": 1,
        "architecture": "amd64",
        "gpu": False,
        "sealed": False,
        "os": "Ubuntu 24.04.3 LTS",
        "kernel": KERNEL,
        "pins": "",
    }
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", str(content["scripts"]))
    assert str(content["time"]).endswith("+00:00")
    packages = stock.packages()
    assert {name: entry["version"] for name, entry in packages.items()} == stock.installed()
    assert packages["git"] == {
        "name": "git",
        "version": "1.0-1",
        "architecture": "amd64",
        "sha256": digest("git", "1.0-1"),
        "source": f"{UBUNTU} amd64",
    }
    assert stock.manifest_path.stat().st_mode & 0o777 == 0o644


def test_the_second_boot_does_nothing(provisioned: Provisioned) -> None:
    stock = provisioned.machine
    calls = len(stock.apt_calls())
    first = stock.manifest_path.read_bytes()
    again = stock.provision()
    assert (again.status, len(again.log)) == (0, 1), again.log
    assert "nothing to do" in again.log[0]
    assert (len(stock.apt_calls()), stock.manifest_path.read_bytes()) == (calls, first)


def test_changed_scripts_run_again(stock: Stock, provisioned: Provisioned) -> None:
    stock.manifest_path.write_bytes(provisioned.machine.manifest_path.read_bytes())
    assert "nothing to do" in stock.provision().log[0]
    with (stock.vm.bundle / "image/ops-agent.yaml").open("a") as file:
        file.write("# one more line\n")
    (stock.state / "network").unlink()
    assert_failed(stock, step="20-base", reason="apt-get")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}'])
def test_a_manifest_that_says_nothing_counts_as_none(stock: Stock, text: str) -> None:
    stock.manifest_path.write_text(text)
    assert not manifest.is_finished(stock.manifest_path, "sha256:x", gpu=False)


def test_a_driver_is_there_where_there_is_a_gpu_and_serves_a_machine_without(
    stock: Stock, provisioned: Provisioned
) -> None:
    copy = stock.manifest_path
    copy.write_bytes(provisioned.machine.manifest_path.read_bytes())
    scripts = str(stock.manifest()["scripts"])
    assert manifest.is_finished(copy, scripts, gpu=False)
    assert not manifest.is_finished(copy, scripts, gpu=True)
    stock.add_gpu()
    assert stock.provision().status == 0
    assert names(gpu=True) <= set(stock.installed())
    assert f"linux-modules-nvidia-580-server-{KERNEL}" in stock.installed()
    assert manifest.is_finished(copy, scripts, gpu=True)
    assert manifest.is_finished(copy, scripts, gpu=False)


def test_a_container_sees_the_gpu_where_an_image_for_that_is_pinned(stock: Stock) -> None:
    stock.fake("docker", "[[ $1 != run ]]")
    assert_failed(stock, "--gpu", "--gpu-check-image", IMAGE, step="60-gpu", reason="a container sees no GPU")
    assert stock.vm.record("docker")[-1] == f"run --rm --gpus all {IMAGE} nvidia-smi -L"


def test_arm64_has_its_own_manifest_and_no_setting_for_another_architecture(vm: Vm, tmp_path: Path) -> None:
    stock = Stock(vm, tmp_path, architecture="arm64")
    assert stock.provision().status == 0
    assert stock.manifest()["architecture"] == "arm64"
    assert not (vm.root / "etc/sysctl.d/60-runner-fleet.conf").exists()
    sources = [path.read_text() for path in stock.state.glob("seen.*/sources.list.d/runner-fleet-docker.list")]
    [source] = sources
    assert source.startswith("deb [arch=arm64 signed-by=/etc/apt/keyrings/runner-fleet-docker.gpg] https://")


def test_an_unknown_architecture_or_release_is_refused(stock: Stock) -> None:
    (stock.state / "architecture").write_text("riscv64\n")
    assert_failed(stock, step="20-base", reason="riscv64")
    (stock.state / "architecture").write_text("amd64\n")
    (stock.vm.root / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="22.04"\nVERSION_CODENAME=jammy\n')
    assert_failed(stock, step="20-base", reason="not Ubuntu 24.04")
    assert not [call for call in stock.apt_calls() if " install " in call]


def test_a_fed_back_manifest_yields_the_same_versions(stock: Stock, provisioned: Provisioned, pins: Path) -> None:
    stock.newer("2.0-1")  # the archive went on
    assert stock.provision("--pins", str(pins)).status == 0
    assert stock.packages() == provisioned.machine.packages()
    assert str(stock.manifest()["pins"]).startswith("sha256:")
    pins = stock.manifest_path.rename(stock.vm.state_dir / "pins.json")
    assert stock.provision().status == 0
    assert stock.packages()["git"]["version"] == stock.packages()[DEPENDENCY]["version"] == "2.0-1"
    pins.rename(stock.manifest_path)
    assert stock.provision("--pins", str(stock.manifest_path)).status == 0, "back, from the very manifest it replaces"
    assert stock.packages() == provisioned.machine.packages()


def test_another_digest_than_the_fed_back_one_is_not_installed(stock: Stock, pins: Path) -> None:
    stock.offered["docker-ce", "1.0-1"] = "e" * 64
    stock.publish()
    assert_failed(
        stock,
        "--pins",
        str(pins),
        status=65,
        step="20-base",
        reason=f"docker-ce 1.0-1: sha256 {digest('docker-ce', '1.0-1')}",
    )
    assert "docker-ce" not in stock.installed()


def test_a_pinned_version_that_is_gone_is_not_replaced(stock: Stock, pins: Path) -> None:
    stock.newer("2.0-1")
    del stock.offered["git", "1.0-1"]
    stock.publish()
    assert_failed(stock, "--pins", str(pins), status=65, step="20-base", reason="git: apt knows no version 1.0-1")
    assert "git" not in stock.installed()


def test_a_dependency_in_another_version_than_pinned_is_not_accepted(stock: Stock, pins: Path) -> None:
    stock.newer("2.0-1")
    del stock.offered[DEPENDENCY, "1.0-1"]
    stock.publish()
    assert_failed(
        stock, "--pins", str(pins), status=65, step="80-record", reason=f"{DEPENDENCY}: 2.0-1 is installed, 1.0-1"
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"architecture": "arm64"}, "this machine is amd64"),
        ({"schema": 7}, "schema 7"),
        ({"packages": [{"name": "git\nPin: x", "version": "1", "sha256": ""}]}, "no package, version"),
        ({"packages": [{"name": "git", "version": "1; rm", "sha256": ""}]}, "no package, version"),
        ({"packages": [{"name": "git", "version": "1", "sha256": "abc"}]}, "no package, version"),
        ({"packages": [{"name": "git"}]}, "cannot be read"),
        ({"packages": None}, "cannot be read"),
    ],
)
def test_pins_that_do_not_fit_are_refused(tmp_path: Path, changed: dict[str, object], reason: str) -> None:
    fitting = {"schema": 1, "architecture": "amd64", "packages": [{"name": "git", "version": "1", "sha256": ""}]}
    pins = tmp_path / "pins.json"
    pins.write_text(json.dumps(fitting | changed))
    run = manifest.subprocess.run(
        [
            *("python3", "-I", "-S", "-B", str(STARTUP / "image/manifest.py"), "prepare", "--table", str(TABLE)),
            *("--architecture", "amd64", "--kernel", "6", "--pins", str(pins), "--into", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 65
    assert not (tmp_path / "preferences").exists()
    assert reason in run.stderr


def test_without_network_the_run_ends_after_a_known_number_of_tries(stock: Stock) -> None:
    (stock.state / "network").unlink()
    assert_failed(stock, step="20-base", reason="status 1")
    assert len([call for call in stock.apt_calls() if " update " in call]) == 5
    assert stock.vm.pauses_seconds() == [5, 10, 20, 40]


def test_apt_waits_for_its_lock_but_not_for_ever(stock: Stock) -> None:
    stock.fake("apt-get", 'echo "E: Could not get lock /var/lib/dpkg/lock-frontend" >&2; exit 100')
    assert_failed(stock, step="20-base", reason="Could not get lock")
    assert all("DPkg::Lock::Timeout=120" in call for call in stock.apt_calls())


def test_a_repository_signed_by_another_key_is_not_used(stock: Stock) -> None:
    stock.serve("https://download.docker.com/linux/ubuntu/gpg", "A" * 40 + "\n")
    assert_failed(stock, step="30-sources", reason="gpg is not what is pinned")
    assert list((stock.vm.root / "etc/apt/keyrings").iterdir()) == []
    assert not [call for call in stock.apt_calls() if "docker" in call]


def test_only_the_pinned_keys_get_into_a_keyring(provisioned: Provisioned) -> None:
    [keyring] = provisioned.machine.state.glob("seen.*/keyrings/runner-fleet-docker.gpg")
    assert keyring.read_text() == "9DC858229FC7DD38854AE2D88D81803C0EBFCD88\n"


def test_docker_that_never_answers_ends_the_run(stock: Stock) -> None:
    stock.fake("docker", "exit 1")
    assert_failed(stock, step="50-docker", reason="Docker did not answer in 60 tries")
    assert stock.vm.pauses_seconds() == [1] * 59


@pytest.mark.parametrize(
    ("command", "body", "reason"),
    [
        ("nvidia-smi", "exit 9", "nvidia-smi sees no GPU"),
        ("modprobe", "exit 1", f"does not load into kernel {KERNEL}"),
        ("nvidia-ctk", "exit 1", "could not be told of the NVIDIA runtime"),
    ],
)
def test_a_gpu_image_without_a_working_gpu_is_no_image(stock: Stock, command: str, body: str, reason: str) -> None:
    stock.fake(command, body)
    assert_failed(stock, "--gpu", step="60-gpu", reason=reason)


def test_no_module_for_this_kernel_is_said_and_nothing_else_is_taken(stock: Stock) -> None:
    del stock.offered[f"linux-modules-nvidia-580-server-{KERNEL}", "1.0-1"]
    stock.publish()
    assert_failed(
        stock, "--gpu", step="60-gpu", reason=f"Unable to locate package linux-modules-nvidia-580-server-{KERNEL}"
    )


def test_a_statement_that_is_not_true_leaves_no_manifest(stock: Stock) -> None:
    stock.fake("id", "echo runner docker sudo")
    (stock.vm.root / "etc/apt/sources.list.d/other.list").write_text("deb https://example.com x y\n")
    assert_failed(
        stock, step="90-checks", reason="2 not true: apt knows no source but Ubuntu; runner is in its own group only;"
    )


CUTS = [
    ("gpg", "--export"),
    ("apt-get", "docker-ce"),
    ("modprobe", "nvidia"),
    ("apt-get", "clean"),
    ("cloud-init", "clean"),
    ("sync", "image.json"),
]
"""A command in each of the steps that can be left half done."""


def test_cut_off_anywhere_the_next_run_completes_it(stock: Stock) -> None:
    for name, when in CUTS:
        stock.cut_off_at(name, when)
        assert stock.provision("--gpu", "--seal").status == -9, f"{name} {when}"
        assert not stock.manifest_path.exists(), f"{name} {when}"
        stock.repair(name)
    assert stock.provision("--gpu", "--seal").status == 0
    assert names(gpu=True) <= set(stock.installed())
    assert not (stock.vm.state_dir / "provision").exists()


def test_a_runner_archive_is_kept_under_its_digest(stock: Stock) -> None:
    content = "an archive\n"
    sha256 = manifest.hashlib.sha256(content.encode()).hexdigest()
    stock.serve(ARCHIVE, content)
    archives = stock.vm.root / "opt/runner-archives"
    assert stock.provision("--runner-archive", ARCHIVE, sha256).status == 0
    assert {path.name: path.read_text() for path in archives.iterdir()} == {f"{sha256}.tar.gz": content}
    assert stock.manifest()["runner_archives"] == [sha256]


def test_another_archive_than_the_pinned_one_is_not_kept(stock: Stock) -> None:
    stock.serve(ARCHIVE, "an archive\n")
    assert_failed(stock, "--runner-archive", ARCHIVE, "b" * 64, step="70-runner", reason="is not what is pinned")
    assert list((stock.vm.root / "opt/runner-archives").iterdir()) == []


def test_a_sealed_disk_has_no_identity_no_secret_and_no_runner(stock: Stock) -> None:
    before = {path for path in stock.vm.root.rglob("*") if path.is_file() and path.stat().st_size}
    assert any(path.name == "syslog" for path in before)
    (stock.vm.run_dir / "listener").write_text("1 2\n")
    (stock.vm.state_dir / "warmed").write_text("")
    outcome = stock.provision("--seal")
    assert outcome.status == 0, outcome.log
    root = stock.vm.root
    assert (root / "etc/machine-id").read_bytes() == b""
    assert (root / "var/log/syslog").read_bytes() == b""
    for gone in (
        "etc/ssh/ssh_host_ed25519_key",
        "root/.bash_history",
        "root/.ssh",
        "home/ada",
        "home/ubuntu/.ssh/authorized_keys",
        "var/log/apt/history.log.1",
        "tmp/left",
        "opt/actions-runner",
        "opt/runner-fleet",
        "etc/systemd/system/runner.target",
        "etc/systemd/system/multi-user.target.wants/runner-job.service",
    ):
        assert not (root / gone).exists(), gone
    assert list((root / "home/runner").iterdir()) == []
    assert list(stock.vm.run_dir.iterdir()) == []
    assert [path.name for path in stock.vm.state_dir.iterdir()] == ["image.json"]
    assert stock.manifest()["sealed"] is True
    assert (root / "etc/os-release").exists()
    assert stock.vm.record("userdel") == ["--force --remove ada"]


def test_the_environment_decides_nothing(stock: Stock, tmp_path: Path) -> None:
    stock.first("apt-get", 'env >>"$STATE/environment"')
    evil = str(tmp_path / "evil")
    hostile = dict.fromkeys(
        [
            "ROOT",
            "STATE_DIR",
            "WORK",
            "APT_CONFIG",
            "GNUPGHOME",
            "DOCKER_HOST",
            "CLOUDSDK_CONFIG",
            "TMPDIR",
            "PYTHONPATH",
        ],
        evil,
    )
    hostile |= {"GPU": "true", "SEAL": "true", "PINS": evil, "IFS": "/", "http_proxy": "http://127.0.0.1:9"}
    outcome = stock.provision(environment=hostile)
    assert outcome.status == 0, outcome.log
    assert stock.manifest()["gpu"] is False
    assert not Path(evil).exists()
    text = (stock.state / "environment").read_text()
    assert evil not in text
    assert "proxy" not in text
    assert "DEBIAN_FRONTEND=noninteractive" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fast"],
        ["--pins", "/nowhere"],
        ["--runner-archive", ARCHIVE],
        ["--runner-archive", ARCHIVE.replace("https", "http"), "a" * 64],
        ["--runner-archive", ARCHIVE, "A" * 64],
        ["--gpu-check-image", "docker.io/nvidia/cuda:latest"],
    ],
)
def test_arguments_that_pin_nothing_are_refused(stock: Stock, arguments: list[str]) -> None:
    outcome = stock.provision(*arguments)
    assert outcome.status == 64
    assert "usage: provision" in outcome.log[-1]
    assert stock.apt_calls() == []


def test_scripts_outside_their_place_touch_nothing(stock: Stock, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    stock.vm.bundle.rename(elsewhere)
    run = manifest.subprocess.run([str(elsewhere / "image/provision")], capture_output=True, text=True, check=False)
    assert run.returncode == 64
    assert "must lie below /opt/runner-fleet" in run.stderr


def test_every_log_receiver_is_named_by_a_pipeline_and_so_is_every_processor() -> None:
    logging = YAML(typ="safe").load((STARTUP / "image/ops-agent.yaml").read_text())["logging"]
    pipelines = logging["service"]["pipelines"]
    for kind in ("receivers", "processors"):
        assert {name for pipeline in pipelines.values() for name in pipeline.get(kind, [])} == set(logging[kind])
    assert logging["receivers"] == {"journal": {"type": "systemd_journald"}}
    assert pipelines["default_pipeline"] == {"receivers": []}
    [rule] = logging["processors"]["only_the_fleet"]["match_any"]
    [pattern] = re.findall(r'_SYSTEMD_UNIT =~ "([^"]*)"', rule)
    units = (
        "runner.service",
        "runner-health.service",
        "runner-boot-failed@install.service",
        "google-startup-scripts.service",
    )
    assert all(re.search(pattern, unit) for unit in units)
    assert not any(re.search(pattern, unit) for unit in ("ssh.service", "docker.service", "my-runner.service"))


def test_the_table_pins_nothing_without_a_source() -> None:
    table = json.loads(TABLE.read_text())
    for name, repository in table["repositories"].items():
        assert all(re.fullmatch(r"[0-9A-F]{40}", key) for key in repository["key_fingerprints"]), name
        assert re.search(r"read 20\d\d-\d\d-\d\d$", repository["source"]), name
        assert repository["key_url"].startswith("https://")
        assert repository["url"].startswith("https://")
    packages = table["packages"]
    assert len({entry["name"] for entry in packages}) == len(packages)
    assert all(entry["why"] and set(entry["sha256"]) <= {"amd64", "arm64"} for entry in packages)
    assert all(entry["version"] for entry in packages if entry["sha256"]), "a digest belongs to a version"
