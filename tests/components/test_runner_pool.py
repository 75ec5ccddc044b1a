"""What a pool's templates, groups and autoscalers are, read from what prod registers."""

from __future__ import annotations

import copy

import pytest

GROUP = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"
TEMPLATE = "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate"
AUTOSCALER = "gcp:compute/regionAutoscaler:RegionAutoscaler"
POOLS = "runner-fleet:pools"
STABLE, CANARY = "2026-11-25", "2027-01-05"


@pytest.fixture
def with_canary(prod_config):
    """Prod with a second version under trial. The newer one pins the tree's bundle; the older keeps another."""
    versions = prod_config["runner-fleet:versions"]
    versions[CANARY] = copy.deepcopy(versions[STABLE])
    versions[STABLE]["boot_bundle"] = f"sha256:{'0' * 64}"
    prod_config["runner-fleet:rollout"]["canary"] = CANARY
    return prod_config


def edited_pool(config, key, **changes):
    config[POOLS][key].update(changes)
    return config


def test_every_template_is_frozen(prod):
    assert prod.of_type(TEMPLATE)
    assert all(template.options == {"ignore_changes": ["*"]} for template in prod.of_type(TEMPLATE))


def test_templates_are_regional_because_a_subnetwork_is(prod):
    template = prod.named("presubmit-cpu-us-west1-template-v2026-11-25")
    assert template.inputs["region"] == "us-west1"
    assert template.inputs["networkInterfaces"][0]["subnetwork"] == "${network-us-west1-subnet.id}"


def test_a_template_is_named_by_its_version_and_never_by_a_prefix(prod):
    for template in prod.of_type(TEMPLATE):
        assert template.inputs["name"].endswith("-v2026-11-25")
        assert "namePrefix" not in template.inputs


def test_no_vm_is_revived_and_each_one_has_a_maximum_age(prod):
    for template in prod.of_type(TEMPLATE):
        scheduling = template.inputs["scheduling"]
        assert scheduling["automaticRestart"] is False
        assert scheduling["maxRunDuration"] == {"seconds": 86400}
        assert scheduling["instanceTerminationAction"] == "DELETE"


def test_a_vm_with_a_gpu_is_terminated_for_maintenance_and_others_migrate(prod):
    for template in prod.of_type(TEMPLATE):
        wanted = "TERMINATE" if template.inputs.get("guestAccelerators") else "MIGRATE"
        assert template.inputs["scheduling"]["onHostMaintenance"] == wanted


def test_a_spot_class_is_preemptible_and_never_migrates(prod_config, rehearse_edited):
    prod_config["runner-fleet:machine_classes"]["cpu"]["provisioning"] = "spot"
    scheduling = rehearse_edited(prod_config).named("presubmit-cpu-us-west1-template-v2026-11-25").inputs["scheduling"]
    assert scheduling["preemptible"] is True
    assert scheduling["provisioningModel"] == "SPOT"
    assert scheduling["onHostMaintenance"] == "TERMINATE"
    assert scheduling["automaticRestart"] is False


def test_every_option_of_a_machine_class_reaches_its_templates(prod_config, rehearse_edited):
    prod_config["runner-fleet:machine_classes"]["cpu"].update(
        min_cpu_platform="Intel Skylake", threads_per_core=1, local_ssd_count=2, reservation={"name": "ci-machines"}
    )
    inputs = rehearse_edited(prod_config).named("presubmit-cpu-us-west1-template-v2026-11-25").inputs
    assert inputs["minCpuPlatform"] == "Intel Skylake"
    assert inputs["advancedMachineFeatures"] == {"threadsPerCore": 1}
    assert [disk.get("diskType") for disk in inputs["disks"]] == ["pd-ssd", "local-ssd", "local-ssd"]
    assert inputs["reservationAffinity"] == {
        "type": "SPECIFIC_RESERVATION",
        "specificReservation": {"key": "compute.googleapis.com/reservation-name", "values": ["ci-machines"]},
    }


