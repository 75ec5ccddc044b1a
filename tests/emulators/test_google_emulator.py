"""The stand-ins for Compute Engine, Cloud Storage and Secret Manager, asked over HTTP."""

from __future__ import annotations

import base64
import itertools
import threading

import pytest
from google.api_core import retry

from emulators.google.bucket import crc32c
from emulators.site import Site

PROJECT = "/compute/v1/projects/iree-oss"
GROUP = f"{PROJECT}/regions/us-west1/instanceGroupManagers/presubmit-cpu"
OBJECTS = "/storage/v1/b/grants/o"
AT_ONCE = retry.Retry(initial=0.001, maximum=0.01, timeout=10)
"""How often a client library looks at an operation."""


def managed(google):
    return google.ask("POST", f"{GROUP}/listManagedInstances").json().get("managedInstances", [])


def reference(vm):
    return f"zones/{vm.zone}/instances/{vm.name}"


def delete(google, *references, **changes):
    return google.ask("POST", f"{GROUP}/deleteInstances", json={"instances": list(references), **changes})


def end_of(google, operation):
    path = f"{PROJECT}/regions/us-west1/operations/{operation.json()['name']}"
    return google.ask("POST", f"{path}/wait").json()


def upload(google, name, data=b"{}", **query):
    return google.ask("POST", f"/upload{OBJECTS}", params={"uploadType": "media", "name": name, **query}, data=data)


# Compute Engine over HTTP


def test_an_instance_shows_who_it_is_and_who_made_it(site, vm, google):
    shown = google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}").json()
    assert shown["id"] == vm.id
    assert vm.id.isdecimal()
    assert shown["status"] == "RUNNING"
    assert shown["serviceAccounts"][0]["email"] == vm.service_account
    items = {item["key"]: item["value"] for item in shown["metadata"]["items"]}
    assert items["created-by"] == "projects/123456789012/regions/us-west1/instanceGroupManagers/presubmit-cpu"
    site.google.delete_instance(vm)
    gone = google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}")
    assert (gone.status_code, gone.json()["error"]["errors"][0]["reason"]) == (404, "notFound")


def test_a_deleted_vm_stops_first_and_its_group_is_one_smaller_at_once(site, group, vm, google):
    site.google.create_instance(group)
    operation = delete(google, reference(vm))
    assert operation.json()["status"] == "RUNNING"
    assert end_of(google, operation)["status"] == "DONE"
    shown = google.ask("GET", GROUP).json()
    assert shown["targetSize"] == 1
    assert shown["status"]["isStable"] is False
    assert shown["currentActions"]["deleting"] == 1
    assert {each["name"]: each["currentAction"] for each in managed(google)}[vm.name] == "DELETING"
    assert google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}").json()["status"] == "STOPPING"
    site.clock.advance(30)
    assert google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}").status_code == 404
    assert google.ask("GET", GROUP).json()["status"]["isStable"] is True


def test_deleting_twice_or_somebody_else_s_fails_late_unless_skipped(group, vm, google):
    assert "error" not in end_of(google, delete(google, reference(vm)))
    again = end_of(google, delete(google, reference(vm)))
    assert again["error"]["errors"][0]["code"] == "INVALID_USAGE"
    assert group.target_size == 1
    skipped = delete(google, reference(vm), "zones/us-west1-a/instances/foreign", skipInstancesOnValidationError=True)
    assert "error" not in end_of(google, skipped)
    assert group.target_size == 1


@pytest.mark.parametrize("wrong", ["", "x", "zones/us-east1-a/instances/x", "zones/us-west1-a/instances/../x"])
@pytest.mark.usefixtures("group")
def test_a_reference_that_cannot_be_is_refused_at_once(google, wrong):
    assert delete(google, wrong).status_code == 400
    assert delete(google).status_code == 400


def test_a_full_link_is_a_reference_too(google, vm):
    assert "error" not in end_of(google, delete(google, vm.link))
    assert vm.action == "DELETING"


def test_recreating_keeps_the_size_and_the_name_and_nothing_else(site, group, vm, google):
    operation = google.ask("POST", f"{GROUP}/recreateInstances", json={"instances": [reference(vm)]})
    assert end_of(google, operation)["status"] == "DONE"
    assert vm.status == "STOPPING"
    site.clock.advance(30)
    shown = google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}").json()
    assert (shown["name"], shown["status"]) == (vm.name, "RUNNING")
    assert shown["id"] != vm.id
    assert group.target_size == 2


