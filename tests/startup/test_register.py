"""bin/register: one configuration, in files of root's, or the reason why there is none."""

from __future__ import annotations

import base64
import json
import time

import pytest

from emulators.cloud import Cloud, Reply, jit_config
from tests.startup.vm import Outcome, Vm

NAMES = {".runner", ".credentials", ".credentials_rsaparams"}


def answer(config: str | None = None, **more: object) -> bytes:
    return json.dumps({"jit_config": jit_config() if config is None else config, "runner_id": 1} | more).encode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def fails(vm: Vm, code: int, *words: str) -> Outcome:
    outcome = vm.run("bin/register")
    assert outcome.status == code, outcome.log
    failure = vm.failure()
    assert all(word in failure for word in words), failure
    vm.assert_nothing_secret(failure)
    assert {path.name for path in vm.run_dir.iterdir()} <= {"attributes", "failure"}, "nothing of the answer is kept"
    return outcome


def test_the_configuration_is_roots_alone(vm: Vm) -> None:
    began = time.time()
    outcome = vm.run("bin/register")
    assert (outcome.status, outcome.log) == (0, ["register: registered as runner 23"])
    folder = vm.run_dir / "registration"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(NAMES, 0o600)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in vm.run_dir.iterdir()} == {"attributes", "registration"}
    assert time.time() - began < 10


def test_no_other_file_of_the_vm_holds_the_configuration(vm: Vm) -> None:
    vm.run("bin/register")
    files = [path for path in vm.root.parent.rglob("*") if path.is_file() and vm.bundle not in path.parents]
    holders = {path.parent.name for path in files if b"must-not-leak" in path.read_bytes()}
    assert holders == {"registration"}


def test_a_second_run_asks_nobody(vm: Vm, cloud: Cloud) -> None:
    vm.run("bin/register")
    asked = len(cloud.requests)
    assert vm.run("bin/register").status == 0
    assert len(cloud.requests) == asked


def test_a_vm_that_listens_does_not_register_again(vm: Vm, cloud: Cloud) -> None:
    (vm.run_dir / "listener").write_text("1 1\n")
    assert vm.run("bin/register").status == 0
    assert cloud.requests == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 30, "does not recognise this VM (HTTP 401)"),
        (403, 30, "is its group in the broker's list?"),
        (409, 32, "had its one configuration before"),
        (404, 31, "HTTP 404"),
        (418, 31, "HTTP 418"),
    ],
)
def test_a_refusal_is_final_and_named(vm: Vm, cloud: Cloud, status: int, code: int, words: str) -> None:
    cloud.replies["jit"].append(Reply(status=status, body=b'{"error": "text that is not trusted \\u001b[31m"}'))
    fails(vm, code, words)
    assert "trusted" not in vm.failure()
    assert len(cloud.asked("jit")) == 1
    assert vm.pauses_seconds() == []


@pytest.mark.parametrize("status", [429, 502])
def test_what_may_pass_is_asked_again(vm: Vm, cloud: Cloud, status: int) -> None:
    cloud.replies["jit"].extend([Reply(status=status, body=b"<html>")] * 2)
    assert vm.run("bin/register").status == 0
    assert len(vm.pauses_seconds()) == 2


def test_a_broker_that_is_down_for_long_is_given_up_within_the_budget(vm: Vm, cloud: Cloud) -> None:
    cloud.replies["jit"].extend([Reply(status=503)] * 60)
    fails(vm, 33, "within 180 s", "HTTP 503")
    assert 60 < sum(vm.pauses_seconds()) < 180


def test_an_answer_that_was_lost_is_told_as_such(vm: Vm, cloud: Cloud) -> None:
    vm.cut_curl_at(0.3)
    cloud.replies["jit"].extend([Reply(hangs=True), Reply(status=409)])
    fails(vm, 32, "or its answer was lost")


def test_a_broker_that_nobody_runs_is_given_up_within_the_budget(vm: Vm) -> None:
    vm.set_attributes({"broker-url": "http://127.0.0.1:9/broker"})
    fails(vm, 33, "HTTP 000")
    assert sum(vm.pauses_seconds()) < 180