def test_vms_are_shielded_and_boot_securely_where_the_drivers_allow(prod):
    for template in prod.of_type(TEMPLATE):
        shielded = template.inputs["shieldedInstanceConfig"]
        assert shielded["enableVtpm"]
        assert shielded["enableIntegrityMonitoring"]
        assert shielded["enableSecureBoot"] is not bool(template.inputs.get("guestAccelerators"))


def test_a_vm_has_an_external_address_only_where_egress_says_so(prod, prod_config, rehearse_edited):
    assert all("accessConfigs" in template.inputs["networkInterfaces"][0] for template in prod.of_type(TEMPLATE))
    prod_config["runner-fleet:network"]["egress"] = "nat"
    behind_nat = rehearse_edited(prod_config)
    assert all(not t.inputs["networkInterfaces"][0].get("accessConfigs") for t in behind_nat.of_type(TEMPLATE))
    assert len(behind_nat.of_type("gcp:compute/routerNat:RouterNat")) == 4


def test_a_vm_runs_as_its_trust_level_and_leaves_the_decision_to_iam(prod):
    for template in prod.of_type(TEMPLATE):
        level = template.inputs["labels"]["trust"]
        assert template.inputs["serviceAccount"] == {
            "email": f"${{{level}-account.email}}",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        }


def test_the_whole_metadata_contract_is_on_every_template(prod):
    from fleet.metadata import RunnerMetadata

    expected = {"runner-" + name.replace("_", "-") for name in RunnerMetadata.model_fields} | {"startup-script"}
    for template in prod.of_type(TEMPLATE):
        assert set(template.inputs["metadata"]) == expected


def test_the_startup_script_carries_its_own_versions_bundle(with_canary, rehearse_edited, tree_bundle):
    inventory = rehearse_edited(with_canary)
    old = inventory.named(f"presubmit-cpu-us-west1-template-v{STABLE}").inputs["metadata"]
    new = inventory.named(f"presubmit-cpu-us-west1-template-v{CANARY}").inputs["metadata"]
    assert "0" * 64 in old["startup-script"]
    assert tree_bundle.removeprefix("sha256:") in new["startup-script"]
    assert old["runner-boot-bundle-digest"] != new["runner-boot-bundle-digest"]


def test_a_group_never_updates_or_moves_a_running_vm(prod):
    for group in prod.of_type(GROUP):
        policy = group.inputs["updatePolicy"]
        assert policy["type"] == "OPPORTUNISTIC"
        assert policy["minimalAction"] == "REPLACE"
        assert policy["instanceRedistributionType"] == "NONE"
        assert group.inputs["waitForInstances"] is False


def test_surge_is_at_least_the_number_of_zones_as_a_regional_group_needs(prod):
    for group in prod.of_type(GROUP):
        assert group.inputs["updatePolicy"]["maxSurgeFixed"] >= len(group.inputs["distributionPolicyZones"])


def test_a_healed_vm_has_had_time_to_boot_and_takes_the_newest_version(prod, prod_settings):
    for group in prod.of_type(GROUP):
        delay = group.inputs["autoHealingPolicies"]["initialDelaySec"]
        assert delay > prod_settings.lifecycle.boot_deadline_seconds
        assert group.inputs["instanceLifecyclePolicy"]["forceUpdateOnRepair"] == "YES"


def test_all_groups_share_one_health_check(prod):
    checks = {group.inputs["autoHealingPolicies"]["healthCheck"] for group in prod.of_type(GROUP)}
    assert checks == {"${health-check.id}"}


def test_a_group_has_no_description_since_editing_one_replaces_the_group(prod):
    assert all("description" not in group.inputs for group in prod.of_type(GROUP))


