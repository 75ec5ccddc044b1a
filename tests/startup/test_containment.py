"""Containment: the real rules in a network of their own, and the script that loads them.

The rules run in network namespaces with a metadata server at its real address and processes of several users. Where
the kernel or its tools do not allow that, those tests are skipped and say so.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.cloud import IDENTITY_MARK, TOKEN, Cloud
from startup.lib import metadata_filter
from tests.startup import netns
from tests.startup.metadata_filter_server import filtering
from tests.startup.netns import METADATA, METADATA6, Network
from tests.startup.vm import Vm

ROOT, JOB, SERVICE, FILTER, SUBORDINATE = 0, 990, 101, 61184, 100_000
ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
IDENTITY = f"{ACCOUNT}/identity?audience=x&format=full"
TOKEN_PATH = f"{ACCOUNT}/token"
REFUSED = f"403 {metadata_filter.REFUSAL.strip()}"
REAL = "200 the real server"
FILTER_PORT = metadata_filter.PORT


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The rules loaded, and the filter running as a user of its own."""
    reason = netns.why_not()
    if reason:
        print(f"the containment rules were not tried: {reason}")  # noqa: T201 - a skipped check is said aloud
        pytest.skip(reason)
    with Network() as network:
        network.load(JOB)
        serve = (
            "import sys; sys.path.insert(0, sys.argv.pop(1)); import metadata_filter as f; print('ready', flush=True)"
        )
        arguments = ["-c", f"{serve}; f.main()", str(netns.STARTUP / "lib")]
        network.serve("vm", arguments, uid=FILTER)
        netns.wait_until(lambda: network.sees("vm", "http", "127.0.0.1", FILTER_PORT, "/").startswith("200"))
        yield network


def test_a_job_gets_no_identity(network: Network) -> None:
    assert network.sees("vm", "http", METADATA, 80, IDENTITY, uid=JOB) == REFUSED


def test_a_job_gets_an_access_token(network: Network) -> None:
    assert '"access_token": "t"' in network.sees("vm", "http", METADATA, 80, TOKEN_PATH, uid=JOB)


@pytest.mark.parametrize("uid", [ROOT, SERVICE, FILTER])
def test_root_and_services_reach_the_real_server(network: Network, uid: int) -> None:
    assert network.sees("vm", "http", METADATA, 80, IDENTITY, uid=uid) == REAL


def test_a_job_that_changes_its_uid_in_a_user_namespace_is_contained_too(network: Network) -> None:
    assert network.sees("vm", "http", METADATA, 80, IDENTITY, uid=SUBORDINATE) == REFUSED


def test_a_container_gets_no_identity(network: Network) -> None:
    assert network.sees("container", "http", METADATA, 80, IDENTITY) == REFUSED


def test_a_container_gets_an_access_token(network: Network) -> None:
    assert '"access_token": "t"' in network.sees("container", "http", METADATA, 80, TOKEN_PATH)


@pytest.mark.parametrize(("namespace", "uid"), [("vm", JOB), ("vm", SUBORDINATE), ("container", ROOT)])
def test_dns_passes_and_nothing_else(network: Network, namespace: str, uid: int) -> None:
    assert network.sees(namespace, "udp", METADATA, 53, uid=uid) == "ping"
    assert network.sees(namespace, "tcp", METADATA, 53, uid=uid) == "ping"
    assert network.sees(namespace, "udp", METADATA, 123, uid=uid, patience_seconds=0.3) == "dropped"
    for port in (443, 8080):
        assert network.sees(namespace, "tcp", METADATA, port, uid=uid) == "ConnectionRefusedError"


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_root_reaches_every_port(network: Network, kind: str) -> None:
    assert network.sees("vm", kind, METADATA, 123 if kind == "udp" else 443) == "ping"


