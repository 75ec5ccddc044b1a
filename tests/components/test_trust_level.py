"""Nothing of one trust level reaches another, but the one cache that is named."""

from __future__ import annotations

import pytest

BUCKET_GRANT = "gcp:storage/bucketIAMMember:BucketIAMMember"
PROJECT_GRANT = "gcp:projects/iAMMember:IAMMember"
SECRET_GRANT = "gcp:secretmanager/secretIamMember:SecretIamMember"
RUNNER_GROUP = "github:index/actionsRunnerGroup:ActionsRunnerGroup"
LEVELS = ("minimal", "basic")


def grants(inventory, level):
    """(role, target) of every grant to a level's account."""
    member = f"${{{level}-account.member}}"
    found = set()
    for resource in inventory.resources:
        if resource.inputs.get("member") == member:
            keys = ("bucket", "secretId", "name", "project")
            target = next(resource.inputs[key] for key in keys if resource.inputs.get(key))
            found.add((resource.inputs["role"].removeprefix("roles/"), target))
    return found


def test_the_grants_of_a_presubmit_vm_are_exactly_these(prod):
    assert grants(prod, "minimal") == {
        ("logging.logWriter", "iree-oss"),
        ("monitoring.metricWriter", "iree-oss"),
        ("storage.objectCreator", "iree-oss-gh-runner-minimal-artifacts"),
        ("storage.legacyObjectReader", "iree-oss-gh-runner-minimal-artifacts"),
        ("storage.legacyObjectReader", "iree-oss-gh-runner-basic-cache"),
        ("storage.legacyObjectReader", "iree-oss-gh-runner-boot"),
        ("run.invoker", "gh-runner-broker"),
        ("run.invoker", "gh-runner-deleter"),
    }


def test_the_grants_of_a_postsubmit_vm_are_exactly_these(prod):
    assert grants(prod, "basic") == {
        ("logging.logWriter", "iree-oss"),
        ("monitoring.metricWriter", "iree-oss"),
        ("storage.objectCreator", "iree-oss-gh-runner-basic-artifacts"),
        ("storage.legacyObjectReader", "iree-oss-gh-runner-basic-artifacts"),
        ("storage.objectUser", "iree-oss-gh-runner-basic-cache"),
        ("storage.legacyObjectReader", "iree-oss-gh-runner-boot"),
        ("run.invoker", "gh-runner-broker"),
        ("run.invoker", "gh-runner-deleter"),
    }


def test_one_grant_alone_crosses_levels_and_its_name_says_so(prod):
    crossing = [
        grant.name
        for grant in prod.of_type(BUCKET_GRANT)
        for level in LEVELS
        if grant.inputs["member"] == f"${{{level}-account.member}}"
        and any(f"-{other}-" in grant.inputs["bucket"] for other in LEVELS if other != level)
    ]
    assert crossing == ["basic-cache-read-by-minimal-legacyObjectReader"]


def test_no_role_of_a_runner_lets_it_delete_overwrite_or_list_artifacts(prod):
    on_artifacts = {
        grant.inputs["role"] for grant in prod.of_type(BUCKET_GRANT) if grant.inputs["bucket"].endswith("-artifacts")
    }
    # objectCreator creates only; legacyObjectReader gets only. Every wider storage role has delete or list.
    assert on_artifacts == {"roles/storage.objectCreator", "roles/storage.legacyObjectReader"}


def test_no_runner_reads_the_github_apps_key(prod):
    readers = {grant.inputs["member"] for grant in prod.of_type(SECRET_GRANT)}
    assert readers == {f"${{{role}-account.member}}" for role in ("broker", "listener", "reconciler")}


def test_no_identity_serves_two_levels_of_vms(prod):
    accounts = {
        level: {
            template.inputs["serviceAccount"]["email"]
            for template in prod.of_type("gcp:compute/regionInstanceTemplate:RegionInstanceTemplate")
            if template.inputs["labels"]["trust"] == level
        }
        for level in LEVELS
    }
    assert accounts == {"minimal": {"${minimal-account.email}"}, "basic": {"${basic-account.email}"}}


@pytest.mark.parametrize("name", ["minimal-artifacts-bucket", "basic-artifacts-bucket", "basic-cache-bucket"])
def test_every_bucket_is_closed_to_the_public_and_says_how_long_it_keeps_things(prod, name):
    inputs = prod.named(name).inputs
    assert inputs["uniformBucketLevelAccess"] is True
    assert inputs["publicAccessPrevention"] == "enforced"
    assert inputs["softDeletePolicy"] == {"retentionDurationSeconds": 604800}
    assert inputs["lifecycleRules"][0]["action"] == {"type": "Delete"}
    assert inputs["lifecycleRules"][0]["condition"]["age"] > 0


def test_a_runner_group_serves_its_repositories_alone(prod, prod_config, rehearse_edited):
    assert prod.named("minimal-runner-group").inputs == {
        "name": "presubmit",
        "visibility": "selected",
        "selectedRepositoryIds": [100000001],
        "allowsPublicRepositories": True,
        "restrictedToWorkflows": False,
        "selectedWorkflows": [],
    }
    workflow = "iree-org/iree/.github/workflows/release.yml@refs/heads/main"
    prod_config["runner-fleet:trust_levels"]["basic"]["workflows"] = [workflow]
    group = rehearse_edited(prod_config).named("basic-runner-group").inputs
    assert group["restrictedToWorkflows"] is True
    assert group["selectedWorkflows"] == [workflow]


def test_a_third_level_gets_everything_of_its_own_and_no_cache(prod_config, rehearse_edited):
    releaser = {**prod_config["runner-fleet:trust_levels"]["basic"], "runner_group": "release"}
    prod_config["runner-fleet:trust_levels"]["releaser"] = {**releaser, "allowed_events": ["release"]}
    inventory = rehearse_edited(prod_config)
    assert {target for _, target in grants(inventory, "releaser")} == {
        "iree-oss",
        "iree-oss-gh-runner-releaser-artifacts",
        "iree-oss-gh-runner-boot",
        "gh-runner-broker",
        "gh-runner-deleter",
    }
    assert not [resource for resource in inventory.resources if resource.name.startswith("releaser-cache")]


def test_each_runner_account_has_two_project_roles_and_no_more(prod):
    members = [grant.inputs["member"] for grant in prod.of_type(PROJECT_GRANT)]
    assert [members.count(f"${{{level}-account.member}}") for level in LEVELS] == [2, 2]
    assert len(prod.of_type(RUNNER_GROUP)) == 2
