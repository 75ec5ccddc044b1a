"""Groups, VMs, disks and operations, as the stand-in for Compute Engine shows them."""

from __future__ import annotations

import asyncio

import pytest

from rollout.cloud import pages
from rollout.cloud.errors import CloudError, OperationFailedError
from rollout.cloud.google import Google

REGION, NAME = "us-west1", "presubmit-cpu"
BUILDER = {
    "name": "builder",
    "machineType": "zones/us-west1-a/machineTypes/n2-standard-8",
    "labels": {"purpose": "bake"},
    "metadata": {"items": [{"key": "a", "value": "1"}]},
    "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"diskSizeGb": "50"}}],
    "scheduling": {"maxRunDuration": {"seconds": "3600"}, "instanceTerminationAction": "DELETE"},
}


def test_a_group_shows_its_versions_and_what_its_vms_are_made_from(site, group, google):
    for name in ("p-v1", "p-v2"):
        site.google.add_template(name)
    site.google.set_versions(group, [("stable", "p-v1", None), ("canary", "p-v2", 1)])
    for _ in range(2):
        site.google.create_instance(group)
    found = google(lambda google: google.groups.get(REGION, NAME))
    assert [(each.name, each.template, each.fixed, each.target) for each in found.versions] == [
        ("stable", "p-v1", None, 1),
        ("canary", "p-v2", 1, 1),
    ]
    assert (found.target_size, found.zones, found.stable, found.versions_reached) == (2, group.zones, True, True)
    members = google(lambda google: google.groups.members(REGION, NAME))
    assert [(each.version, each.template) for each in members] == [("canary", "p-v2"), ("stable", "p-v1")]
    assert [each.id for each in members] == [vm.id for vm in group.instances]


def test_a_vm_that_does_not_exist_yet_shows_why(site, group, google):
    site.google.autofill = True
    group.stocked_out.update(group.zones)
    members = google(lambda google: google.groups.members(REGION, NAME))
    assert {(each.id, each.status, each.action, each.errors) for each in members} == {
        ("", "", "CREATING", ("ZONE_RESOURCE_POOL_EXHAUSTED",))
    }


def test_what_is_not_there_is_none_and_not_an_empty_list(google):
    async def use(google):
        return [
            await google.groups.get(REGION, "x"),
            await google.groups.members(REGION, "x"),
            await google.templates.get(REGION, "x"),
            await google.instances.get("us-west1-a", "x"),
            await google.disks.disk("us-west1-a", "x"),
            await google.disks.snapshot("x"),
            await google.disks.image("x"),
            await google.operations.get("global/operations/operation-x"),
        ]

    assert google(use) == [None] * 8


def test_all_pages_are_read(site, group, google, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    for number in range(5):
        site.google.create_instance(group)
        site.google.add_group(f"g{number}", region="us-central1")
    assert len(google(lambda google: google.groups.members(REGION, NAME))) == 5
    assert {each.name for each in google(lambda google: google.groups.list())} == {NAME, "g0", "g1", "g2", "g3", "g4"}
    assert len(site.asked("compute.managed_instances")) == len(site.asked("compute.aggregated_groups")) == 3


def test_a_page_that_fails_fails_the_listing(site, group, google, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    for _ in range(3):
        site.google.create_instance(group)

    strike, asked = site.faults.strike, 0

    def second_fails(route):
        nonlocal asked
        asked += 1
        if asked > 1:
            site.faults.script(route, status=503)
        return strike(route)

    monkeypatch.setattr(site.faults, "strike", second_fails)
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.groups.members(REGION, NAME))
    assert caught.value.status == 503


def test_a_listing_that_never_ends_is_an_error(site, group, google, monkeypatch):
    monkeypatch.setattr(pages, "MOST_PAGES", 2)
    monkeypatch.setattr(pages, "PAGE_SIZE", 1)
    for _ in range(3):
        site.google.create_instance(group)
    with pytest.raises(CloudError, match="lists more than 2 pages"):
        google(lambda google: google.groups.members(REGION, NAME))


def test_a_region_that_could_not_be_listed_makes_the_list_of_all_regions_worthless():
    from rollout.cloud.document import Document, MalformedError
    from rollout.cloud.groups import _everywhere

    assert _everywhere(Document({"items": {"regions/us-west1": {"warning": {"code": "NO_RESULTS_ON_PAGE"}}}})) == []
    with pytest.raises(MalformedError):
        _everywhere(Document({"items": {}, "unreachables": ["regions/us-west1"]}))


def test_members_are_deleted_through_their_group(site, group, vm, google):
    async def use(google):
        started = await google.groups.delete_instances(REGION, NAME, [vm])
        return started, await google.operations.wait(started)

    site.google.compute.operation_seconds = 0.05
    started, ended = google(use)
    assert (started.done, ended.done, ended.kind) == (False, True, "compute.instanceGroupManagers.delete")
    assert (vm.action, group.target_size) == ("DELETING", 1)


def test_an_operation_that_ends_badly_is_an_error_of_its_class(site, group, vm, google):
    async def use(google):
        await google.operations.wait(await google.groups.delete_instances(REGION, NAME, [vm]))

    site.google.fail_operation("compute.delete_instances", message="upstream-text-that-must-not-leak")
    with pytest.raises(OperationFailedError) as caught:
        google(use)
    assert (caught.value.error_class, caught.value.codes) == ("stockout", ("ZONE_RESOURCE_POOL_EXHAUSTED",))
    assert "leak" not in str(caught.value)
    assert (vm.action, group.target_size) == ("NONE", 2)


def test_attributes_are_changed_one_by_one_and_the_others_stay(site, vm, google):
    before = dict(vm.metadata)
    google(lambda google: google.instances.change_metadata(vm.zone, vm.name, {"runner-drain": "idle", "b": "2"}))
    assert vm.metadata == {**before, "runner-drain": "idle", "b": "2"}
    google(lambda google: google.instances.change_metadata(vm.zone, vm.name, {"b": None, "absent": None}))
    assert vm.metadata == {**before, "runner-drain": "idle"}
    same = google(lambda google: google.instances.change_metadata(vm.zone, vm.name, {"runner-drain": "idle"}))
    assert same is None
    assert len(site.asked("compute.set_metadata")) == 2


def test_an_attribute_that_somebody_else_set_meanwhile_is_not_lost(site, vm, environ):
    async def main():
        async with Google("iree-oss", environ=environ) as google:
            get = google.instances.get
            looks = 0

            async def get_then_change(zone, name):
                nonlocal looks
                looks += 1
                found = await get(zone, name)
                if looks == 1:
                    vm.metadata["theirs"] = "1"
                return found

            google.instances.get = get_then_change
            await google.instances.change_metadata(vm.zone, vm.name, {"ours": "1"})

    asyncio.run(main())
    assert (vm.metadata["ours"], vm.metadata["theirs"]) == ("1", "1")
    assert [request.status for request in site.asked("compute.set_metadata")] == [412, 200]


def test_metadata_that_changes_all_the_time_is_a_conflict_in_the_end(site, vm, google):
    site.faults.script("compute.set_metadata", status=412, times=9)
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.instances.change_metadata(vm.zone, vm.name, {"ours": "1"}))
    assert caught.value.error_class == "conflict"
    assert len(site.asked("compute.set_metadata")) == 3