def test_neither_job_nor_container_reaches_anything_over_ipv6(network: Network) -> None:
    assert network.sees("vm", "http", METADATA6, 80, IDENTITY) == REAL, "root does, so there is something to reach"
    assert network.sees("vm", "http", METADATA6, 80, IDENTITY, uid=JOB) == "ConnectionRefusedError"
    assert network.sees("container", "http", METADATA6, 80, IDENTITY) == "ConnectionRefusedError"
    assert network.sees("vm", "udp", METADATA6, 53, uid=JOB, patience_seconds=0.3) == "dropped"


def test_an_address_that_hides_ipv4_in_ipv6_changes_nothing(network: Network) -> None:
    assert network.sees("vm", "http", f"::ffff:{METADATA}", 80, IDENTITY, uid=JOB) == REFUSED


@pytest.mark.parametrize(
    ("namespace", "address"), [("cloud", "10.128.0.2"), ("neighbour", "10.129.0.1"), ("container", "172.17.0.1")]
)
def test_nobody_from_outside_reaches_the_filters_port(network: Network, namespace: str, address: str) -> None:
    assert network.sees(namespace, "http", address, FILTER_PORT, TOKEN_PATH, patience_seconds=0.3) == "dropped"


def test_nobody_on_the_network_side_is_redirected_to_the_filter(network: Network) -> None:
    listing = "/computeMetadata/"  # what the filter answers without its upstream
    assert network.sees("neighbour", "http", METADATA, 80, listing) == "200 v1/", "as a container would be"
    network.run("vm", f"ip route replace {METADATA} dev neighbour")
    try:
        assert network.sees("neighbour", "http", METADATA, 80, listing) == "ConnectionRefusedError"
    finally:
        network.run("vm", f"ip route replace {METADATA} via 10.128.0.1 dev cloud")


def test_loading_twice_leaves_one_set_of_rules(network: Network) -> None:
    # Counters count; the rest must not change.
    once = network.run("vm", "nft -s list ruleset")
    network.load(JOB)
    assert network.run("vm", "nft -s list ruleset") == once
    assert network.sees("vm", "http", METADATA, 80, IDENTITY, uid=JOB) == REFUSED


def test_without_the_rules_all_of_them_would_get_an_identity(network: Network) -> None:
    network.run("vm", "nft delete table inet runner_fleet")
    try:
        for address in (METADATA, METADATA6):
            assert network.sees("vm", "http", address, 80, IDENTITY, uid=JOB) == REAL
            assert network.sees("container", "http", address, 80, IDENTITY) == REAL
    finally:
        network.load(JOB)


LOADED = "skuid { 990, 65536-4294967295 } redirect to :8988 hook output hook prerouting hook forward hook input"


class Fakes:
    """The machine that bin/contain changes: one user, its groups, and nft."""

    def __init__(self, vm: Vm, folder: Path) -> None:
        self.vm = vm
        self.state = folder / "job-user"
        self.rule = vm.root / "etc/sudoers.d/runner-fleet"
        self.rules = folder / "rules"
        vm.fake("useradd", f'echo "runner" >"{self.state}"')
        vm.fake("id", self._id(990))
        vm.fake("usermod", f'[[ $1 != --groups ]] || echo "runner${{2:+ $2}}" >"{self.state}"')
        vm.fake("nft", f'[[ $1 != -f ]] || cat >"{self.rules}"\n[[ $1 == -f ]] || echo "{LOADED}"')
        vm.fake("sudo", 'echo "User runner is not allowed to run sudo on vm."; exit 1')
        vm.fake("visudo", "grep -q 'runner ALL=(ALL:ALL) NOPASSWD:ALL' \"$2\"")

    def _id(self, uid: int) -> str:
        return f'[[ -f "{self.state}" ]] || exit 1\ncase "$1" in -u) echo {uid} ;; -nG) cat "{self.state}" ;; esac'

    def has_user(self, groups: str, uid: int = 990) -> None:
        self.state.write_text(f"{groups}\n")
        self.vm.fake("id", self._id(uid))

    def contain(self, status: int = 0, *, docker: str = "false", sudo: str = "false") -> str:
        """Run it on a fresh boot; its only log line."""
        shutil.rmtree(self.vm.run_dir / "attributes", ignore_errors=True)
        self.vm.set_attributes({"docker": docker, "passwordless-root": sudo})
        outcome = self.vm.run("bin/contain")
        assert (outcome.status, outcome.out) == (status, ""), outcome.log
        assert len(outcome.log) == 1, "one line says what was done"
        return outcome.log[0]


