"""The stand-ins for Compute Engine, Cloud Storage and Secret Manager, asked over HTTP."""

from __future__ import annotations

import base64
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