def test_an_operation_runs_fails_later_and_has_then_done_nothing(site, group, vm, google):
    site.google.compute.operation_seconds = 10
    site.google.fail_operation("compute.delete_instances", code="RESOURCE_IN_USE", message="not now", http_status=400)
    operation = delete(google, reference(vm))
    assert operation.status_code == 200
    path = f"{PROJECT}/regions/us-west1/operations/{operation.json()['name']}"
    assert google.ask("GET", path).json()["status"] == "RUNNING"
    site.clock.advance(10)
    ended = google.ask("GET", path).json()
    assert (ended["status"], ended["httpErrorStatusCode"]) == ("DONE", 400)
    assert ended["error"]["errors"] == [{"code": "RESOURCE_IN_USE", "message": "not now"}]
    assert (vm.action, group.target_size) == ("NONE", 2)


def test_waiting_for_an_operation_ends_with_it_or_after_two_minutes(site, vm, google, when_asked):
    site.google.compute.operation_seconds = 200
    operation = delete(google, reference(vm))
    for times, expected in ((1, "RUNNING"), (2, "DONE")):
        when_asked("compute.wait_operation", lambda: site.clock.advance(120), times=times)
        assert end_of(google, operation)["status"] == expected
    assert google.ask("GET", f"{PROJECT}/regions/us-west1/operations/operation-x").status_code == 404


def test_groups_fill_themselves_when_they_are_to(site, google):
    site.google.autofill = True
    group = site.google.add_group("presubmit-cpu", target_size=2)
    assert [vm.status for vm in group.instances] == ["RUNNING", "RUNNING"]
    site.google.compute.create_seconds = 40
    assert end_of(google, google.ask("POST", f"{GROUP}/resize", params={"size": 3}))["status"] == "DONE"
    assert [each["currentAction"] for each in managed(google)] == ["NONE", "NONE", "CREATING"]
    site.clock.advance(40)
    assert google.ask("GET", GROUP).json()["status"]["isStable"] is True
    google.ask("POST", f"{GROUP}/resize", params={"size": 1})
    site.clock.advance(30)
    assert len(managed(google)) == 1
    assert google.ask("POST", f"{GROUP}/resize", params={"size": "x"}).status_code == 400