@pytest.fixture
def fakes(vm: Vm, tmp_path: Path) -> Fakes:
    return Fakes(vm, tmp_path)


def test_a_job_user_is_made_where_there_is_none(vm: Vm, fakes: Fakes) -> None:
    line = fakes.contain()
    made = "--system --user-group --create-home --home-dir /home/runner --shell /bin/bash runner"
    assert vm.record("useradd") == [made]
    assert vm.record("usermod") == ["--lock --home /home/runner --shell /bin/bash runner", "--groups  runner"]
    assert line == (
        "contain: user runner (990) contained: docker false, sudo false, metadata server through the filter"
    )


def test_a_second_run_changes_nothing(vm: Vm, fakes: Fakes) -> None:
    fakes.contain(docker="true")
    fakes.contain(docker="true")
    assert len(vm.record("useradd")) == 1
    assert fakes.state.read_text() == "runner docker\n"


def test_the_kernel_gets_the_rules_for_the_users_uid(fakes: Fakes) -> None:
    fakes.contain()
    assert fakes.rules.read_text() == f"define job_user = 990\n{netns.CONTAINMENT.read_text()}"


def test_a_user_of_the_image_loses_its_groups(fakes: Fakes) -> None:
    fakes.has_user("runner sudo adm docker lxd")
    fakes.contain()
    assert fakes.state.read_text() == "runner\n"


def test_docker_is_a_group_only_where_the_template_says_so(fakes: Fakes) -> None:
    line = fakes.contain(docker="true")
    assert fakes.state.read_text() == "runner docker\n"
    assert line.endswith("; Docker makes jobs root, so they can get around this")
    fakes.contain(docker="false")
    assert fakes.state.read_text() == "runner\n"


def test_sudo_is_a_rule_only_where_the_template_says_so(vm: Vm, fakes: Fakes) -> None:
    line = fakes.contain(sudo="true")
    assert fakes.rule.read_text() == "runner ALL=(ALL:ALL) NOPASSWD:ALL\n"
    assert fakes.rule.stat().st_mode & 0o777 == 0o440
    assert vm.record("visudo") == [f"-cqf {fakes.rule}.new"]
    assert line.endswith("; sudo makes jobs root, so they can get around this")
    fakes.contain()
    assert not fakes.rule.exists()


@pytest.mark.parametrize("uid", [0, 65536, 100_000])
def test_a_user_with_another_kind_of_uid_is_refused(fakes: Fakes, uid: int) -> None:
    fakes.has_user("runner", uid)
    assert fakes.contain(51) == f"contain: user: runner has uid {uid}; that user cannot be contained"


def test_a_primary_group_that_is_not_its_own_is_refused(vm: Vm, fakes: Fakes) -> None:
    fakes.has_user("sudo")
    vm.fake("usermod", "")
    assert fakes.contain(52) == "contain: groups: runner is in 'sudo' and should be in 'runner'"


def test_an_image_without_docker_is_refused_where_docker_is_promised(vm: Vm, fakes: Fakes) -> None:
    fakes.has_user("runner")
    vm.fake("usermod", "[[ $1 != --groups ]]")
    assert fakes.contain(52, docker="true") == (
        "contain: groups: usermod could not set 'docker'; is Docker in the image?"
    )


def test_no_user_is_no_containment(vm: Vm, fakes: Fakes) -> None:
    vm.fake("useradd", "exit 1")
    assert fakes.contain(50) == "contain: user: useradd could not make runner"
    assert vm.failure() == "contain: user: useradd could not make runner"