def test_other_zones_are_another_group_and_vm_names_stay(prod, prod_config, rehearse_edited):
    prod_config[POOLS]["presubmit-cpu"]["regions"]["us-west1"]["zones"] = ["a", "b"]
    before = prod.named("presubmit-cpu-us-west1-group").inputs
    after = rehearse_edited(prod_config).named("presubmit-cpu-us-west1-group").inputs
    assert before["name"] != after["name"]
    assert before["baseInstanceName"] == after["baseInstanceName"] == "gh-runner-presubmit-cpu-us-west1"


def test_a_group_is_made_before_the_one_it_replaces_goes_and_so_is_its_autoscaler(mixed):
    """With a name given, the provider would delete first; the engine was seen to."""
    for resource in (*mixed.of_type(GROUP), *mixed.of_type(AUTOSCALER)):
        assert resource.options["delete_before_replace"] is False
    assert mixed.of_type(AUTOSCALER)
    for autoscaler in mixed.of_type(AUTOSCALER):
        group = mixed.named(autoscaler.name.replace("-autoscaler", "-group"))
        assert autoscaler.inputs["name"] == group.inputs["name"], "another group has another autoscaler"
        assert autoscaler.inputs["target"] == f"${{{group.name}.id}}"


def test_only_cpu_and_schedule_pools_have_autoscalers(prod, mixed):
    pools = {autoscaler.name.rsplit("-us-", 1)[0] for autoscaler in mixed.of_type(AUTOSCALER)}
    assert pools == {"presubmit-cpu"}
    assert not prod.of_type(AUTOSCALER), "every pool follows jobs"


def test_an_autoscaler_only_grows_its_group(mixed):
    for autoscaler in mixed.of_type(AUTOSCALER):
        policy = autoscaler.inputs["autoscalingPolicy"]
        assert policy["mode"] == "ONLY_SCALE_OUT"
        assert policy["cpuUtilization"] == {"target": 0.6}
        assert policy["cooldownPeriod"] == 60


def test_a_schedule_becomes_scaling_schedules_without_a_cpu_target(prod_config, rehearse_edited):
    schedule = {"cron": "0 8 * * 1-5", "time_zone": "America/Los_Angeles", "duration_seconds": 36000, "min": 3}
    edited_pool(prod_config, "presubmit-cpu", scaling={"signal": "schedule", "schedules": {"workdays": schedule}})
    policy = rehearse_edited(prod_config).named("presubmit-cpu-us-west1-autoscaler").inputs["autoscalingPolicy"]
    assert "cpuUtilization" not in policy
    assert policy["scalingSchedules"] == [
        {
            "name": "workdays",
            "schedule": "0 8 * * 1-5",
            "timeZone": "America/Los_Angeles",
            "durationSec": 36000,
            "minRequiredReplicas": 3,
        }
    ]


def test_pulumi_keeps_the_size_of_fixed_groups_alone(mixed):
    fixed = mixed.named("presubmit-gpu-us-west1-group")
    assert "ignore_changes" not in fixed.options
    assert fixed.inputs["targetSize"] == 2
    for by_others in ("presubmit-cpu-us-west1-group", "postsubmit-cpu-us-west1-group"):
        assert mixed.named(by_others).options["ignore_changes"] == ["targetSize"]


def test_a_group_that_follows_jobs_is_made_empty(prod):
    assert {group.inputs["targetSize"] for group in prod.of_type(GROUP)} == {0}


def test_a_group_keeps_a_reserve_only_where_its_pool_asks_for_one(prod, prod_config, prod_settings, rehearse_edited):
    reserve = {"standbyPolicy", "targetSuspendedSize", "targetStoppedSize"}
    assert not any(reserve & group.inputs.keys() for group in prod.of_type(GROUP))
    size = prod_config[POOLS]["presubmit-cpu"]["regions"]["us-west1"]
    edited = edited_pool(prod_config, "presubmit-cpu", standby={"stopped": 2})
    kept = rehearse_edited(edited)
    others = [group for group in kept.of_type(GROUP) if not group.name.startswith("presubmit-cpu-")]
    assert others
    assert not any(reserve & group.inputs.keys() for group in others)
    group = kept.named("presubmit-cpu-us-west1-group")
    assert {key: group.inputs[key] for key in reserve} == {
        "standbyPolicy": {"mode": "SCALE_OUT_POOL", "initialDelaySec": prod_settings.lifecycle.boot_deadline_seconds},
        "targetSuspendedSize": 0,
        "targetStoppedSize": 2,
    }
    assert group.options["ignore_changes"] == ["targetSize"]
    size["max"] = 0
    switched_off = rehearse_edited(edited).named("presubmit-cpu-us-west1-group")
    assert (switched_off.inputs["targetSuspendedSize"], switched_off.inputs["targetStoppedSize"]) == (0, 0)