def test_a_stock_out_is_told_by_the_vms_not_by_the_operation_and_ends(site, google):
    site.google.autofill = True
    group = site.google.add_group("presubmit-cpu", target_size=0)
    group.stocked_out.add("us-west1-a")
    resized = end_of(google, google.ask("POST", f"{GROUP}/resize", params={"size": 1}))
    assert "error" not in resized
    waiting = managed(google)[0]
    assert waiting["currentAction"] == "CREATING"
    assert waiting["lastAttempt"]["errors"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert "id" not in waiting
    assert google.ask("GET", f"{PROJECT}/zones/us-west1-a/instances/{waiting['name']}").status_code == 404
    group.stocked_out.clear()
    assert managed(google)[0]["currentAction"] == "NONE"


def test_a_group_tries_again_after_a_while_and_says_when(site, google):
    site.google.autofill, site.google.compute.retry_seconds = True, 30
    group = site.google.add_group("presubmit-cpu", target_size=0)
    group.stocked_out.add("us-west1-a")
    google.ask("POST", f"{GROUP}/resize", params={"size": 1})
    assert site.google.compute.next_due() == pytest.approx(site.clock.now() + 30, abs=1)
    group.stocked_out.clear()
    assert managed(google)[0]["currentAction"] == "CREATING"
    site.clock.advance(30)
    assert managed(google)[0]["currentAction"] == "NONE"
    assert site.google.compute.next_due() is None


def test_who_looks_at_every_call_is_not_due_at_a_time(site):
    site.google.autofill = True
    group = site.google.add_group("presubmit-cpu", target_size=1)
    assert site.google.compute.next_due() is None
    group.stocked_out.add("us-west1-a")
    site.google.create_instance(group).action = "RECREATING"
    group.instances[-1].until = 0
    site.google.compute.tick()
    assert group.instances[-1].errors
    assert site.google.compute.next_due() is None


@pytest.mark.parametrize("shape", ["EVEN", "BALANCED", "ANY"])
def test_only_an_even_group_waits_for_the_zone_that_it_chose(site, google, shape):
    site.google.autofill = True
    group = site.google.add_group("presubmit-cpu", zones=("us-west1-a", "us-west1-b"), target_size=0)
    group.shape = shape
    group.stocked_out.add("us-west1-a")
    google.ask("POST", f"{GROUP}/resize", params={"size": 1})
    [vm] = managed(google)
    assert (vm["currentAction"] == "CREATING") is (shape == "EVEN")
    assert f"/zones/us-west1-{'a' if shape == 'EVEN' else 'b'}/" in vm["instance"]


def test_errors_of_creation_are_listed_by_the_group(site, google):
    site.google.autofill = True
    group = site.google.add_group("presubmit-cpu", zones=("us-west1-a", "us-west1-b"), target_size=0)
    assert google.ask("GET", f"{GROUP}/listErrors").json() == {}
    group.stocked_out.add("us-west1-a")
    group.refusal = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    google.ask("POST", f"{GROUP}/resize", params={"size": 1})
    found = google.ask("GET", f"{GROUP}/listErrors", params={"maxResults": 1}).json()
    [item] = found["items"]
    assert set(item["error"]) == {"code", "message"}
    assert item["error"]["code"] == group.refusal
    assert item["instanceActionDetails"]["action"] == "CREATING"
    [vm] = managed(google)
    assert item["instanceActionDetails"]["instance"] == vm["instance"]
    [error] = vm["lastAttempt"]["errors"]["errors"]
    assert error["errorDetails"][0]["errorInfo"]["metadatas"]["zonesAvailable"] == "us-west1-b"
    group.stocked_out.add("us-west1-b")
    [vm] = managed(google)
    [error] = vm["lastAttempt"]["errors"]["errors"]
    assert "zonesAvailable" not in error["errorDetails"][0]["errorInfo"]["metadatas"]
    assert "nextPageToken" in google.ask("GET", f"{GROUP}/listErrors", params={"maxResults": 1}).json()


# Reserves


@pytest.fixture
def reserve(site):
    """A group that runs nothing and has yet to make its reserve."""
    site.google.autofill = True
    group = site.google.add_group("presubmit-cpu", target_size=0)
    group.target_suspended, group.target_stopped, group.standby_delay_seconds = 1, 1, 600.0
    compute = site.google.compute
    compute.create_seconds, compute.suspend_seconds, compute.resume_seconds = 20.0, 40.0, 5.0
    return group


def standing(google):
    return [tuple(each.get(key) for key in ("targetStatus", "currentAction", "instanceStatus"))
            for each in managed(google)]  # fmt: skip


def slept(site, google):
    """What the reserve's VMs are shown as once they sleep."""
    for seconds in (0, 20, 600, 40):
        site.clock.advance(seconds)
        standing(google)
    return standing(google)


def test_a_vm_for_the_reserve_runs_for_a_while_and_is_then_suspended_or_stopped(site, reserve, google):
    assert standing(google) == [("SUSPENDED", "CREATING", "PROVISIONING"), ("STOPPED", "CREATING", "PROVISIONING")]
    site.clock.advance(20)
    assert standing(google) == [("SUSPENDED", "NONE", "RUNNING"), ("STOPPED", "NONE", "RUNNING")]
    assert google.ask("GET", GROUP).json()["status"]["isStable"] is False
    site.clock.advance(600)
    assert standing(google) == [("SUSPENDED", "SUSPENDING", "SUSPENDING"), ("STOPPED", "STOPPING", "STOPPING")]
    site.clock.advance(40)
    assert standing(google) == [("SUSPENDED", "NONE", "SUSPENDED"), ("STOPPED", "NONE", "TERMINATED")]
    shown = google.ask("GET", GROUP).json()
    assert shown["status"]["isStable"] is True
    assert (shown["targetSize"], shown["targetSuspendedSize"], shown["targetStoppedSize"]) == (0, 1, 1)
    assert shown["standbyPolicy"] == {"initialDelaySec": 600, "mode": "SCALE_OUT_POOL"}
    assert reserve.target_size == 0


def test_a_group_that_grows_takes_what_sleeps_before_it_makes_any_and_fills_its_reserve_again(site, reserve, google):
    slept(site, google)
    before = [each["id"] for each in managed(google)]
    google.ask("POST", f"{GROUP}/resize", params={"size": 3})
    assert standing(google)[:2] == [("RUNNING", "RESUMING", "STAGING"), ("RUNNING", "STARTING", "STAGING")]
    site.clock.advance(5)
    assert standing(google)[:2] == [("RUNNING", "NONE", "RUNNING")] * 2
    assert [each["id"] for each in managed(google)][:2] == before
    assert [each[0] for each in standing(google)[2:]] == ["RUNNING", "SUSPENDED", "STOPPED"]
    assert len(reserve.instances) == 5


def test_what_slept_says_when_it_was_suspended_or_started_and_never_when_it_was_resumed(site, reserve, google):
    slept(site, google)
    suspended_at = site.clock.now()
    google.ask("POST", f"{GROUP}/resize", params={"size": 2})
    site.clock.advance(5)
    assert managed(google)
    resumed, started = reserve.instances[:2]
    assert (resumed.suspended, resumed.started) == (pytest.approx(suspended_at, abs=1), None)
    assert (started.suspended, started.started) == (None, pytest.approx(suspended_at + 5, abs=1))
    shown = [google.ask("GET", f"{PROJECT}/{reference(vm)}").json() for vm in (resumed, started)]
    assert ["lastSuspendedTimestamp" in each for each in shown] == [True, False]
    assert shown[0]["lastStartTimestamp"] == shown[0]["creationTimestamp"] < shown[1]["lastStartTimestamp"]


def test_a_group_that_shrinks_or_loses_a_vm_leaves_its_reserve_as_it_is(site, reserve, google):
    slept(site, google)
    google.ask("POST", f"{GROUP}/resize", params={"size": 3})
    slept(site, google)
    sleepers = [reserve.meant("SUSPENDED"), reserve.meant("STOPPED")]
    google.ask("POST", f"{GROUP}/resize", params={"size": 1})
    assert sorted(each[0] for each in standing(google) if each[1] != "DELETING") == ["RUNNING", "STOPPED", "SUSPENDED"]
    assert [reserve.meant("SUSPENDED"), reserve.meant("STOPPED")] == sleepers
    sleeper = reserve.meant("SUSPENDED")[0]
    delete(google, reference(sleeper))
    assert reserve.target_size == 1
    assert len(reserve.meant("SUSPENDED")) == 1
    assert reserve.meant("SUSPENDED")[0] is not sleeper


def test_a_reserve_that_is_given_up_is_deleted(site, reserve, google):
    slept(site, google)
    reserve.target_suspended = reserve.target_stopped = 0
    assert [each[1] for each in standing(google)] == ["DELETING", "DELETING"]
    site.clock.advance(30)
    assert managed(google) == []
    assert "standbyPolicy" not in google.ask("GET", GROUP).json()


def test_a_vm_of_the_reserve_that_is_recreated_stays_in_it(site, reserve, google):
    slept(site, google)
    sleeper = reserve.meant("STOPPED")[0]
    google.ask("POST", f"{GROUP}/recreateInstances", json={"instances": [reference(sleeper)]})
    site.clock.advance(30)
    assert [each[:2] for each in standing(google)] == [("SUSPENDED", "NONE"), ("STOPPED", "CREATING")]


def test_a_size_above_the_quota_is_refused_and_nothing_changes(group, google):
    group.quota = 3
    refused = google.ask("POST", f"{GROUP}/resize", params={"size": 4})
    assert refused.status_code == 403
    assert refused.json()["error"]["errors"][0]["reason"] == "quotaExceeded"
    assert group.target_size == 2
    assert google.ask("POST", f"{GROUP}/resize", params={"size": 3}).status_code == 200
    group.quota = 1
    assert google.ask("POST", f"{GROUP}/resize", params={"size": 2}).status_code == 200


def test_a_group_that_somebody_deletes_is_not_found_and_its_vms_are_gone(site, vm, google):
    before = site.google.compute.changed
    site.google.remove_group("presubmit-cpu")
    assert site.google.compute.changed > before
    assert google.ask("GET", GROUP).status_code == 404
    assert google.ask("POST", f"{GROUP}/resize", params={"size": 3}).status_code == 404
    assert google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}").status_code == 404
    assert vm.status == "TERMINATED"


