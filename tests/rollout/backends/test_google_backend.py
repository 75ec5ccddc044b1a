"""Compute Engine's operations as steps, against the stand-in: once whatever happens, and honest about how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import OneTry

from emulators.site import Site
from rollout.backends.google import GoogleOperations
from rollout.engine.backend import Failed, Passed
from rollout.engine.journal import Journal
from rollout.engine.run import Run
from rollout.engine.spec import Plan, Retry, Step

ROOT = Path(__file__).parents[3]
GROUP = {"region": "us-west1", "group": "presubmit-cpu"}
BUILDER = {"zone": "us-west1-a", "body": {"name": "builder", "disks": [{"autoDelete": True}]}}


@pytest.fixture
def site():
    with Site(seed=7) as site:
        yield site


@pytest.fixture
def group(site):
    return site.google.add_group("presubmit-cpu", zones=("us-west1-a", "us-west1-b"), target_size=2)


@pytest.fixture
def vm(site, group):
    return site.google.create_instance(group)


@pytest.fixture
def using(site, monkeypatch):
    """Has a function use the backend, whose pauses between tries of one request are over at once."""
    monkeypatch.setattr("rollout.cloud.service.FIRST_PAUSE_SECONDS", 0.0)

    def run(use):
        async def main():
            backend = GoogleOperations(environ=site.operator_environment(), first_seconds=0.01, most_seconds=0.02)
            try:
                return await use(backend)
            finally:
                await backend.close()

        return asyncio.run(main())

    return run


async def until(condition):
    """Wait for what the stand-in, in its own thread, or a backend brings about."""
    while not condition():  # noqa: ASYNC110 - another thread sets no event of this loop
        await asyncio.sleep(0.001)


def call(name, arguments, **more):
    return OneTry(project="iree-oss", call=name, arguments=arguments, **more)


def deleting(vm, **more):
    return call("delete_instances", {**GROUP, "instances": [f"zones/{vm.zone}/instances/{vm.name}"]}, **more)


def test_a_call_passes_once_its_operation_is_done(site, group, vm, using):
    async def use(backend):
        attempt = deleting(vm)
        return attempt, await backend.run(attempt)

    site.google.compute.operation_seconds = 0.05
    attempt, outcome = using(use)
    (operation,) = site.google.compute.operations.values()
    assert isinstance(outcome, Passed)
    assert outcome.output == {"operation": f"regions/us-west1/operations/{operation.name}"}
    assert outcome.link == "https://console.cloud.google.com/compute/operations?project=iree-oss"
    assert group.target_size == 1
    request, operation_ref = attempt.external_ids
    assert request.startswith("request/")
    assert operation_ref == outcome.output["operation"]


@pytest.mark.parametrize(
    ("code", "http_status", "expected"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, "stockout"),
        ("QUOTA_EXCEEDED", 403, "quota"),
        ("RESOURCE_IN_USE", 400, "conflict"),
        ("SOMETHING_NEW", 503, "unavailable"),
        ("SOMETHING_NEW", 400, "permanent"),
    ],
)
def test_an_operation_that_ends_badly_fails_by_the_class_of_its_code(site, vm, using, code, http_status, expected):
    site.google.fail_operation("compute.delete_instances", code=code, http_status=http_status, message="leak")
    outcome = using(lambda backend: backend.run(deleting(vm)))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.error_class) == (f"google-{expected}", expected)
    assert code in outcome.message
    assert "leak" not in outcome.message


@pytest.mark.parametrize(
    ("fault", "expected", "retry_after"),
    [
        ({"status": 412}, "conflict", None),
        ({"status": 400}, "permanent", None),
        ({"status": 503, "times": 9}, "unavailable", None),
        ({"status": 429, "retry_after": 600}, "rate-limited", 600.0),
    ],
)
def test_a_call_that_is_not_accepted_fails_by_the_class_of_the_answer(site, vm, using, fault, expected, retry_after):
    site.faults.script("compute.delete_instances", **fault)
    outcome = using(lambda backend: backend.run(deleting(vm)))
    assert isinstance(outcome, Failed)
    assert (outcome.error_class, outcome.retry_after_seconds) == (expected, retry_after)


def test_a_quota_and_a_name_that_is_taken_are_classes_of_their_own(group, using):
    group.quota = 2

    async def use(backend):
        await backend.run(call("insert_instance", BUILDER))
        return await backend.run(call("resize", {**GROUP, "size": 9})), await backend.run(
            call("insert_instance", BUILDER)
        )

    quota, taken = using(use)
    assert (quota.error_class, taken.error_class) == ("quota", "conflict")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "exactly one of `call` and `wait`"),
        ({"call": "shrink"}, "call 'shrink': there is none"),
        ({"call": "resize", "arguments": {"group": "g"}}, "`region` is missing"),
        ({"call": "resize", "arguments": []}, "`arguments` is not an object"),
        ({"call": "change_metadata", "arguments": {"zone": "z"}}, "it takes changes, instance, zone"),
        ({"wait": {"for": "rain"}}, "wait for 'rain': allowed is group-stable"),
        ({"wait": {"for": "group-stable", "grp": "g"}}, "`region` is missing; `group` is missing; `grp` is not known"),
        ({"wait": {"for": "serial-line", "zone": "z", "instance": "i", "pattern": "("}}, "`pattern` is no regular"),
    ],
)
def test_params_that_make_no_sense_fail_before_anything_is_asked(site, using, params, said):
    outcome = using(lambda backend: backend.run(OneTry(project="iree-oss", **params)))
    assert isinstance(outcome, Failed)
    assert outcome.code == "arguments"
    assert said in outcome.message
    assert not site.requests


def test_a_project_that_is_none_fails_before_anything_is_asked(site, using):
    outcome = using(lambda backend: backend.run(OneTry(project="/", call="delete_image", arguments={"image": "i"})))
    assert (outcome.code, site.requests) == ("arguments", [])


def test_a_deletion_may_find_nothing_where_that_is_said(site, vm, using):
    site.google.delete_instance(vm)

    async def use(backend):
        nothing = await backend.run(call("delete_snapshot", {"snapshot": "absent"}, missing_ok=True))
        member = await backend.run(deleting(vm, missing_ok=True))
        strict = await backend.run(call("delete_snapshot", {"snapshot": "absent"}))
        return nothing, member, strict

    nothing, member, strict = using(use)
    assert (nothing.output, type(member), strict.error_class) == ({"missing": True}, Passed, "not-found")


def test_attributes_are_changed_and_what_is_so_already_passes(vm, using):
    arguments = {"zone": vm.zone, "instance": vm.name, "changes": {"runner-drain": "idle"}}

    async def use(backend):
        return [await backend.run(call("change_metadata", arguments)) for _ in range(2)]

    assert [outcome.output for outcome in using(use)] == [{"changed": True}, {"changed": False}]
    assert vm.metadata["runner-drain"] == "idle"


def test_an_operations_end_is_waited_for_through_times_when_google_does_not_answer(site, vm, using):
    site.faults.script("compute.wait_operation", status=429, retry_after=0, times=8)
    outcome = using(lambda backend: backend.run(deleting(vm)))
    assert isinstance(outcome, Passed)
    assert len(site.asked("compute.wait_operation")) == 9


class Dying(OneTry):
    """Its process dies as it is about to write the name number `writes`: that one is in nobody's journal."""

    writes = 1

    async def attach(self, external_id, link=""):
        if len(self.external_ids) == self.writes:
            raise asyncio.CancelledError
        await super().attach(external_id, link)


