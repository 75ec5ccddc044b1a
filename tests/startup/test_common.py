"""What the scripts of the boot bundle share (startup/lib/common.sh), and what holds for each: cut off, run again."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import stat
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from emulators.cloud import Cloud, Reply
from tests.startup.vm import Outcome, Vm, group_alive

HEAD = '#!/bin/bash\nset -eEuo pipefail\n. "${BASH_SOURCE[0]%/*}/../lib/common.sh"\n'
FOR_EVER = 60  # scripted replies: more than any budget lets a script ask


def script(vm: Vm, text: str) -> None:
    path = vm.bundle / "bin/probe"
    path.write_text(HEAD + text)
    path.chmod(0o755)


def run(vm: Vm, text: str) -> Outcome:
    script(vm, text)
    return vm.run("bin/probe")


def always(cloud: Cloud, route: str, *replies: Reply) -> None:
    cloud.replies[route].extend(replies * FOR_EVER)


def leftovers(folder: Path, known: Iterable[str]) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - set(known)


def test_an_attribute_is_told_and_asked_for_once_per_boot(vm: Vm) -> None:
    assert run(vm, "attribute runner-pool; attribute runner-pool").out == "presubmit-cpupresubmit-cpu"
    vm.set_attributes({"pool": "another"})
    assert run(vm, "attribute runner-pool").out == "presubmit-cpu"
    assert len(vm.cloud.asked("metadata")) == 1
    assert leftovers(vm.run_dir, []) == {"attributes/runner-pool"}


@pytest.mark.parametrize(
    "name", ["runner-nonsense", "pool", "", "../failure", "runner-pool\nrunner-trust", "runner-.*"]
)
def test_an_attribute_outside_the_contract_is_refused_unasked(vm: Vm, name: str) -> None:
    outcome = run(vm, f"attribute $'{name}'")
    assert (outcome.status, outcome.out) == (64, "")
    assert "lib/attributes.txt" in vm.failure()
    assert vm.cloud.requests == []


def test_an_attribute_that_this_vm_lacks_ends_the_script_and_says_what_to_do(vm: Vm) -> None:
    del vm.cloud.metadata["instance/attributes/runner-pool"]
    outcome = run(vm, 'local_value="$(attribute runner-pool)"; echo went on')
    assert (outcome.status, outcome.out, vm.pauses_seconds()) == (44, "", [])
    assert vm.failure() == "probe: attribute runner-pool: this VM's template has none; make a new version of it"


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(status=429), Reply(body=b"half", promised=100)])
def test_a_metadata_server_that_fails_is_asked_again(vm: Vm, reply: Reply) -> None:
    vm.cloud.replies["metadata"].extend([reply, reply])
    assert run(vm, "attribute runner-pool").out == "presubmit-cpu"
    assert len(vm.pauses_seconds()) == 2
    assert vm.pauses_seconds()[0] in (1, 2)


def test_a_slow_metadata_server_is_asked_again(vm: Vm) -> None:
    vm.cut_curl_at(0.2)
    vm.cloud.replies["metadata"].append(Reply(hangs=True))
    assert run(vm, "attribute runner-pool").out == "presubmit-cpu"


def test_a_metadata_server_that_always_fails_is_given_up_within_the_budget(vm: Vm) -> None:
    always(vm.cloud, "metadata", Reply(status=503))
    assert run(vm, 'value="$(attribute runner-pool)"').status == 45
    assert vm.failure() == "probe: attribute runner-pool: the metadata server did not tell it within 30 s"
    assert 5 < sum(vm.pauses_seconds()) < 30
    assert leftovers(vm.run_dir, ["failure"]) == set()


def test_nobody_listens_where_the_metadata_server_should_be(vm: Vm) -> None:
    vm.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    assert run(vm, "attribute runner-pool").status == 45
    assert sum(vm.pauses_seconds()) < 30


def test_a_value_that_is_only_known_is_no_failure_of_a_step(vm: Vm) -> None:
    del vm.cloud.metadata["instance/attributes/runner-pool"]
    always(vm.cloud, "metadata", Reply(status=404), Reply(status=500))
    outcome = run(vm, "known runner-pool || echo $?\nknown runner-trust 1 || echo $?")
    assert (outcome.status, outcome.out) == (0, "44\n45\n")
    assert vm.pauses_seconds() == []
    assert not (vm.run_dir / "failure").exists()


def test_an_empty_value_is_a_value(vm: Vm) -> None:
    vm.set_attributes({"warm-images": ""})
    assert run(vm, 'value="$(attribute runner-warm-images)"; echo "[$value]"').out == "[]\n"


def test_a_value_may_hold_anything_but_does_nothing(vm: Vm) -> None:
    value = "$(touch /tmp/x) `id` \"quoted\" 'and' \\n *\nline two\t\x1b[31m"
    vm.set_attributes({"job-environment": value})
    assert (
        run(vm, "attribute runner-job-environment; echo; attribute runner-job-environment").out == f"{value}\n{value}"
    )


def test_a_full_disk_leaves_no_half_value_for_who_asks_next(vm: Vm) -> None:
    vm.fake("mv", "exit 1")
    assert run(vm, "attribute runner-pool").out == "presubmit-cpu"
    vm.real("mv")
    (vm.run_dir / "attributes").rmdir()
    (vm.run_dir / "attributes").write_text("in the way")
    assert run(vm, "attribute runner-pool").out == "presubmit-cpu"


def test_the_environment_leads_no_script_astray(vm: Vm) -> None:
    outside = vm.root.parent / "outside"
    outside.mkdir()
    script(vm, 'fail 3 "$RUN_DIR $RUNNER_DIR $BUNDLE"')
    names = ("ROOT", "RUN_DIR", "BUNDLE", "JOB_DIR", "RUNNER_DIR", "STATE_DIR")
    assert vm.run("bin/probe", **dict.fromkeys(names, str(outside))).status == 3
    assert list(outside.iterdir()) == []
    assert vm.failure() == f"probe: {vm.run_dir} {vm.runner_dir} {vm.bundle}"


def test_a_failure_is_one_harmless_line_that_everybody_can_read(vm: Vm) -> None:
    outcome = run(vm, "umask 077\nfail 7 $'first\\nsecond\\r\\e[31mred\\a' and more")
    assert outcome.status == 7
    assert outcome.log == ["probe: first second  [31mred  and more"]
    assert (vm.run_dir / "failure").read_text() == outcome.log[0] + "\n"
    assert stat.S_IMODE((vm.run_dir / "failure").stat().st_mode) == 0o644


def test_pauses_double_up_to_a_bound_and_end_with_the_budget(vm: Vm) -> None:
    outcome = run(vm, "BACKOFF=1 LEFT=300\nwhile SECONDS=0; pause why; do :; done\necho $LEFT")
    pauses = vm.pauses_seconds()
    assert all(least <= pause <= 2 * least for least, pause in zip([1, 2, 4, 8, *[16] * 20], pauses, strict=False))
    assert 300 - 32 < sum(pauses) < 300, "it goes on for as long as the budget allows, and no longer"
    assert outcome.log[0] == f"probe: why; next try in {pauses[0]:.0f} s"


def test_time_spent_trying_counts_like_a_pause(vm: Vm) -> None:
    assert (
        run(vm, "BACKOFF=1 LEFT=10 SECONDS=7\npause why || echo over\nSECONDS=20\npause why || echo over").out
        == "over\n"
    )
    assert len(vm.pauses_seconds()) == 1


def test_what_is_claimed_once_stays(vm: Vm) -> None:
    text = "claim reason refused && echo first\nclaim reason preempted || echo second\n"
    assert run(vm, text).out == "first\nsecond\n"
    assert (vm.run_dir / "reason").read_text() == "refused\n"
    assert leftovers(vm.run_dir, []) == {"reason"}


def test_of_many_who_claim_at_once_one_wins_and_nobody_sees_it_empty(vm: Vm) -> None:
    text = """
    for n in {1..12}; do
      { claim gate "$n" && echo "$n"; cat "$RUN_DIR/gate" >&2; } &
    done
    wait
    """
    outcome = run(vm, text)
    assert outcome.log == [outcome.out.strip()] * 12
    assert leftovers(vm.run_dir, []) == {"gate"}


def test_what_cannot_be_written_is_not_claimed(vm: Vm) -> None:
    outcome = run(vm, 'mkdir "$RUN_DIR/.gate.$BASHPID"\nclaim gate listening || echo no')
    assert outcome.out == "no\n"
    assert not (vm.run_dir / "gate").exists()


CALL = 'call POST "$1/jit" "$1" "$RUN_DIR/reply" 60 && echo "yes $STATUS" || echo "no $STATUS"\n'


def call(vm: Vm) -> str:
    script(vm, CALL)
    outcome = vm.run("bin/probe", vm.cloud.broker_url)
    # Pauses inside of a try pass on the clock, except in a test; so only those between two tries are added.
    between = [int(line.split()[-2]) for line in outcome.log if line.startswith("probe: POST")]
    assert sum(between) < 60
    return outcome.out


def test_a_call_carries_this_vms_identity_and_a_length(vm: Vm) -> None:
    assert call(vm) == "yes 200\n"
    (asked,) = vm.cloud.asked("jit")
    assert asked.headers["Authorization"].startswith("Bearer ")
    assert asked.headers["Content-Length"] == "0"


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_call_that_may_succeed_later_is_repeated(vm: Vm, status: int) -> None:
    vm.cloud.replies["jit"].extend([Reply(status=status), Reply(status=status)])
    assert call(vm) == "yes 200\n"
    assert len(vm.pauses_seconds()) == 2


@pytest.mark.parametrize("status", [302, 403, 409])
def test_a_call_that_is_refused_is_not_repeated(vm: Vm, status: int) -> None:
    vm.cloud.replies["jit"].append(Reply(status=status))
    assert call(vm) == f"no {status}\n"
    assert len(vm.cloud.asked("jit")) == 1


def test_a_call_that_is_never_answered_ends_within_its_budget(vm: Vm) -> None:
    vm.cut_curl_at(0.05)
    always(vm.cloud, "jit", Reply(hangs=True))
    assert call(vm) == "no 000\n"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500),
        Reply(status=404),
        Reply(body=b"<html>no token</html>"),
        Reply(body=b"a.b.c\nX-Evil: 1"),
        Reply(),
    ],
)
def test_a_call_without_an_identity_token_is_never_sent(vm: Vm, reply: Reply) -> None:
    always(vm.cloud, "identity", reply)
    assert call(vm) == "no 000\n"
    assert vm.cloud.asked("jit") == []


def test_no_proxy_of_the_environment_is_used(vm: Vm) -> None:
    vm.environment |= {"ALL_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    assert call(vm) == "yes 200\n"


KILL, TERM = signal.SIGKILL, signal.SIGTERM
# script, the route that hangs, the signal, the file that tells of success (None: none)
CUT_OFF = [
    ("bin/register", "metadata", KILL, "registration/.runner"),
    ("bin/register", "jit", KILL, "registration/.runner"),
    ("bin/register", "jit", TERM, "registration/.runner"),
    ("bin/install", "metadata", KILL, "installed"),
    ("bin/install", "object", KILL, "installed"),
    ("bin/install", "object", TERM, "installed"),
    ("bin/report-end", "metadata", KILL, "end.json"),
    ("bin/report-end", "metadata", TERM, "end.json"),
    ("bin/delete-self", "delete", KILL, None),
    ("bin/delete-self", "delete", TERM, None),
    ("bin/run", "metadata", TERM, "listener"),
    ("bin/watch-boot", "metadata", KILL, "end.json"),
    ("bin/watch-boot", "delete", TERM, "end.json"),
    ("bin/watch-preemption", "metadata", TERM, "reason"),
    ("bin/warm", "metadata", TERM, None),
    ("bin/preflight", "metadata", TERM, None),
]


def all_gone(group: int) -> bool:
    """Whether a killed group is gone; the kernel needs a moment for the last of it."""
    return any(not group_alive(group) or time.sleep(0.01) for _ in range(500))


def prepare(vm: Vm, script: str) -> None:
    """A VM on which the script ends by itself and well."""
    vm.fake("poweroff", "")
    (vm.bundle / "lib/containment_probe.sh").write_text("containment_probe() { :; }\n")
    listener = '#!/bin/bash\necho "$*" >>"${0%/*}/listened"\n'
    if script == "bin/install":
        publish_runner(vm, listener)
    if script == "bin/run":
        folder = vm.runner_dir / "bin"
        folder.mkdir(parents=True)
        (folder / "Runner.Listener").write_text(listener)
        (folder / "Runner.Listener").chmod(0o755)
        (vm.run_dir / "registration").mkdir(mode=0o700)
        (vm.run_dir / "registration/.runner").write_text("{}")
    if script == "bin/watch-boot":
        vm.set_attributes({"boot-deadline-seconds": "1"})
    if script == "bin/watch-preemption":
        vm.cloud.metadata["instance/preempted"] = "TRUE"
    if script == "bin/preflight":
        vm.set_attributes({"health-port": vm.cloud.host.rpartition(":")[2]})
        vm.fake("df", "echo Avail; echo 99999999")


def publish_runner(vm: Vm, listener: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("bin/Runner.Listener")
        entry.size, entry.mode = len(listener), 0o755
        archive.addfile(entry, io.BytesIO(listener.encode()))
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    vm.set_attributes({"archive-sha256": digest, "archive-url": f"http://{vm.cloud.host}/no-such"})
    vm.environment["STORAGE_EMULATOR_HOST"] = f"http://{vm.cloud.host}"
    vm.cloud.objects["iree-oss-gh-runner-boot", f"runner-archives%2F{digest}.tar.gz"] = buffer.getvalue()


@pytest.mark.parametrize(("script", "route", "how", "done"), CUT_OFF)
def test_a_script_cut_off_leaves_nothing_running_and_its_next_run_completes(
    vm: Vm, cloud: Cloud, script: str, route: str, how: signal.Signals, done: str | None
) -> None:
    prepare(vm, script)
    if route != "metadata":
        (vm.run_dir / "attributes").mkdir()
        for path, text in vm.cloud.metadata.items():
            if "attributes/runner-" in path:
                (vm.run_dir / path.removeprefix("instance/")).write_text(text)
    if script == "bin/preflight":  # the health server's own answer
        cloud.replies[""].extend([Reply()] * 3)
    cloud.replies[route].append(Reply(hangs=True))
    process = vm.start(script)
    assert cloud.hanging.wait(20), "it never asked"
    os.killpg(process.pid, how)
    out, err = process.communicate(timeout=20)
    assert process.returncode in (-how, 128 + how)
    assert cloud.hung_up.wait(20)
    assert all_gone(process.pid)
    vm.assert_nothing_secret(out + err)
    again = vm.run(script)
    assert again.status == 0, again.log
    if done:
        assert (vm.run_dir / done).exists() or script == "bin/run"
    kept = leftovers(vm.run_dir, [done or "", "end.json", "failure", "installed", "policy.json", "gate", "listener"])
    assert {name for name in kept if not name.startswith(("attributes/", "registration/"))} == set()


@pytest.mark.parametrize(
    "script", ["preflight", "install", "register", "run", "report-end", "delete-self", "end-refused", "warm"]
)
def test_a_header_lists_every_exit_code_that_its_script_gives(script: str, root: Path) -> None:
    text = (root / "startup/bin" / script).read_text()
    head, _, body = text.partition("set -eEuo pipefail")
    exits = re.search(r"# Exits: (.*?)\n# Safe:", head, re.DOTALL)
    assert exits
    given = set(re.findall(r"\bfail (\d+) ", body)) | ({"44", "45"} if "$(attribute " in body else set())
    assert [code for code in sorted(given) if not re.search(rf"\b{code}\b", exits[1])] == []