def test_every_change_of_a_vm_is_counted(site, group, vm, google):
    compute, seen = site.google.compute, [site.google.compute.changed]
    compute.operation_seconds = 5
    for change in (
        lambda: site.google.preempt(vm),
        lambda: delete(google, reference(vm)),
        lambda: (site.clock.advance(30), compute.tick()),
        lambda: site.google.delete_instance(site.google.create_instance(group)),
        lambda: google.ask("POST", f"{GROUP}/resize", params={"size": 5}),
        lambda: site.google.add_group("another"),
    ):
        change()
        seen.append(compute.changed)
    assert all(later > earlier for earlier, later in itertools.pairwise(seen))


def test_managed_instances_come_by_pages(site, group, google):
    names = [site.google.create_instance(group).name for _ in range(5)]
    found, page = [], ""
    while True:
        path = f"{GROUP}/listManagedInstances"
        answer = google.ask("POST", path, params={"maxResults": 2, "pageToken": page}).json()
        found += [each["name"] for each in answer["managedInstances"]]
        page = answer.get("nextPageToken")
        if not page:
            break
    assert found == names


def test_an_autoscaler_recommends_nothing_at_times(group, google):
    path = f"{PROJECT}/regions/us-west1/autoscalers/presubmit-cpu"
    assert google.ask("GET", GROUP).json()["status"]["autoscaler"].endswith(path)
    assert "recommendedSize" not in google.ask("GET", path).json()
    group.autoscaler.recommended = 0
    assert google.ask("GET", path).json()["recommendedSize"] == 0
    assert google.ask("GET", path).json()["autoscalingPolicy"]["minNumReplicas"] == 1
    group.autoscaler = None
    assert google.ask("GET", path).status_code == 404
    assert "autoscaler" not in google.ask("GET", GROUP).json()["status"]


