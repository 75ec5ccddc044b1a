"""VMs of pools that follow the job queue: their configuration comes from the pool's own scale set, and only once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from broker.clients.session import Answer

from tests.functions.broker.broker_audit import audit
from tests.functions.broker.broker_service import (
    PRESUBMIT,
    PRESUBMIT_JOBS,
    BrokerService,
    table,
)

GROUP = table()["groups"][PRESUBMIT_JOBS]
SET = GROUP["scale_set"]
JIT, FIND, REGISTER = "github.scale_sets.jit", "github.scale_sets.find", "github.scale_sets.register"
REMOVE, RUNNERS = "github.scale_sets.remove_runner", "github.scale_sets.runners"


def new_vm(service: BrokerService, group: str = PRESUBMIT_JOBS):
    return service.vm(group)


def set_id(service: BrokerService, name: str = SET) -> int:
    found = service.site.github.scale_sets.by_name(name)
    assert found is not None
    return found.id


def make_set_anew(service: BrokerService) -> None:
    """What the listener does where it finds none."""
    service.site.github.add_scale_set(SET, group=GROUP["runner_group"], labels=GROUP["labels"])


def answering(service: BrokerService, end: str, body: Any) -> None:
    """Let every call to a path with this end be executed, and a good answer replaced by this one."""
    real = service.session.once

    def once(service: str, method: str, url: str, **rest: Any) -> Answer:
        answer = real(service, method, url, **rest)
        if not url.endswith(end) or answer.status != 200:
            return answer
        changed = body(answer.json()) if callable(body) else body
        return Answer(status=200, headers={}, body=json.dumps(changed).encode())

    service.session.once = once


def test_a_vm_gets_its_configuration_from_the_scale_set_of_its_pool(service):
    vm = new_vm(service)
    reply = service.jit(vm)
    assert reply.status == 200, reply.raw
    runner = service.runner(vm)
    assert reply.body["runner_id"] == runner.id
    assert runner.scale_set_id == set_id(service)
    assert runner.group_id == service.site.github.groups["presubmit"].id
    assert runner.work_folder == "_work"
    assert runner.labels == [label.lower() for label in GROUP["labels"]]
    prefix, _, suffix = runner.name.rpartition("-")
    assert (prefix, int(suffix, 36)) == (vm.name, int(vm.id))
    assert service.site.asked("github.jit") == []
    grant = service.grant(vm)
    assert grant is not None
    assert {name: grant[name] for name in ("state", "pool", "group", "runner_name", "runner_id", "scale_set_id")} == {
        "state": "registered",
        "pool": "presubmit-jobs",
        "group": PRESUBMIT_JOBS,
        "runner_name": runner.name,
        "runner_id": runner.id,
        "scale_set_id": runner.scale_set_id,
    }


def test_the_answer_is_what_the_script_on_the_vm_unpacks(service):
    from startup.lib import jit_config

    vm = new_vm(service)
    runner_id, files = jit_config.read(service.jit(vm).raw)
    assert runner_id == service.runner(vm).id
    assert json.loads(files[".runner"])["agentName"] == service.runner(vm).name


def test_what_is_sent_has_the_form_of_githubs_own_client(service):
    vm = new_vm(service)
    service.jit(vm)
    (registered,) = service.site.asked(REGISTER)
    assert registered.headers["Authorization"].startswith("RemoteAuth ")
    assert registered.headers["Content-Type"] == "application/json"
    url = f"{service.site.github_url}/{service.site.github.organization}"
    assert registered.body == f'{{"url":"{url}","runner_event":"register"}}\n'.encode()
    (asked,) = service.site.asked(JIT)
    path = f"/rest/_apis/runtime/runnerscalesets/{set_id(service)}/generatejitconfig"
    assert asked.path == f"{path}?api-version=6.0-preview"
    assert asked.body == f'{{"name":"{service.runner(vm).name}","workFolder":"_work"}}'.encode()
    assert asked.headers["Authorization"].startswith("Bearer ")
    assert asked.headers["Content-Type"] == "application/json"
    agent = json.loads(asked.headers["User-Agent"])
    assert list(agent) == ["system", "version", "commit_sha", "scale_set_id", "subsystem", "build_version",
                           "build_commit_sha", "kind"]  # fmt: skip
    assert (agent["scale_set_id"], agent["kind"]) == (set_id(service), "scaleset")
    (group,) = service.site.asked("github.scale_sets.runner_group")
    assert group.path == "/rest/_apis/runtime/runnergroups/?api-version=6.0-preview&groupName=presubmit"


def test_a_byte_order_mark_is_no_part_of_an_answer(service):
    service.site.github.scale_set_options.byte_order_mark = True
    vm = new_vm(service)
    assert service.jit(vm).status == 200
    assert service.deregister(vm).status == 200


def test_a_vm_gets_no_second_configuration(service):
    vm = new_vm(service)
    assert service.jit(vm).status == 200
    again = service.jit(vm)
    assert (again.status, again.error) == (409, "grant_taken")
    assert len(service.site.asked(JIT)) == 1


def test_of_sixty_four_requests_of_one_vm_at_once_exactly_one_wins(service):
    vm = new_vm(service)
    with ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(lambda _: service.jit(vm), range(64)))
    assert sorted(reply.status for reply in replies) == [200] + [409] * 63
    assert len(service.site.github.runners) == 1


def test_sixty_four_vms_at_once_share_one_token_and_one_look(service):
    vms = [new_vm(service) for _ in range(64)]
    with ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(service.jit, vms))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body["runner_id"] for reply in replies}) == 64
    assert {service.runner(vm).scale_set_id for vm in vms} == {set_id(service)}
    for route in ("github.scale_sets.registration_token", REGISTER, "github.scale_sets.runner_group", FIND):
        assert len(service.site.asked(route)) == 1, route
    assert len(service.site.asked(JIT)) == 64
    service.site.clock.advance(3600 - 59)
    with ThreadPoolExecutor(64) as pool:
        assert {reply.status for reply in pool.map(service.deregister, vms)} == {200}
    assert len(service.site.asked(REGISTER)) == 2


def test_an_admin_token_is_replaced_a_minute_before_its_end(service):
    service.site.github.scale_set_options.admin_token_seconds = 600
    vms = [service.vm(PRESUBMIT_JOBS, age_seconds=0) for _ in range(3)]
    for vm, later in zip(vms, (0, 530, 15), strict=True):
        service.site.clock.advance(later)
        vm.created = service.site.clock.now() - 30
        assert service.jit(vm).status == 200
    assert len(service.site.asked(REGISTER)) == 2


def test_an_admin_token_that_dies_early_is_replaced_once(service):
    first, second = new_vm(service), new_vm(service)
    assert service.jit(first).status == 200
    service.site.github.expire_admin_tokens()
    assert service.jit(second).status == 200
    service.site.github.expire_admin_tokens()
    assert service.deregister(first).status == 200
    assert len(service.site.asked(REGISTER)) == 3


def test_a_token_that_is_never_accepted_is_a_refusal_and_frees_the_grant(service):
    vm = new_vm(service)
    service.site.faults.script(JIT, status=401, times=1000)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (502, "github_refused")
    assert len(service.site.asked(JIT)) == 2
    service.site.faults.clear()
    assert audit(service, vm, reply) == "free"


def test_a_registration_token_that_is_not_known_everywhere_yet_is_tried_again(service):
    service.site.faults.script(REGISTER, status=403)
    service.site.faults.script(REGISTER, status=401)
    assert service.jit(new_vm(service)).status == 200
    assert len(service.site.asked(REGISTER)) == 3


def test_a_registration_that_is_refused_five_times_is_a_refusal(service):
    service.site.faults.script(REGISTER, status=403, times=1000)
    reply = service.jit(new_vm(service))
    assert (reply.status, reply.error) == (502, "github_refused")
    assert len(service.site.asked(REGISTER)) == 5
    assert service.grants == []


@pytest.mark.parametrize("warm", [False, True])
def test_a_missing_scale_set_is_said_and_the_vm_registers_once_the_listener_has_made_it(service, warm):
    if warm:
        assert service.jit(new_vm(service)).status == 200
    service.site.github.delete_scale_set(SET)
    vm = new_vm(service)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (503, "scale_set_missing")
    assert "retry-after" in reply.headers
    assert service.grant(vm) is None
    make_set_anew(service)
    assert service.jit(vm).status == 200
    assert service.runner(vm).scale_set_id == set_id(service)


def test_a_scale_set_that_was_made_anew_is_found_and_the_grant_names_it(service):
    assert service.jit(new_vm(service)).status == 200
    before = set_id(service)
    service.site.github.delete_scale_set(SET)
    make_set_anew(service)
    vm = new_vm(service)
    assert service.jit(vm).status == 200
    assert service.grant(vm)["scale_set_id"] == set_id(service) != before


def test_a_missing_runner_group_is_a_refusal(service):
    group = service.site.github.groups.pop("presubmit")
    vm = new_vm(service)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (502, "github_refused")
    service.site.github.groups["presubmit"] = group
    assert service.jit(vm).status == 200


def test_the_default_runner_group_is_not_looked_up(service):
    changed = table()
    changed["groups"][PRESUBMIT_JOBS]["runner_group"] = "default"
    service.write_table(changed)
    service.renew()
    service.site.github.add_scale_set(SET, group="Default")
    vm = new_vm(service)
    assert service.jit(vm).status == 200
    assert service.runner(vm).group_id == 1
    assert service.site.asked("github.scale_sets.runner_group") == []


def test_a_set_of_that_name_in_another_runner_group_is_not_the_pools(service):
    service.site.github.delete_scale_set(SET)
    service.site.github.add_scale_set(SET, group="postsubmit")
    vm = new_vm(service)
    assert service.jit(vm).error == "scale_set_missing"
    assert service.runners(vm) == []


def test_what_a_lost_answer_left_is_removed_and_made_again(service):
    vm = new_vm(service)
    service.site.faults.script(JIT, "reset", after=True)
    reply = service.jit(vm)
    assert reply.status == 200
    assert [runner.name for runner in service.site.github.gone] == [service.runner(vm).name]
    assert audit(service, vm, reply) == "given"


def test_a_name_that_is_taken_while_its_holder_has_a_job_is_left_alone(service):
    vm = new_vm(service)
    service.site.faults.script(JIT, "reset", after=True)
    act = service.session.before_call

    def start(name: str, method: str, url: str) -> None:
        act(name, method, url)
        if "/agents" in url and method == "GET":
            service.site.github.start_job(service.runner(vm).name)

    service.session.before_call = start
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (503, "registration_unknown")
    assert service.site.github.gone == []
    assert audit(service, vm, reply) == "refused"


@pytest.mark.parametrize(
    "changed",
    [
        lambda answer: {**answer, "runner": {**answer["runner"], "runnerScaleSetId": 999}},
        lambda answer: {**answer, "runner": {**answer["runner"], "name": "another"}},
        lambda answer: {"runner": answer["runner"]},
    ],
)
def test_a_configuration_of_another_set_or_runner_reaches_nobody(service, changed):
    vm = new_vm(service)
    answering(service, "generatejitconfig", changed)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (503, "registration_unknown")
    assert service.grant(vm)["state"] == "unknown"


@pytest.mark.parametrize(
    "answer",
    [
        {"url": "", "token": "a.e30.c"},
        {"url": "ftp://127.0.0.1/rest", "token": "a.eyJleHAiOjk5OTk5OTk5OTl9.c"},
        {"url": "http://[::1/rest", "token": "a.eyJleHAiOjk5OTk5OTk5OTl9.c"},
        {"url": "http://127.0.0.1/rest", "token": "a.e30.c"},
        {"url": "http://127.0.0.1/rest", "token": "a.eyJleHAiOiJzb29uIn0.c"},
        {"url": "http://127.0.0.1/rest", "token": "no.jwt"},
        {"url": "http://127.0.0.1/rest"},
        [],
    ],
)
def test_a_registration_that_names_no_service_is_none(service, answer):
    answering(service, "runner-registration", answer)
    reply = service.jit(new_vm(service))
    assert (reply.status, reply.error) == (503, "github_unavailable")
    assert service.grants == []


def test_no_token_goes_out_in_the_clear_where_github_is_encrypted(service):
    changed = {**service.environment, "BROKER_GITHUB_WEB_URL": "https://github.example"}
    service.environment = changed
    service.renew()
    answering(
        service, "runner-registration", {"url": "http://127.0.0.1:9/rest", "token": "a.eyJleHAiOjk5OTk5OTk5OTl9.c"}
    )
    assert service.jit(new_vm(service)).error == "github_unavailable"
    assert not [call for call in service.session.calls if call[0] == "actions"]


def test_the_query_of_the_services_url_is_kept(service):
    rest = f"{service.site.github_url}/rest?tenant=1&api-version=7"
    answering(service, "runner-registration", lambda given: {**given, "url": rest})
    assert service.jit(new_vm(service)).status == 200
    (asked,) = service.site.asked(JIT)
    assert asked.path.partition("?")[2] == "api-version=7&tenant=1"


def test_a_vm_removes_its_own_runner_and_may_say_so_twice(service):
    vm, other = new_vm(service), new_vm(service)
    for each in (vm, other):
        assert service.jit(each).status == 200
    for _ in range(2):
        reply = service.deregister(vm)
        assert (reply.status, reply.body) == (200, {"deregistered": True})
    assert list(service.site.github.runners) == [service.runner(other).name]
    assert service.site.asked("github.remove_runner") == []


def test_a_runner_with_a_job_stays(service):
    vm = new_vm(service)
    service.jit(vm)
    service.site.github.start_job(service.runner(vm).name)
    reply = service.deregister(vm)
    assert (reply.status, reply.error) == (409, "busy")
    assert service.runner(vm).busy


def test_a_runner_whose_id_was_never_written_down_is_found_by_its_name(service):
    vm = new_vm(service)
    service.site.faults.script("storage.insert", "slow")  # which spoils nothing, but counts
    service.site.faults.script("storage.insert", status=403)
    assert service.jit(vm).status == 200
    assert "runner_id" not in service.grant(vm)
    assert service.deregister(vm).status == 200
    assert service.runners(vm) == []


@pytest.mark.parametrize("before", ["cpu", "jobs"])
def test_a_vm_that_registered_before_its_pool_changed_its_signal_is_removed_where_it_was_made(service, before):
    group = PRESUBMIT if before == "cpu" else PRESUBMIT_JOBS
    vm = new_vm(service, group)
    assert service.jit(vm).status == 200
    changed = table()
    changed["groups"][group] |= {"signal": "jobs", "scale_set": SET} if before == "cpu" else {
        "signal": "cpu", "scale_set": ""}  # fmt: skip
    service.write_table(changed)
    service.renew()
    assert service.deregister(vm).status == 200
    assert service.runners(vm) == []
    assert len(service.site.asked("github.remove_runner")) == (before == "cpu")


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 400}, {"status": 403}, {"kind": "reset"}])
@pytest.mark.parametrize("route", [REMOVE, REGISTER])
def test_a_deregistration_that_fails_says_so_and_succeeds_later(service, route, fault):
    vm = new_vm(service)
    service.jit(vm)
    service.renew()
    service.site.faults.script(route, fault.get("kind", "status"), status=fault.get("status"), times=1000)
    reply = service.deregister(vm)
    assert reply.status in {502, 503}
    assert "retry-after" in reply.headers
    service.site.faults.clear()
    assert service.deregister(vm).status == 200
    assert service.runners(vm) == []


def test_the_log_names_the_pool_and_the_seconds_since_the_vm_was_made(service):
    vm = service.vm(PRESUBMIT_JOBS, age_seconds=30)
    service.jit(vm)
    service.deregister(vm)
    given, removed = service.lines
    assert (given["pool"], removed["pool"]) == ("presubmit-jobs", "presubmit-jobs")
    assert 30 <= given["boot_seconds"] < 40
    assert "boot_seconds" not in removed
    text = service.log_text()
    assert not [secret for secret in service.secrets() if secret in text]
