"""The stand-in's groups with two versions, over HTTP: who becomes what, and who may change it."""

from __future__ import annotations

import pytest

PROJECT = "/compute/v1/projects/iree-oss"
GROUPS = f"{PROJECT}/regions/us-west1/instanceGroupManagers"
TEMPLATES = "projects/iree-oss/regions/us-west1/instanceTemplates"


@pytest.fixture
def versions(site):
    for name in ("v1", "v2"):
        site.google.add_template(name, metadata={"runner-template-version": name}, labels={"version": name})


def patch(google, body):
    return google.ask("PATCH", f"{GROUPS}/presubmit-cpu", json=body)


def to_run(*versions):
    return {
        "versions": [
            {"name": name, "instanceTemplate": f"{TEMPLATES}/{template}", **({"targetSize": size} if size else {})}
            for name, template, size in versions
        ]
    }


def listed(google):
    members = google.ask("POST", f"{GROUPS}/presubmit-cpu/listManagedInstances").json().get("managedInstances", [])
    return [member["version"]["name"] for member in members]


@pytest.mark.usefixtures("versions")
def test_a_patch_changes_what_the_next_vms_become_and_nothing_else(site, group, vm, google):
    before = vm.template
    assert patch(google, to_run(("stable", "v1", None), ("canary", "v2", {"fixed": 1}))).status_code == 200
    shown = google.ask("GET", f"{GROUPS}/presubmit-cpu").json()
    assert [version["targetSize"] for version in shown["versions"]] == [
        {"calculated": 1},
        {"fixed": 1, "calculated": 1},
    ]
    assert shown["status"]["versionTarget"] == {"isReached": False}
    assert "instanceTemplate" not in shown
    assert (vm.template, vm.action) == (before, "NONE")
    site.google.delete_instance(vm)
    made = [site.google.create_instance(group) for _ in range(3)]
    assert [each.version for each in made] == ["canary", "stable", "stable"]
    assert made[0].metadata["runner-template-version"] == "v2"
    assert made[0].labels == {"version": "v2"}
    assert listed(google) == ["canary", "stable", "stable"]


@pytest.mark.usefixtures("versions")
def test_the_versions_of_a_group_are_reached_once_it_has_the_vms(site, group, google):
    patch(google, to_run(("stable", "v1", None), ("canary", "v2", {"fixed": 1})))
    for _ in range(group.target_size):
        site.google.create_instance(group)
    assert google.ask("GET", f"{GROUPS}/presubmit-cpu").json()["status"]["versionTarget"] == {"isReached": True}


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(("target_size", "canaries"), [(10, 2), (3, 1), (1, 0)])
def test_a_percentage_is_rounded(group, google, target_size, canaries):
    group.target_size = target_size
    patch(google, to_run(("stable", "v1", None), ("canary", "v2", {"percent": 20})))
    assert [size for _, size in group.wanted] == [target_size - canaries, canaries]


def test_more_canaries_than_the_group_is_to_have_are_as_many_as_it_is_to_have(site, group):
    site.google.set_versions(group, [("stable", "v1", None), ("canary", "v2", 5)])
    assert [size for _, size in group.wanted] == [0, 2]


@pytest.mark.usefixtures("versions", "group")
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (to_run(("a", "v1", None), ("b", "v2", None)), 400, "Exactly one version"),
        (to_run(("a", "v1", {"fixed": 1})), 400, "Exactly one version"),
        (to_run(("a", "absent", None)), 400, "does not exist"),
        ({"updatePolicy": {"type": "PROACTIVE"}}, 400, "no updates but opportunistic"),
        ({"fingerprint": "c3RhbGU="}, 412, "Invalid fingerprint"),
        ([], 400, "Parse Error"),
    ],
)
def test_a_patch_that_makes_no_sense_or_comes_late_changes_nothing(site, google, body, status, said):
    answer = patch(google, body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert not site.google.compute.operations


def test_a_fingerprint_grows_stale_when_the_group_is_resized(group, google):
    known = google.ask("GET", f"{GROUPS}/presubmit-cpu").json()["fingerprint"]
    google.ask("POST", f"{GROUPS}/presubmit-cpu/resize", params={"size": 1})
    assert patch(google, {"fingerprint": known, "targetSize": 3}).status_code == 412
    assert group.target_size == 1


def test_one_request_id_acts_once_and_another_acts_again(site, group, google):
    path, first = f"{GROUPS}/presubmit-cpu/resize", "7b6f3a52-6a4b-4b0e-9c1c-0a4a3f5f6f10"

    def ask(size, request_id):
        return google.ask("POST", path, params={"size": size, "requestId": request_id}).json()["name"]

    assert ask(5, first) == ask(9, first)
    assert group.target_size == 5
    assert ask(9, first.replace("7b", "8b")) != ask(5, first)
    assert group.target_size == 9
    for bad in ("1", "00000000-0000-0000-0000-000000000000"):
        assert google.ask("POST", path, params={"size": 1, "requestId": bad}).status_code == 400
    assert len(site.google.compute.operations) == 2


def test_a_request_id_of_a_refused_request_is_free(group, google):
    path, request_id = f"{GROUPS}/presubmit-cpu/resize", "7b6f3a52-6a4b-4b0e-9c1c-0a4a3f5f6f10"
    group.quota = 2
    assert google.ask("POST", path, params={"size": 9, "requestId": request_id}).status_code == 403
    group.quota = None
    assert google.ask("POST", path, params={"size": 9, "requestId": request_id}).status_code == 200
    assert group.target_size == 9


def test_groups_are_listed_by_region_and_over_all_regions_by_pages(site, group, google):
    site.google.add_group("other", region="us-central1")
    here = google.ask("GET", GROUPS).json()["items"]
    assert [each["name"] for each in here] == [group.name]
    path = f"{PROJECT}/aggregated/instanceGroupManagers"
    first = google.ask("GET", path, params={"maxResults": 1}).json()
    second = google.ask("GET", path, params={"maxResults": 1, "pageToken": first["nextPageToken"]}).json()
    assert "nextPageToken" not in second
    assert first["items"]["regions/us-west1"]["instanceGroupManagers"][0]["name"] == group.name
    assert first["items"]["regions/us-central1"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"
    assert second["items"]["regions/us-central1"]["instanceGroupManagers"][0]["name"] == "other"


@pytest.mark.usefixtures("versions")
def test_templates_are_shown(google):
    listing = google.ask("GET", f"/compute/v1/{TEMPLATES}", params={"maxResults": 1}).json()
    assert [each["name"] for each in listing["items"]] == ["v1"]
    one = google.ask("GET", f"/compute/v1/{TEMPLATES}/v2").json()
    assert one["properties"]["labels"] == {"version": "v2"}
    assert google.ask("GET", f"/compute/v1/{TEMPLATES}/v3").status_code == 404