@pytest.mark.parametrize("sent", [False, True])
def test_a_call_that_died_around_its_sending_is_done_once(site, group, vm, using, sent):
    """Its request id is in the journal; whether it was sent nobody knows."""
    arguments = {**GROUP, "instances": [f"zones/{vm.zone}/instances/{vm.name}"]}

    async def first(backend):
        attempt = Dying(project="iree-oss", call="delete_instances", arguments=arguments)
        attempt.writes = 1
        if sent:
            with pytest.raises(asyncio.CancelledError):
                await backend.run(attempt)
            assert len(site.google.compute.operations) == 1
            return attempt.external_ids
        return ["request/7b6f3a52-6a4b-4b0e-9c1c-0a4a3f5f6f10"]

    (external_id,) = using(first)
    outcome = using(lambda backend: backend.reattach(deleting(vm), external_id))
    assert isinstance(outcome, Passed)
    assert len(site.google.compute.operations) == 1
    assert group.target_size == 1


def test_a_run_that_died_while_its_operation_went_on_waits_for_it_and_asks_for_nothing(site, vm, using):
    site.google.compute.operation_seconds = 3600

    async def first(backend):
        attempt = deleting(vm)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: len(attempt.external_ids) == 2)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return attempt.external_ids[-1]

    external_id = using(first)
    site.clock.advance(3600)
    outcome = using(lambda backend: backend.reattach(deleting(vm), external_id))
    assert isinstance(outcome, Passed)
    assert len(site.asked("compute.delete_instances")) == 1


