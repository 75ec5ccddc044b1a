"""The stand-in's VMs, disks, snapshots and images, over HTTP."""

from __future__ import annotations

import pytest

PROJECT = "/compute/v1/projects/iree-oss"
ZONE = f"{PROJECT}/zones/us-west1-a"
BUILDER = {
    "name": "builder",
    "labels": {"purpose": "bake"},
    "disks": [{"boot": True, "autoDelete": True}, {"initializeParams": {"diskSizeGb": "375"}}],
    "scheduling": {"maxRunDuration": {"seconds": "600"}, "instanceTerminationAction": "DELETE"},
}


@pytest.fixture
def insert(google):
    return lambda **changes: google.ask("POST", f"{ZONE}/instances", json={**BUILDER, **changes})


def status(google, name="builder"):
    return google.ask("GET", f"{ZONE}/instances/{name}").json().get("status")


def end_of(google, answer):
    operation = answer.json()
    path = operation["selfLink"].removeprefix("https://www.googleapis.com")
    return google.ask("POST", f"{path}/wait").json()


def test_a_vm_is_made_stopped_and_deleted_as_time_passes(site, google, insert):
    site.google.compute.create_seconds = site.google.compute.stop_seconds = 30
    assert insert().json()["operationType"] == "insert"
    seen = [status(google)]
    site.clock.advance(30)
    seen.append(status(google))
    google.ask("POST", f"{ZONE}/instances/builder/stop")
    seen.append(status(google))
    site.clock.advance(30)
    seen.append(status(google))
    google.ask("DELETE", f"{ZONE}/instances/builder")
    seen.append(status(google))
    site.clock.advance(30)
    seen.append(status(google))
    assert seen == ["PROVISIONING", "RUNNING", "STOPPING", "TERMINATED", "STOPPING", None]


def test_a_vm_whose_time_is_up_goes_with_the_disks_that_were_to_go_with_it(site, google, insert):
    insert()
    site.clock.advance(599)
    assert status(google) == "RUNNING"
    site.clock.advance(1)
    assert status(google) == "STOPPING"
    site.clock.advance(30)
    assert status(google) is None
    disks = [google.ask("GET", f"{ZONE}/disks/{name}").status_code for name in ("builder", "builder-1")]
    assert disks == [404, 200]


def test_a_vm_that_is_to_stop_when_its_time_is_up_stops(site, google, insert):
    insert(scheduling={"maxRunDuration": {"seconds": 60}, "instanceTerminationAction": "STOP"})
    for seconds in (60, 30):
        site.clock.advance(seconds)
        status(google)
    assert status(google) == "TERMINATED"


def test_a_name_that_is_taken_and_one_that_is_none_are_refused(google, insert):
    insert()
    assert insert().json()["error"]["errors"][0]["reason"] == "alreadyExists"
    assert insert(name="Builder").status_code == 400
    assert google.ask("POST", f"{ZONE}/instances", data="no").status_code == 400


def test_a_vm_that_cannot_be_had_is_accepted_and_fails_later(site, google, insert):
    site.google.compute.stocked_out.add("us-west1-a")
    ended = end_of(google, insert())
    assert ended["error"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert (ended["httpErrorStatusCode"], ended["zone"].rpartition("/")[2]) == (503, "us-west1-a")
    assert status(google) is None


def test_metadata_is_changed_only_by_who_knows_what_it_was(site, vm, google, metadata):
    path = f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}"
    known = google.ask("GET", path).json()["metadata"]
    items = [*known["items"], {"key": "runner-hold-until", "value": "2026-11-25T14:00:00Z"}]
    first = google.ask("POST", f"{path}/setMetadata", json={"fingerprint": known["fingerprint"], "items": items})
    late = google.ask("POST", f"{path}/setMetadata", json={"fingerprint": known["fingerprint"], "items": []})
    assert (first.status_code, late.status_code) == (200, 412)
    host = site.metadata_host_of(vm)
    assert metadata(host, "instance/attributes/runner-hold-until").text == "2026-11-25T14:00:00Z"
    assert metadata(host, "instance/attributes/created-by").status_code == 200


def test_metadata_with_a_key_twice_is_refused(vm, google):
    path = f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}"
    fingerprint = google.ask("GET", path).json()["metadata"]["fingerprint"]
    twice = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]
    body = {"fingerprint": fingerprint, "items": twice}
    assert google.ask("POST", f"{path}/setMetadata", json=body).status_code == 400