def test_the_same_name_elsewhere_is_not_found(vm, google):
    for path in (
        f"/compute/v1/projects/else/zones/{vm.zone}/instances/{vm.name}",
        f"{PROJECT}/zones/us-west1-c/instances/{vm.name}",
        f"{PROJECT}/regions/us-east1/instanceGroupManagers/presubmit-cpu",
        f"{PROJECT}/regions/us-east1/autoscalers/presubmit-cpu",
    ):
        assert google.ask("GET", path).status_code == 404


def test_a_preempted_vm_stops_after_half_a_minute(site, vm, google):
    site.google.preempt(vm)
    assert vm.status == "STOPPING"
    site.clock.advance(30)
    assert google.ask("GET", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}").json()["status"] == "TERMINATED"


def test_a_seed_repeats_names_and_ids_and_another_has_others():
    def made(seed):
        with Site(seed=seed) as site:
            group = site.google.add_group("g")
            return [(vm.id, vm.name) for vm in (site.google.create_instance(group), site.google.create_instance(group))]

    assert made(7) == made(7)
    assert made(7) != made(8)
    assert len(set(made(7))) == 2


def test_rights_and_failures_of_routes_that_do_not_exist_are_a_mistake(site):
    with pytest.raises(ValueError, match=r"no route is called 'compute.delete'; there are .*compute\.delete_instances"):
        site.google.fail_operation("compute.delete")
    with pytest.raises(ValueError, match=r"no route is called 'storage\.upload'"):
        site.google.deny("storage.upload")


# Cloud Storage over HTTP


def test_an_object_is_created_once(google):
    first = upload(google, "grants/1.json", b'{"a": 1}', ifGenerationMatch=0)
    assert first.status_code == 200
    again = upload(google, "grants/1.json", b"{}", ifGenerationMatch=0)
    assert (again.status_code, again.json()["error"]["errors"][0]["reason"]) == (412, "conditionNotMet")
    assert google.ask("GET", f"{OBJECTS}/grants%2F1.json", params={"alt": "media"}).content == b'{"a": 1}'