def test_an_operation_that_google_has_forgotten_is_lost(site, vm, using):
    outcome = using(lambda backend: backend.reattach(deleting(vm), "regions/us-west1/operations/operation-1"))
    assert (outcome.code, outcome.error_class) == ("lost", "lost")
    assert not site.asked("compute.delete_instances")


def test_a_graceful_end_waits_for_the_operation_and_tells_how_it_ended(site, vm, using):
    site.google.compute.operation_seconds = 600

    async def use(backend):
        attempt = deleting(vm)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: site.asked("compute.wait_operation"))
        attempt.cancelled.set()
        await backend.cancel(attempt)
        site.clock.advance(600)
        return attempt, await task

    attempt, outcome = using(use)
    assert isinstance(outcome, Passed)
    assert attempt.progressed[-1] == "Google ends no operation that it has begun; waiting for its end"


# Waits


def wait(what, **arguments):
    return OneTry(project="iree-oss", wait={"for": what, **arguments})


def test_a_step_waits_until_its_group_is_stable(site, vm, using):
    async def use(backend):
        attempt = wait("group-stable", **GROUP)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        with site.lock:
            vm.action = "NONE"
        return attempt, await task

    vm.action = "CREATING"
    attempt, outcome = using(use)
    assert isinstance(outcome, Passed)
    assert outcome.output == {"target_size": 2}
    assert attempt.progressed == ["presubmit-cpu: 1 creating"]


def test_a_hundred_steps_that_wait_for_one_group_list_it_once_per_pause(site, group, using):
    vms = [site.google.create_instance(group) for _ in range(100)]

    async def use(backend):
        attempts = [wait("member-gone", **GROUP, instance=vm.name) for vm in vms]
        tasks = [asyncio.ensure_future(backend.run(attempt)) for attempt in attempts]
        await until(lambda: all(attempt.progressed for attempt in attempts))
        looked = len(site.asked("compute.managed_instances"))
        for vm in vms:
            site.google.delete_instance(vm)
        outcomes = await asyncio.gather(*tasks)
        return looked, outcomes

    looked, outcomes = using(use)
    assert all(isinstance(outcome, Passed) for outcome in outcomes)
    assert looked < 10  # not one for each of a hundred
    assert len(site.asked("compute.managed_instances")) < 20


def test_a_step_does_not_pass_by_what_another_saw_before_it_began(site, vm, using):
    async def use(backend):
        first = await backend.run(wait("group-stable", **GROUP))
        with site.lock:
            vm.action = "RESTARTING"
        attempt = wait("group-stable", **GROUP)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        attempt.cancelled.set()
        return first, await task

    first, second = using(use)
    assert isinstance(first, Passed)
    assert (second.code, second.message) == ("cancelled", "was stopped while it waited: presubmit-cpu: 1 restarting")


def test_a_step_waits_until_its_group_has_the_versions_it_is_to_have(site, group, using):
    versions = {"stable": "p-v1", "canary": "p-v2"}

    async def use(backend):
        attempt = wait("versions-reached", **GROUP, versions=versions)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        site.google.set_versions(group, [("stable", "p-v1", None), ("canary", "p-v2", 1)])
        await until(lambda: len(attempt.progressed) == 2)
        for _ in range(2):
            site.google.create_instance(group)
        return attempt, await task

    attempt, outcome = using(use)
    assert outcome.output == {"versions": versions}
    assert attempt.progressed == [
        "presubmit-cpu still has presubmit-cpu-1",
        "presubmit-cpu is to have 1 of p-v1, 1 of p-v2",
    ]