@pytest.mark.parametrize("reply", [Reply(status=404), Reply(body=b"not.a token")])
def test_without_an_identity_token_the_broker_is_not_asked(vm: Vm, cloud: Cloud, reply: Reply) -> None:
    script = vm.bundle / "bin/register"
    script.write_text(script.read_text().replace("BUDGET_SECONDS=180", "BUDGET_SECONDS=20"))
    cloud.replies["identity"].extend([reply] * 200)
    fails(vm, 33, "HTTP 000")
    assert cloud.asked("jit") == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>must-not-leak</html>", "the answer is not JSON"),
        (answer(runner_id="$(reboot)\n"), "it names no runner"),
        (answer("*** must-not-leak"), "jit_config is not base64"),
        (answer(encoded('{".runner": "must-not-leak"}')), "a file in it is not base64"),
        (b"[" * 500_000, "the answer is not JSON"),
    ],
)
def test_an_answer_that_is_no_configuration_is_named_and_not_kept(
    vm: Vm, cloud: Cloud, body: bytes, words: str
) -> None:
    cloud.replies["jit"].append(Reply(body=body))
    fails(vm, 34, words)
    assert "must-not-leak" not in vm.failure()
    assert not (vm.run_dir / "registration").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", ".env", ".bashrc/.runner"])
def test_a_file_name_that_is_none_of_a_runners_writes_nothing(vm: Vm, cloud: Cloud, name: str) -> None:
    hostile = {".runner": encoded("{}"), ".credentials": encoded("{}"), name: encoded("owned")}
    cloud.replies["jit"].append(Reply(body=answer(encoded(json.dumps(hostile)))))
    before = set(vm.root.parent.rglob("*"))
    fails(vm, 34, "none of a runner's")
    new = {path.name for path in set(vm.root.parent.rglob("*")) - before}
    assert new - {"python3"} == {"attributes", "runner-broker-url", "failure", "curl"}


def test_two_megabytes_are_not_taken(vm: Vm, cloud: Cloud) -> None:
    cloud.replies["jit"].extend([Reply(body=answer("A" * (2 << 20))), Reply(status=409)])
    fails(vm, 32)


def test_a_script_cut_off_long_ago_leaves_nothing_in_the_way(vm: Vm) -> None:
    (vm.run_dir / "registration.new").mkdir()
    (vm.run_dir / "registration.new/.old").write_text("old")
    (vm.run_dir / "registration.reply").write_text("old")
    assert vm.run("bin/register").status == 0
    assert {path.name for path in (vm.run_dir / "registration").iterdir()} == NAMES
    assert not (vm.run_dir / "registration.reply").exists()


def test_a_missing_address_of_the_broker_is_named(vm: Vm, cloud: Cloud) -> None:
    del cloud.metadata["instance/attributes/runner-broker-url"]
    fails(vm, 44, "runner-broker-url")


# --- in reserve


def test_a_vm_in_reserve_asks_again_until_it_is_wanted_however_long_that_takes(vm: Vm, cloud: Cloud) -> None:
    cloud.replies["jit"].extend([Reply(status=425, body=b'{"error": "standby"}')] * 50)
    outcome = vm.run("bin/register")
    assert outcome.status == 0
    assert vm.pauses_seconds() == [5] * 50, "nothing of its budget is spent, and the pause does not grow"
    assert outcome.log == ["register: the group holds this VM in reserve", "register: registered as runner 23"]
    assert {path.name for path in vm.run_dir.iterdir()} == {"attributes", "registration"}


def test_a_vm_in_reserve_says_so_on_the_vm(vm: Vm, cloud: Cloud) -> None:
    vm.fake("sleep", f'[[ -e "{vm.run_dir}/standby" ]] && touch "{vm.root}/said"')
    cloud.replies["jit"].append(Reply(status=425))
    assert vm.run("bin/register").status == 0
    assert (vm.root / "said").exists()


def test_a_vm_that_is_stopped_in_reserve_has_not_failed(vm: Vm, cloud: Cloud) -> None:
    vm.fake("sleep", f'touch "{vm.root}/asleep"\nexec /bin/sleep 2')
    cloud.replies["jit"].append(Reply(status=425))
    process = vm.start("bin/register")
    until = time.monotonic() + 20
    while not (vm.root / "asleep").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert not (vm.run_dir / "failure").exists()
    assert not (vm.run_dir / "registration").exists()


def test_a_vm_that_is_refused_after_its_reserve_fails_as_any_other(vm: Vm, cloud: Cloud) -> None:
    cloud.replies["jit"].extend([Reply(status=425), Reply(status=403)])
    outcome = vm.run("bin/register")
    assert outcome.status == 30
    assert "does not recognise this VM" in vm.failure()