def test_of_many_who_compare_and_set_one_wins(google):
    generation = upload(google, "ledger").json()["generation"]
    statuses = []

    def swap(number):
        statuses.append(upload(google, "ledger", str(number).encode(), ifGenerationMatch=generation).status_code)

    threads = [threading.Thread(target=swap, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 7


def test_generations_grow_and_guard_reads_and_deletions(google):
    one = upload(google, "x", b"1").json()["generation"]
    two = upload(google, "x", b"2").json()["generation"]
    assert int(two) > int(one)
    path = f"{OBJECTS}/x"
    assert google.ask("GET", path, params={"ifGenerationMatch": one}).status_code == 412
    assert google.ask("GET", path, params={"ifGenerationNotMatch": two}).status_code == 304
    assert google.ask("GET", path, params={"generation": one}).status_code == 404
    assert google.ask("DELETE", path, params={"ifGenerationMatch": one}).status_code == 412
    assert google.ask("DELETE", path, params={"ifGenerationMatch": two}).status_code == 204
    assert google.ask("DELETE", path).status_code == 404
    assert google.ask("GET", path).json()["error"]["message"] == "No such object: grants/x"


def test_metadata_is_patched_under_its_own_precondition(google):
    upload(google, "x")
    path = f"{OBJECTS}/x"
    assert google.ask("PATCH", path, json={"metadata": {"a": "1", "b": "2"}}).json()["metageneration"] == "2"
    changed = google.ask("PATCH", path, json={"metadata": {"a": None}}, params={"ifMetagenerationMatch": 2}).json()
    assert changed["metadata"] == {"b": "2"}
    assert google.ask("PATCH", path, json={"metadata": {}}, params={"ifMetagenerationMatch": 2}).status_code == 412
    assert google.ask("PATCH", path, data=b"[").status_code == 400


def test_objects_are_listed_by_prefix_and_page(google):
    for name in ("a/1", "a/2", "a/3", "b/1"):
        upload(google, name)
    first = google.ask("GET", OBJECTS, params={"prefix": "a/", "maxResults": 2}).json()
    assert [each["name"] for each in first["items"]] == ["a/1", "a/2"]
    rest = {"prefix": "a/", "maxResults": 2, "pageToken": first["nextPageToken"]}
    assert [each["name"] for each in google.ask("GET", OBJECTS, params=rest).json()["items"]] == ["a/3"]
    assert "items" not in google.ask("GET", OBJECTS, params={"prefix": "c/"}).json()


def test_uploads_that_make_no_sense_are_refused(google):
    assert upload(google, "").status_code == 400
    assert upload(google, "x", uploadType="resumable").status_code == 400
    assert upload(google, "x", uploadType="multipart").status_code == 400


def test_buckets_exist_until_some_are_named(site, google):
    assert upload(google, "x").status_code == 200
    site.google.add_bucket("permits")
    answer = upload(google, "x")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "The specified bucket does not exist.")


def test_one_object_can_be_changed_only_so_often_when_that_is_played(site, google):
    site.google.storage.mutations_per_second = 1
    assert [upload(google, "x").status_code for _ in range(2)] == [200, 429]
    assert upload(google, "y").status_code == 200
    site.clock.advance(1)
    assert upload(google, "x").status_code == 200


def test_the_checksum_is_castagnoli_s():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's CRC


# Secret Manager over HTTP


def test_a_secret_s_newest_version_is_its_latest(site, google):
    site.google.put_secret("key", "one")
    site.google.put_secret("key", b"two")
    path = "/v1/projects/iree-oss/secrets/key/versions"
    latest = google.ask("GET", f"{path}/latest:access").json()
    assert latest["name"] == "projects/123456789012/secrets/key/versions/2"
    assert base64.b64decode(latest["payload"]["data"]) == b"two"
    assert latest["payload"]["dataCrc32c"] == str(crc32c(b"two"))
    assert base64.b64decode(google.ask("GET", f"{path}/1:access").json()["payload"]["data"]) == b"one"
    assert google.ask("GET", f"{path}/3:access").status_code == 404
    assert google.ask("GET", "/v1/projects/else/secrets/key/versions/1:access").status_code == 404
    site.google.secrets.secrets["key"].disabled.add(2)
    assert google.ask("GET", f"{path}/latest:access").status_code == 400


# Cloud Monitoring over HTTP


def point(number=0, **changes):
    metric = {"type": "custom.googleapis.com/runner_fleet/pool/desired", "labels": {"pool": f"pool-{number}"}}
    value = {"interval": {"endTime": "2026-11-25T10:00:00Z"}, "value": {"int64Value": "3"}}
    return {"metric": metric, "resource": {"type": "global"}, "points": [value], **changes}


def test_points_are_kept_as_they_were_written(site, google):
    for number in range(2):
        answer = google.ask("POST", "/v3/projects/iree-oss/timeSeries", json={"timeSeries": [point(number)]})
        assert (answer.status_code, answer.json()) == (200, {})
    assert site.google.time_series == [point(0), point(1)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v3/projects/else/timeSeries", {"timeSeries": [point()]}, 404),
        ("/v3/projects/iree-oss/timeSeries", {}, 400),
        ("/v3/projects/iree-oss/timeSeries", [], 400),
        ("/v3/projects/iree-oss/timeSeries", {"timeSeries": [point(number) for number in range(201)]}, 400),
        ("/v3/projects/iree-oss/timeSeries", {"timeSeries": [point(points=[])]}, 400),
        ("/v3/projects/iree-oss/timeSeries", {"timeSeries": [point(metric={})]}, 400),
    ],
)
def test_points_that_cannot_be_written_are_refused_with_all_others(site, google, path, body, status):
    answer = google.ask("POST", path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    assert site.google.time_series == []


def test_points_need_a_token(anybody):
    assert anybody.ask("POST", "/v3/projects/iree-oss/timeSeries", json={"timeSeries": [point()]}).status_code == 401
