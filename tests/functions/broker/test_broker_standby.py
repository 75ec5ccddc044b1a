"""VMs of groups that keep a reserve: no configuration before their group wants them, one at any age once it does."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from broker.clients.session import Answer

from emulators.google.instance import Instance
from tests.functions.broker.broker_service import (
    BOOT_DEADLINE_SECONDS,
    PRESUBMIT_JOBS,
    BrokerService,
    Reply,
    table,
)

LIST = "compute.managed_instances"


@pytest.fixture
def reserve(service: BrokerService) -> BrokerService:
    """A broker whose one group keeps VMs in reserve."""
    keep(service, 3)
    return service


def keep(service: BrokerService, standby: int | None) -> None:
    changed = table()
    changed["groups"][PRESUBMIT_JOBS]["standby"] = standby
    service.write_table(changed)
    service.renew()


def new_vm(service: BrokerService, *, age_seconds: float = 30, **changes: Any) -> Instance:
    vm = service.vm(PRESUBMIT_JOBS, age_seconds=age_seconds)
    for name, value in changes.items():
        setattr(vm, name, value)
    return vm


def told(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.error


@pytest.mark.parametrize("target", ["SUSPENDED", "STOPPED", "DELETED", "ABANDONED"])
@pytest.mark.parametrize("age_seconds", [30, 2 * BOOT_DEADLINE_SECONDS + 100])
def test_a_vm_that_its_group_does_not_want_yet_is_told_to_ask_again_and_nothing_is_done(reserve, target, age_seconds):
    vm = new_vm(reserve, target_status=target, age_seconds=age_seconds)
    reply = reserve.jit(vm)
    assert told(reply) == (425, "standby")
    assert int(reply.headers["retry-after"]) >= 1
    assert reserve.grant(vm) is None
    assert not [request for request in reserve.site.requests if request.route.startswith("github.")]
    line = reserve.lines[-1]
    assert (line["severity"], line["status"], line["outcome"], line["pool"]) == (
        "INFO",
        425,
        "standby",
        "presubmit-jobs",
    )


def test_a_vm_that_its_group_wants_gets_its_one_configuration(reserve):
    vm = new_vm(reserve, target_status="SUSPENDED")
    assert reserve.jit(vm).status == 425
    vm.target_status = "RUNNING"
    reserve.site.clock.advance(5)
    assert reserve.jit(vm).status == 200
    assert told(reserve.jit(vm)) == (409, "grant_taken")


def test_a_list_that_names_no_target_means_that_its_vms_run(reserve):
    group = reserve.site.google.groups[PRESUBMIT_JOBS]
    original = group.managed_document
    group.managed_document = lambda vm: {key: value for key, value in original(vm).items() if key != "targetStatus"}
    assert reserve.jit(new_vm(reserve)).status == 200


def test_a_vm_that_was_suspended_may_be_of_any_age_and_still_gets_only_one(reserve):
    vm = new_vm(reserve, age_seconds=5_000_000)
    vm.suspended = vm.created + 700
    reply = reserve.jit(vm)
    assert reply.status == 200
    expires = datetime.fromisoformat(reply.body["expires"]).timestamp()
    assert expires == pytest.approx(reserve.site.clock.now() + BOOT_DEADLINE_SECONDS, abs=2)
    assert "boot_seconds" not in reserve.lines[-1], "nobody knows when it was resumed"
    assert told(reserve.jit(vm)) == (409, "grant_taken")


def test_the_time_of_a_vm_that_was_stopped_begins_again_with_its_start(reserve):
    vm = new_vm(reserve, age_seconds=80_000)
    vm.started = reserve.site.clock.now() - 40
    assert reserve.jit(vm).status == 200
    assert reserve.lines[-1]["boot_seconds"] == pytest.approx(40, abs=2)
    late = new_vm(reserve, age_seconds=80_000)
    late.started = reserve.site.clock.now() - 2 * BOOT_DEADLINE_SECONDS - 2
    assert told(reserve.jit(late)) == (403, "too_old")
    assert reserve.grant(late) is None


def test_a_vm_that_was_suspended_before_it_was_stopped_has_no_time_but_its_start_s(reserve):
    vm = new_vm(reserve, age_seconds=80_000)
    vm.suspended, vm.started = vm.created + 700, vm.created + 40_000
    assert told(reserve.jit(vm)) == (403, "too_old")


def test_a_vm_that_is_wanted_before_it_slept_has_a_boot_deadline_after_the_one_it_waited(reserve):
    assert reserve.jit(new_vm(reserve, age_seconds=2 * BOOT_DEADLINE_SECONDS - 5)).status == 200
    assert told(reserve.jit(new_vm(reserve, age_seconds=2 * BOOT_DEADLINE_SECONDS + 2))) == (403, "too_old")


def test_without_a_reserve_no_group_is_asked_and_sleep_makes_no_vm_younger(service):
    vm = new_vm(service, age_seconds=BOOT_DEADLINE_SECONDS + 2, target_status="SUSPENDED")
    vm.suspended = vm.started = service.site.clock.now() - 10
    assert told(service.jit(vm)) == (403, "too_old")
    assert service.jit(new_vm(service)).status == 200
    assert service.site.asked(LIST) == []


def test_while_a_reserve_is_given_up_its_vms_are_still_kept_from_registering(service):
    keep(service, 0)
    assert told(service.jit(new_vm(service, target_status="STOPPED"))) == (425, "standby")


def test_a_vm_that_its_group_does_not_list_is_refused(reserve):
    vm = new_vm(reserve)
    compute = reserve.site.google.compute
    compute.groups[PRESUBMIT_JOBS].instances.remove(vm)
    compute.loose.append(vm)
    assert told(reserve.jit(vm)) == (403, "not_in_a_group")
    assert reserve.grant(vm) is None


@pytest.mark.parametrize(
    ("fault", "status", "end"),
    [
        ("status", 503, (503, "google_unavailable")),
        ("status", 403, (502, "google_refused")),
        ("status", 404, (502, "google_refused")),
        ("reset", 0, (503, "google_unavailable")),
        ("garbage", 0, (503, "google_unavailable")),
    ],
)
def test_without_the_group_s_word_nobody_gets_a_configuration(reserve, fault, status, end):
    reserve.site.faults.script(LIST, fault, status=status, times=1000)
    vm = new_vm(reserve)
    assert told(reserve.jit(vm)) == end
    assert reserve.grant(vm) is None
    reserve.site.faults.clear()
    assert reserve.jit(vm).status == 200


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ({"managedInstances": 7}, (503, "google_unavailable")),
        ({"managedInstances": {"id": "7"}}, (503, "google_unavailable")),
        ([], (503, "google_unavailable")),
        ({"nextPageToken": "for ever"}, (502, "google_refused")),
        ({"managedInstances": [7, None, {}, {"targetStatus": "RUNNING"}]}, (403, "not_in_a_group")),
        ({}, (403, "not_in_a_group")),
    ],
)
def test_what_is_no_list_or_does_not_name_it_lets_nobody_in(reserve, monkeypatch, answer, end):
    original = reserve.session.once

    def once(service: str, method: str, url: str, **rest: Any) -> Answer:
        if url.endswith("/listManagedInstances"):
            return Answer(status=200, headers={}, body=json.dumps(answer).encode())
        return original(service, method, url, **rest)

    monkeypatch.setattr(reserve.session, "once", once)
    vm = new_vm(reserve)
    assert told(reserve.jit(vm)) == end
    assert reserve.grant(vm) is None


def test_all_pages_of_a_group_are_read(reserve):
    for _ in range(501):
        new_vm(reserve, target_status="STOPPED")
    vm = new_vm(reserve)
    assert reserve.jit(vm).status == 200
    assert len(reserve.site.asked(LIST)) == 2


def test_vms_in_reserve_that_ask_at_one_time_share_a_list(reserve):
    vms = [new_vm(reserve, target_status="SUSPENDED") for _ in range(10)]
    assert [reserve.jit(vm).status for vm in vms] == [425] * 10
    assert len(reserve.site.asked(LIST)) == 1
    reserve.site.clock.advance(5)
    assert reserve.jit(vms[0]).status == 425
    assert len(reserve.site.asked(LIST)) == 2


def test_a_vm_that_a_list_does_not_have_yet_is_looked_for_at_once(reserve):
    assert reserve.jit(new_vm(reserve, target_status="SUSPENDED")).status == 425
    assert reserve.jit(new_vm(reserve)).status == 200
    assert len(reserve.site.asked(LIST)) == 2


def test_a_reserve_s_whole_life(reserve):
    """As the group plays it: it waits, sleeps, is taken when the group grows, registers; another takes its place."""
    google, clock = reserve.site.google, reserve.site.clock
    google.autofill = True
    group = google.groups[PRESUBMIT_JOBS]
    group.target_suspended, group.standby_delay_seconds = 1, float(BOOT_DEADLINE_SECONDS)
    google.compute.tick()
    [sleeper] = group.instances
    for _ in range(3):
        assert reserve.jit(sleeper).status == 425
        clock.advance(5)
    clock.advance(BOOT_DEADLINE_SECONDS)
    google.compute.tick()
    assert sleeper.status == "SUSPENDED"
    clock.advance(7 * 86_400)
    reserve.renew()
    google.compute.resize(group, 1)
    google.compute.tick()
    assert (sleeper.status, sleeper.target_status) == ("RUNNING", "RUNNING")
    assert reserve.jit(sleeper).status == 200
    [another] = [vm for vm in group.instances if vm is not sleeper]
    assert reserve.jit(another).status == 425