def test_what_is_waited_for_and_is_not_there_fails_except_where_that_is_the_aim(using):
    absent = {"zone": "us-west1-a", "instance": "absent"}

    async def use(backend):
        return [
            await backend.run(each)
            for each in (
                wait("group-stable", **GROUP),
                wait("versions-reached", **GROUP),
                wait("instance-running", **absent),
                wait("instance-stopped", **absent),
                wait("serial-line", **absent, pattern="x"),
                wait("snapshot-ready", snapshot="absent"),
                wait("instance-gone", **absent),
                wait("member-gone", **GROUP, instance="absent"),
            )
        ]

    assert [getattr(outcome, "code", "passed") for outcome in using(use)] == ["not-found"] * 6 + ["passed"] * 2


def test_a_vm_is_waited_for_through_its_life(site, vm, using):
    where = {"zone": vm.zone, "instance": vm.name}

    async def follow(backend, what, change):
        attempt = wait(what, **where)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        with site.lock:
            change()
        return attempt.progressed, await task

    async def use(backend):
        vm.status = "PROVISIONING"
        running = await follow(backend, "instance-running", lambda: setattr(vm, "status", "RUNNING"))
        stopped = await follow(backend, "instance-stopped", lambda: setattr(vm, "status", "TERMINATED"))
        fallen = await backend.run(wait("instance-running", **where))
        gone = await follow(backend, "instance-gone", lambda: site.google.delete_instance(vm))
        return running, stopped, fallen, gone

    running, stopped, fallen, gone = using(use)
    assert (running[0], running[1].output) == ([f"{vm.name}: provisioning"], {"id": vm.id})
    assert (stopped[0], stopped[1].output) == ([f"{vm.name}: running"], {"id": vm.id})
    assert (fallen.code, fallen.error_class) == ("stopped", "preempted")
    assert isinstance(gone[1], Passed)


def test_a_vm_of_the_same_name_and_another_id_is_not_the_one_that_was_to_go(vm, using):
    where = {"zone": vm.zone, "instance": vm.name}

    async def use(backend):
        return await backend.run(wait("instance-gone", **where, id="1")), await backend.run(
            wait("member-gone", **GROUP, instance=vm.name, id="1")
        )

    assert all(isinstance(outcome, Passed) for outcome in using(use))


def test_a_line_on_the_serial_port_is_waited_for_and_all_of_them_are_logged(site, vm, using):
    async def use(backend):
        attempt = wait("serial-line", zone=vm.zone, instance=vm.name, pattern=r"bake: done (?P<digest>\w+)")
        task = asyncio.ensure_future(backend.run(attempt))
        for text in ("booting\nbake: do", "ne abc", "\nafter\n"):
            site.google.write_serial(vm, text)
            await until(lambda text=text: text.encode() in attempt.log)
        return attempt, await task

    attempt, outcome = using(use)
    assert outcome.output == {"line": "bake: done abc", "digest": "abc"}
    assert attempt.log == b"booting\nbake: done abc\nafter\n"


@pytest.mark.parametrize("ends", ["bad line", "stop"])
def test_a_serial_port_that_says_no_or_falls_silent_fails_with_its_last_lines(site, vm, using, ends):
    site.google.write_serial(vm, "one\ntwo\n")
    if ends == "bad line":
        site.google.write_serial(vm, "bake: failed: no space\n")
    else:
        vm.status = "TERMINATED"
    attempt = wait("serial-line", zone=vm.zone, instance=vm.name, pattern="bake: done", fail_pattern="bake: failed")
    outcome = using(lambda backend: backend.run(attempt))
    assert outcome.code == ("serial-line" if ends == "bad line" else "stopped")
    assert outcome.tail[:2] == ("one", "two")


