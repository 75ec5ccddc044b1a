"""Which pools an existing fleet amounts to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from existing_fleet import PROJECT, fleet, group, template

from fleet.settings import load
from rehearsal import stack_files
from rollout.adopt.judge import Adoption, judge
from rollout.adopt.listing import ListingError, read

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(scope="module")
def classes():
    sections = stack_files.read(ROOT, "prod").sections
    newest = max(sections["versions"])
    return load(sections, environment="prod", tree_bundle=sections["versions"][newest]["boot_bundle"]).machine_classes


def listing(*groups: dict[str, Any], templates: list[dict[str, Any]] | None = None):
    found = fleet()[0] if templates is None else templates
    return read({"templates.json": json.dumps(found), "groups.json": json.dumps(groups)})


def judged(classes, *groups: dict[str, Any], **options: Any) -> Adoption:
    return judge(listing(*groups, **options), prefix="gh-runner", project=PROJECT, classes=classes)


def test_groups_of_one_name_but_the_region_are_one_pool(classes):
    adoption = judged(classes, *fleet()[1])
    assert sorted(adoption.pools) == [
        "postsubmit-a100",
        "postsubmit-arm64",
        "postsubmit-cpu",
        "presubmit-cpu",
        "presubmit-gpu",
    ]
    assert adoption.pools["presubmit-cpu"] == {
        "trust": "minimal",
        "machine_class": "cpu",
        "regions": {
            "us-central1": {
                "zones": ["a", "b", "c", "f"],
                "min": 2,
                "max": 6,
                "group": "gh-runner-presubmit-cpu-us-central1",
            },
            "us-west1": {"zones": ["a", "b", "c"], "min": 1, "max": 10, "group": "gh-runner-presubmit-cpu-us-west1"},
        },
        "scaling": {"signal": "cpu", "target": 0.6, "cool_down_seconds": 60},
    }
    assert not adoption.left_out


def test_a_pool_whose_size_cannot_change_is_fixed(classes):
    pools = judged(classes, *fleet()[1]).pools
    assert pools["presubmit-gpu"]["scaling"] == {"signal": "fixed"}
    assert pools["postsubmit-a100"]["scaling"] == {"signal": "fixed"}
    assert pools["postsubmit-a100"]["regions"]["us-central1"]["max"] == 1


@pytest.mark.parametrize(
    ("kind", "bounds", "then"),
    [("gpu", (2, 2), "before `up`; the pool needs none"), ("cpu", (1, 5), "right before `up`, which makes ours")],
)
def test_an_autoscaler_that_is_there_has_to_go(classes, kind, bounds, then):
    name = f"gh-runner-presubmit-{kind}-us-west1"
    command = f"gcloud compute instance-groups managed stop-autoscaling {name} --region us-west1 --project iree-oss"
    notes = judged(classes, group("presubmit", kind, bounds=bounds)).notes
    assert notes == (f"presubmit-{kind}: delete the autoscaler of {name} {then}: {command}",)


def test_an_autoscaler_that_follows_no_cpu_gives_way_to_jobs(classes):
    document = group("presubmit", "cpu")
    del document["autoscaler"]["autoscalingPolicy"]["cpuUtilization"]
    assert judged(classes, document).pools["presubmit-cpu"]["scaling"] == {"signal": "jobs"}


def test_an_autoscaler_that_shrinks_is_told(classes):
    document = group("presubmit", "cpu")
    document["autoscaler"]["autoscalingPolicy"]["mode"] = "ON"
    assert any("also shrinks, which ends running jobs" in note for note in judged(classes, document).notes)


def test_a_canary_is_to_be_finished_first(classes):
    document = group("presubmit", "cpu")
    canary = {"name": "canary", "instanceTemplate": ".../gh-runner-presubmit-cpu-new", "targetSize": {"fixed": 1}}
    adoption = judged(classes, document | {"versions": [canary, *document["versions"]]})
    assert adoption.groups[0].template.name == template("presubmit", "cpu")["name"]
    assert any("has a canary, gh-runner-presubmit-cpu-new" in note for note in adoption.notes)


def test_classes_that_are_configured_alike_are_not_printed_again(classes):
    assert judged(classes, group("presubmit", "cpu"), group("presubmit", "arm64", bounds=(1, 5))).machine_classes == {}


def test_a_class_that_is_configured_otherwise_is_printed_as_the_vms_are(classes):
    other = template("presubmit", "cpu")
    other["properties"]["machineType"] = "n1-standard-64"
    adoption = judged(classes, group("presubmit", "cpu"), templates=[other])
    assert adoption.machine_classes["cpu"]["machine_type"] == "n1-standard-64"
    assert "configured otherwise" in adoption.notes[-1]


def test_a_class_whose_gpu_the_configuration_lacks_is_printed(classes):
    bare = {**classes, "gpu": classes["gpu"].model_copy(update={"accelerator": None})}
    wanted = judged(bare, group("presubmit", "gpu", bounds=(2, 2))).machine_classes["gpu"]
    assert wanted["accelerator"] == {"type": "nvidia-tesla-t4", "count": 1}


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({"name": "github-runner-presubmit-cpu-us-west1"}, "its name is not gh-runner-GROUP-TYPE-REGION"),
        ({"name": "gh-runner-testing-presubmit-cpu-us-west1"}, "its name is not gh-runner-GROUP-TYPE-REGION"),
        ({"region": ""}, "only regional groups"),
        ({"region": ".../regions/us-east1"}, "its name says us-west1, and it is in us-east1"),
        ({"distributionPolicy": {"targetShape": "ANY"}}, "has the target shape ANY; allowed: EVEN, BALANCED"),
        ({"baseInstanceName": "runner"}, "it would be replaced"),
        ({"selfLink": ".../projects/other/regions/us-west1"}, "is of project other"),
    ],
)
def test_a_group_that_cannot_be_taken_over_is_left_out_with_the_reason(classes, edits, reason):
    adoption = judged(classes, group("presubmit", "cpu") | edits)
    assert not adoption.groups
    assert reason in next(iter(adoption.left_out.values()))


def test_a_template_that_is_not_listed_leaves_its_group_out(classes):
    assert "list instance-templates" in next(
        iter(judged(classes, group("presubmit", "cpu"), templates=[]).left_out.values())
    )


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"github-runner-type": "gpu"}, "its template says group presubmit and type gpu"),
        ({"github-runner-trust": "root"}, "says root as github-runner-trust; allowed: basic, minimal"),
        ({"github-runner-trust": ""}, "says nothing as github-runner-trust"),
    ],
)
def test_nothing_is_guessed_where_name_and_metadata_differ(classes, metadata, reason):
    adoption = judged(classes, group("presubmit", "cpu"), templates=[template("presubmit", "cpu", **metadata)])
    assert reason in next(iter(adoption.left_out.values()))


def test_autoscalers_that_stand_apart_find_their_groups():
    document = group("presubmit", "cpu")
    apart = [document.pop("autoscaler")]
    texts = {"groups.json": json.dumps([document]), "autoscalers.json": json.dumps(apart)}
    scaler = read(texts).groups[0].autoscaler
    assert scaler
    assert (scaler.min, scaler.max, scaler.cpu_target, scaler.mode) == (1, 10, 0.6, "ONLY_SCALE_OUT")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "groups.json: not JSON"),
        ("{}", "groups.json: no list of resources"),
        ('[{"kind": "compute#instance"}]', "an entry of kind 'compute#instance'"),
        ('[{"kind": "compute#instanceGroupManager", "name": "x"}]', "group x: cannot be read (no 'instanceTemplate')"),
        (
            '[{"kind": "compute#instanceTemplate", "name": "x", "properties": {"disks": []}}]',
            "template x: cannot be read",
        ),
    ],
)
def test_what_is_no_list_is_refused_with_its_file_and_entry(text, message):
    with pytest.raises(ListingError) as caught:
        read({"groups.json": text})
    assert message in str(caught.value)