def test_a_member_that_is_deleted_past_its_group_is_made_anew(site, group, google):
    site.google.autofill = True
    google.ask("GET", f"{PROJECT}/regions/us-west1/instanceGroupManagers/{group.name}")
    vm = group.instances[0]
    google.ask("DELETE", f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}")
    google.ask("GET", f"{PROJECT}/regions/us-west1/instanceGroupManagers/{group.name}")
    assert vm not in group.instances
    assert len(group.instances) == group.target_size == 2


def test_the_serial_port_is_read_from_a_place_on_and_keeps_its_last_mebibyte(site, google, insert):
    insert()
    vm = site.google.compute.instance("us-west1-a", "builder")
    site.google.write_serial(vm, "first\n")
    path = f"{ZONE}/instances/builder/serialPort"
    shown = google.ask("GET", path).json()
    site.google.write_serial(vm, "second\n")
    rest = google.ask("GET", path, params={"start": shown["next"]}).json()
    assert (shown["contents"], rest["contents"], rest["start"]) == ("first\n", "second\n", "6")
    site.google.write_serial(vm, "x" * (1 << 20))
    late = google.ask("GET", path, params={"start": 6}).json()
    assert (late["start"], len(late["contents"])) == ("13", 1 << 20)
    assert google.ask("GET", path, params={"port": 2}).json()["contents"] == ""


def test_vms_of_a_zone_are_listed_by_label_name_and_page(google, insert):
    insert()
    insert(name="other", labels={})
    path = f"{ZONE}/instances"

    def names(**query):
        return [each["name"] for each in google.ask("GET", path, params=query).json()["items"]]

    assert names() == ["builder", "other"]
    assert names(filter="labels.purpose=bake") == names(filter='(labels.purpose="bake") (name=builder)') == ["builder"]
    assert names(maxResults=1, pageToken=1) == ["other"]
    assert google.ask("GET", path, params={"filter": "status=RUNNING"}).status_code == 400


def test_a_snapshot_can_be_used_some_time_after_it_was_begun(site, google, insert):
    site.google.compute.snapshot_seconds = 60
    insert()
    body = {"name": "snap", "labels": {"class": "cpu"}}
    operation = google.ask("POST", f"{ZONE}/disks/builder/createSnapshot", json=body).json()
    path = f"{PROJECT}/global/snapshots/snap"
    assert google.ask("GET", path).json()["status"] == "UPLOADING"
    site.clock.advance(60)
    assert google.ask("GET", path).json()["status"] == "READY"
    where = operation["selfLink"].removeprefix("https://www.googleapis.com")
    assert google.ask("GET", where).json()["status"] == "DONE"
    assert google.ask("POST", f"{ZONE}/disks/builder/createSnapshot", json=body).status_code == 409
    deleted = google.ask("DELETE", path)
    assert "/global/operations/" in deleted.json()["selfLink"]
    assert end_of(google, deleted)["status"] == "DONE"
    assert google.ask("GET", path).status_code == 404


def test_a_disk_in_use_stays(google, insert):
    insert()
    answer = google.ask("DELETE", f"{ZONE}/disks/builder")
    assert answer.json()["error"]["errors"][0]["reason"] == "resourceInUseByAnotherResource"
    assert google.ask("GET", f"{ZONE}/disks/builder").json()["users"][0].endswith("/instances/builder")


def test_an_image_is_made_and_deleted(google):
    path = f"{PROJECT}/global/images"
    assert google.ask("POST", path, json={"name": "i", "family": "f"}).json()["operationType"] == "insert"
    assert google.ask("GET", f"{path}/i").json()["family"] == "f"
    assert google.ask("POST", path, json={"name": "i"}).status_code == 409
    assert google.ask("POST", path, json={}).status_code == 400
    google.ask("DELETE", f"{path}/i")
    assert google.ask("GET", f"{path}/i").status_code == 404


def test_an_operation_is_found_only_where_it_belongs(google, insert):
    name = insert().json()["name"]
    found = [
        google.ask("GET", f"{PROJECT}/{scope}/operations/{name}").status_code
        for scope in ("zones/us-west1-a", "zones/us-west1-b", "regions/us-west1", "global")
    ]
    assert found == [200, 404, 404, 404]