@pytest.mark.usefixtures("group")
def test_a_wait_sits_out_a_service_that_does_not_answer(site, using):
    site.faults.script("compute.group", status=429, retry_after=0, times=9)
    attempt = wait("group-stable", **GROUP)
    assert isinstance(using(lambda backend: backend.run(attempt)), Passed)
    assert "compute: answered HTTP 429 (group presubmit-cpu in us-west1)" in attempt.progressed


@pytest.mark.parametrize("fails", [False, True])
def test_a_snapshot_is_waited_for_until_it_can_be_used(site, using, fails):
    async def use(backend):
        await backend.run(call("insert_instance", BUILDER))
        making = call("create_snapshot", {"zone": "us-west1-a", "disk": "builder", "body": {"name": "snap"}})
        making = asyncio.ensure_future(backend.run(making))
        await until(lambda: site.google.compute.snapshots)
        attempt = wait("snapshot-ready", snapshot="snap")
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        site.google.compute.snapshots["snap"].failed = fails
        site.clock.advance(600)
        return attempt.progressed, await task, await making

    site.google.compute.snapshot_seconds = 600
    progressed, outcome, made = using(use)
    assert progressed == ["snap: uploading"]
    assert (isinstance(outcome, Passed), getattr(outcome, "code", "")) == (
        not fails,
        "snapshot-failed" if fails else "",
    )
    assert isinstance(made, Passed)


def test_a_wait_that_may_not_look_fails_and_says_so(site, using):
    site.google.deny("compute.group", "operator@iree-oss.iam")
    outcome = using(lambda backend: backend.run(wait("group-stable", **GROUP)))
    assert (outcome.code, outcome.error_class) == ("google-denied", "denied")


# With the engine


def plan_of(names):
    """As many VMs made, one after another: made twice, one would be a conflict."""
    steps = [
        Step(
            id=name,
            backend="google",
            params={
                "project": "iree-oss",
                "call": "insert_instance",
                "arguments": {"zone": "us-west1-a", "body": {"name": name}},
            },
            needs=tuple(names[:number][-1:]),
            retry=Retry(tries={"unavailable": 3}, first_seconds=0.01, most_seconds=0.01),
        )
        for number, name in enumerate(names)
    ]
    return Plan(name="vms", steps=tuple(steps))


DYING_RUN = """
import asyncio, json, os, signal, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from rollout.backends.google import GoogleOperations
from rollout.engine.journal import Journal
from rollout.engine.run import Run
from test_google_backend import plan_of

path, deaths = Path(sys.argv[1]), int(sys.argv[2])
append, left = Journal.append, deaths

def dying(self, kind, /, **fields):
    global left
    append(self, kind, **fields)
    left -= 1
    if not left:
        print("dies at", kind, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

Journal.append = dying

async def main():
    plan = plan_of(["a"])
    backends = {{"google": GoogleOperations(first_seconds=0.01)}}
    report = await Run(plan, backends, journal=Journal.create(path, plan)).execute()
    print("verdict", report.verdict, flush=True)

asyncio.run(main())
"""


def test_a_run_killed_at_any_line_of_its_journal_and_resumed_makes_everything_once(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(DYING_RUN.format(root=str(ROOT), tests=str(Path(__file__).parent)))
    position, deaths = 0, []
    while True:
        position += 1
        with Site(seed=position) as site:
            environ = {**os.environ, **site.operator_environment()}
            path = tmp_path / f"{position}.jsonl"
            command = [sys.executable, script, path, str(position)]
            done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                assert "verdict passed" in done.stdout
                break
            assert done.returncode == -signal.SIGKILL, done.stderr
            deaths.append(done.stdout.split()[-1])
            plan = plan_of(["a"])

            async def resume(site=site, path=path, plan=plan):
                backend = GoogleOperations(environ=site.operator_environment(), first_seconds=0.01)
                return await Run(plan, {"google": backend}, journal=Journal.open(path, plan)).execute()

            report = asyncio.run(resume())
            assert report.verdict == "passed", (position, report)
            assert sorted(vm.name for vm in site.google.compute.loose) == ["a"]
            assert len(site.google.compute.operations) == 1
    assert len(deaths) >= 4