def test_the_metadata_of_a_vm_that_is_gone_is_not_found(site, google):
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.instances.change_metadata("us-west1-a", "gone", {"a": "1"}))
    assert caught.value.error_class == "not-found"
    assert not site.asked("compute.set_metadata")


def test_a_vm_is_made_baked_and_deleted(site, google):
    async def use(google):
        async def done(started):
            await google.operations.wait(await started)

        await done(google.instances.insert("us-west1-a", BUILDER))
        made = await google.instances.get("us-west1-a", "builder")
        site.google.write_serial(site.google.compute.instance("us-west1-a", "builder"), "first\nsecond\n")
        serial = await google.instances.serial("us-west1-a", "builder")
        rest = await google.instances.serial("us-west1-a", "builder", start=6)
        await done(google.instances.stop("us-west1-a", "builder"))
        disk = await google.disks.disk("us-west1-a", "builder")
        await done(google.disks.create_snapshot("us-west1-a", "builder", {"name": "snap", "labels": {"a": "b"}}))
        snapshot = await google.disks.snapshot("snap")
        await done(google.disks.create_image({"name": "image", "family": "f", "sourceSnapshot": "snap"}))
        image = await google.disks.image("image")
        await done(google.instances.delete("us-west1-a", "builder"))
        return made, serial, rest, disk, snapshot, image, await google.disks.disk("us-west1-a", "builder")

    site.google.compute.stop_seconds = 0
    made, serial, rest, disk, snapshot, image, after = google(use)
    assert (made.status, made.max_run_seconds, made.labels) == ("RUNNING", 3600, {"purpose": "bake"})
    assert (made.metadata, made.machine_type, made.service_account) == ({"a": "1"}, "n2-standard-8", "")
    assert (serial.text, serial.next, rest.text) == ("first\nsecond\n", 13, "second\n")
    assert (disk.size_gb, disk.users) == (50, ("builder",))
    assert (snapshot.status, snapshot.labels, image.family) == ("READY", {"a": "b"}, "f")
    assert after is None


def test_vms_are_found_by_their_labels(google):
    async def use(google):
        await google.instances.insert("us-west1-a", BUILDER)
        await google.instances.insert("us-west1-a", {"name": "other"})
        return await google.instances.list("us-west1-a", query="labels.purpose=bake")

    assert [each.name for each in google(use)] == ["builder"]


def test_templates_show_what_vms_get_from_them(site, google):
    site.google.add_template("p-v1", metadata={"runner-template-version": "1"}, labels={"pool": "p"})

    async def use(google):
        return await google.templates.get(REGION, "p-v1"), await google.templates.list(REGION)

    one, all_of_them = google(use)
    assert (one.metadata, one.labels, one.region) == ({"runner-template-version": "1"}, {"pool": "p"}, REGION)
    assert all_of_them == (one,)


@pytest.mark.usefixtures("group")
def test_a_group_is_patched(site, google):
    site.google.add_template("p-v1")
    link = "projects/iree-oss/regions/us-west1/instanceTemplates/p-v1"
    body = {"versions": [{"name": "stable", "instanceTemplate": link}]}
    google(lambda google: google.groups.patch(REGION, NAME, body))
    found = google(lambda google: google.groups.get(REGION, NAME))
    assert [(each.name, each.template) for each in found.versions] == [("stable", "p-v1")]


def test_a_project_that_is_none_is_refused_before_anything_is_asked():
    with pytest.raises(ValueError, match="is no id of a Google Cloud project"):
        Google("../x")