def test_a_pool_says_how_demand_grows_it_and_one_that_follows_none_says_nothing(mixed):
    assert mixed.named("postsubmit-cpu").outputs["demand"] == {
        "idle": 1,
        "order": ["us-west1", "us-central1"],
        "max": {"us-west1": 10, "us-central1": 10},
    }
    assert not mixed.named("presubmit-cpu").outputs.get("demand")


def test_a_canary_takes_its_count_and_stable_the_rest(with_canary, rehearse_edited):
    versions = rehearse_edited(with_canary).named("presubmit-cpu-us-west1-group").inputs["versions"]
    assert versions == [
        {
            "name": f"v{STABLE}",
            "instanceTemplate": f"${{presubmit-cpu-us-west1-template-v{STABLE}.self_link}}",
        },
        {
            "name": f"v{CANARY}",
            "instanceTemplate": f"${{presubmit-cpu-us-west1-template-v{CANARY}.self_link}}",
            "targetSize": {"fixed": 1},
        },
    ]


def test_a_canary_may_be_a_share(with_canary, rehearse_edited):
    edited_pool(with_canary, "presubmit-cpu", canary={"percent": 20})
    versions = rehearse_edited(with_canary).named("presubmit-cpu-us-west1-group").inputs["versions"]
    assert [version.get("targetSize") for version in versions] == [None, {"percent": 20}]


def test_a_balanced_groups_canary_is_its_region_as_a_whole(with_canary, rehearse_edited):
    inventory = rehearse_edited(with_canary)
    names = {
        region: [v["name"] for v in inventory.named(f"presubmit-a100-{region}-group").inputs["versions"]]
        for region in ("us-central1", "us-west1")
    }
    assert names == {"us-central1": [f"v{CANARY}"], "us-west1": [f"v{STABLE}"]}


def test_a_listed_version_has_templates_before_anything_points_at_it(with_canary, rehearse_edited):
    with_canary["runner-fleet:rollout"]["canary"] = None
    inventory = rehearse_edited(with_canary)
    assert inventory.named(f"presubmit-cpu-us-west1-template-v{CANARY}")
    assert len(inventory.named("presubmit-cpu-us-west1-group").inputs["versions"]) == 1


def test_a_version_without_an_image_for_a_class_has_no_template_for_its_pools(with_canary, rehearse_edited):
    with_canary["runner-fleet:rollout"] = {"stable": CANARY, "canary": None}
    del with_canary["runner-fleet:versions"][STABLE]["images"]["arm64"]
    names = {template.name for template in rehearse_edited(with_canary).of_type(TEMPLATE)}
    assert f"presubmit-arm64-us-central1-template-v{STABLE}" not in names
    assert f"presubmit-cpu-us-central1-template-v{STABLE}" in names


def test_a_pool_waits_for_the_bundle_its_vms_boot_from(prod):
    group = prod.named("presubmit-cpu-us-west1-template-v2026-11-25")
    pool = next(resource for resource in prod.resources if resource.urn == group.parent)
    waits_for = {urn.rpartition("::")[2] for urn in pool.dependencies}
    assert any(name.startswith("boot-") and name.endswith(".tar") for name in waits_for)
    assert "boot-read-by-minimal" in waits_for