def test_another_sudo_rule_of_the_image_is_refused(vm: Vm, fakes: Fakes) -> None:
    vm.fake("sudo", 'echo "User runner may run the following commands on vm: (ALL) NOPASSWD: ALL"')
    assert fakes.contain(53).startswith("contain: sudo: another rule of the image lets runner in: User runner may run")


def test_a_rule_that_visudo_refuses_is_never_in_force(vm: Vm, fakes: Fakes) -> None:
    vm.fake("visudo", "exit 1")
    assert fakes.contain(53, sudo="true") == "contain: sudo: visudo does not accept our rule"
    assert list(fakes.rule.parent.iterdir()) == []


def test_rules_that_the_kernel_refuses_are_no_containment(vm: Vm, fakes: Fakes) -> None:
    vm.fake("nft", "echo 'Could not process rule: Operation not supported' >&2; exit 1")
    assert fakes.contain(54) == (
        "contain: rules: nft or the kernel refuses lib/containment.nft: Could not process rule: Operation not supported"
    )


@pytest.mark.parametrize("missing", ["990", "redirect to :8988", "hook input", "hook prerouting"])
def test_rules_that_are_not_there_after_loading_are_no_containment(vm: Vm, fakes: Fakes, missing: str) -> None:
    vm.fake("nft", f'[[ $1 != -f ]] || cat >/dev/null\n[[ $1 == -f ]] || echo "{LOADED.replace(missing, "")}"')
    assert "is missing after they were loaded" in fakes.contain(54)


def test_an_image_without_nft_is_refused(vm: Vm, fakes: Fakes) -> None:
    vm.real("nft")
    vm.fake("command", "")
    hidden = "command() { [[ $* != '-v nft' ]] && builtin command \"$@\"; }; export -f command; exec bin/contain"
    process = subprocess.run(
        ["bash", "-c", hidden],
        cwd=vm.bundle,
        env=vm._environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 54, process.stderr
    assert fakes.vm.failure() == "contain: rules: nft is not in the image; install nftables"


def probe(vm: Vm) -> tuple[int, str]:
    script = ". lib/common.sh; . lib/containment_probe.sh; containment_probe"
    process = subprocess.run(
        ["bash", "-ec", script, str(vm.bundle / "bin/preflight")],
        cwd=vm.bundle,
        env=vm._environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.stderr == ""
    vm.assert_nothing_secret(process.stdout)
    return process.returncode, process.stdout


def test_the_probe_passes_through_the_filter_alone(vm: Vm, cloud: Cloud) -> None:
    with filtering(cloud.host) as port:
        vm.environment["GCE_METADATA_HOST"] = f"127.0.0.1:{port}"
        assert probe(vm) == (0, "")
    asked = vm.record("setpriv")
    assert len(asked) == 2
    for arguments in asked:
        assert arguments.startswith("--reuid=runner --regid=runner --init-groups --no-new-privs curl")


def test_the_probe_sees_a_job_that_reaches_the_real_server(vm: Vm) -> None:
    status, reason = probe(vm)
    assert (status, IDENTITY_MARK in reason, TOKEN in reason) == (1, False, False)
    assert reason.startswith("user runner gets identity tokens of this VM")


def test_the_probe_is_not_content_with_anybodys_403(vm: Vm, cloud: Cloud) -> None:
    vm.fake("setpriv", 'case "$*" in *identity*) printf "Forbidden\\n\\n403" ;; *) printf "\\n200" ;; esac')
    status, reason = probe(vm)
    assert status == 1
    assert set(vm.pauses_seconds()) == {0.1}
    assert sum(vm.pauses_seconds()) < 20
    assert reason.startswith("as user runner identity got HTTP 403 and token HTTP 200, and should get 403 from the")
    assert cloud.requests == []


def test_the_probe_says_when_no_filter_answers(vm: Vm) -> None:
    vm.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    status, reason = probe(vm)
    assert status == 1
    assert "identity got HTTP 000 and token HTTP 000" in reason
