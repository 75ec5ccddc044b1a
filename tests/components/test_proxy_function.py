"""The proxy functions: each has its listed permissions and nothing else, and no runner has any of them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from fleet import services
from fleet.function_table import function_table
from fleet.metadata import RunnerMetadata, attribute_name
from functions import pack
from startup import bundle

FUNCTION = "gcp:cloudfunctionsv2/function:Function"
INVOKER = "gcp:cloudrunv2/serviceIamMember:ServiceIamMember"
PROJECT_GRANT = "gcp:projects/iAMMember:IAMMember"
ROLE = "gcp:projects/iAMCustomRole:IAMCustomRole"
LEVELS = ("minimal", "basic")
ROLES = ("broker", "deleter", "listener", "reconciler")
NOT_FOR_RUNNERS = ("secretmanager", "compute", "iam", "run.admin", "cloudfunctions", "owner", "editor", "storage.admin")


def grants_of(inventory, member):
    return [resource for resource in inventory.resources if resource.inputs.get("member") == f"${{{member}.member}}"]


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda service: service.role)
def test_a_function_has_its_listed_permissions_and_its_records_alone(prod, service):
    role = prod.named(f"{service.role}-role")
    assert role.inputs["permissions"] == sorted(service.permissions)
    granted = {
        (grant.type.rpartition(":")[2], grant.inputs["role"]) for grant in grants_of(prod, f"{service.role}-account")
    }
    expected = {("IAMMember", f"${{{service.role}-role.name}}"), ("BucketIAMMember", "roles/storage.objectUser")}
    if service.app_key:
        expected.add(("SecretIamMember", "roles/secretmanager.secretAccessor"))
    if service.reads:
        expected.add(("BucketIAMMember", "roles/storage.objectViewer"))
    assert granted == expected


def test_a_function_reads_and_changes_the_records_that_its_service_names_and_no_others(prod):
    buckets = {role: f"iree-oss-gh-runner-{role}" for role in ROLES}
    granted = {
        (role, grant.inputs["bucket"], grant.inputs["role"])
        for role in ROLES
        for grant in grants_of(prod, f"{role}-account")
        if "bucket" in grant.inputs
    }
    viewer, user = "roles/storage.objectViewer", "roles/storage.objectUser"
    assert granted == {
        *((role, buckets[role], user) for role in ROLES),
        ("broker", buckets["listener"], viewer),
        ("deleter", buckets["listener"], viewer),
        ("reconciler", buckets["listener"], viewer),
        ("reconciler", buckets["broker"], user),
        ("reconciler", buckets["deleter"], user),
    }


def test_records_that_are_written_every_few_seconds_leave_no_copies(prod):
    for role in ROLES:
        assert prod.named(f"{role}-records").inputs["softDeletePolicy"] == {"retentionDurationSeconds": 0}


def test_three_functions_read_the_app_key_each_by_a_grant_of_its_name(prod):
    readers = {
        resource.name: resource.inputs["member"]
        for resource in prod.resources
        if "secretId" in resource.inputs and "member" in resource.inputs
    }
    assert readers == {
        "app-key-read-by-broker": "${broker-account.member}",
        "app-key-read-by-listener": "${listener-account.member}",
        "app-key-read-by-reconciler": "${reconciler-account.member}",
    }


def test_the_brokers_grant_keeps_its_former_name_as_an_alias(prod):
    """Made anew it would be deleted after it was made, and with it what the broker may read."""
    assert "aliases" not in prod.named("app-key-read-by-listener").options
    [former] = prod.named("app-key-read-by-broker").options["aliases"]
    assert former.endswith("::app-key-read")


@pytest.mark.parametrize("level", LEVELS)
def test_no_runner_may_do_what_a_function_may(prod, level):
    roles = {grant.inputs["role"] for grant in grants_of(prod, f"{level}-account")}
    assert not [role for role in roles if any(word in role for word in NOT_FOR_RUNNERS)], "no key, no VM, no role"
    assert not [role for role in roles if role.startswith("${")], "no custom role"


@pytest.mark.parametrize("level", LEVELS)
def test_no_runner_writes_another_levels_bucket_or_a_functions_records(prod, level):
    writing = ("objectCreator", "objectUser", "objectAdmin", "legacyBucketWriter", "admin")
    written = {
        grant.inputs["bucket"]
        for grant in grants_of(prod, f"{level}-account")
        if "bucket" in grant.inputs and grant.inputs["role"].endswith(writing)
    }
    own = {f"iree-oss-gh-runner-{level}-artifacts", f"iree-oss-gh-runner-{level}-cache"}
    assert written <= own


def test_runners_or_the_clock_alone_may_call_a_function_and_from_within_the_project_alone(prod):
    for function in prod.of_type(FUNCTION):
        config = function.inputs["serviceConfig"]
        assert config["ingressSettings"] == "ALLOW_INTERNAL_ONLY"
        callers = [grant for grant in prod.of_type(INVOKER) if grant.inputs["name"] == function.inputs["name"]]
        by_the_clock = function.inputs["name"] in {"gh-runner-listener", "gh-runner-reconciler"}
        expected = ["scheduler"] if by_the_clock else LEVELS
        assert {grant.inputs["member"] for grant in callers} == {f"${{{name}-account.member}}" for name in expected}
        assert {grant.inputs["role"] for grant in callers} == {"roles/run.invoker"}


def test_nobody_else_is_granted_anything(prod):
    known = {f"${{{name}-account.member}}" for name in (*LEVELS, *ROLES, "scheduler", "builds")}
    assert {resource.inputs["member"] for resource in prod.resources if "member" in resource.inputs} == known


def test_the_builder_is_our_own_and_can_read_no_secret(prod):
    for function in prod.of_type(FUNCTION):
        assert function.inputs["buildConfig"]["serviceAccount"] == "${builds-account.name}"
    assert {grant.inputs["role"] for grant in grants_of(prod, "builds-account")} == set(services.BUILDER_ROLES)


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda service: service.role)
def test_what_is_deployed_is_the_tree_named_by_its_digest(prod, root, prod_settings, service):
    package = pack.build(root / "functions" / service.folder, function_table(prod_settings))
    source = prod.named(f"{service.role}-source").inputs
    assert source["name"] == package.object_name
    assert (root / source["source"]["asset"]).read_bytes() == package.data
    used = prod.named(f"{service.role}-function").inputs["buildConfig"]["source"]["storageSource"]
    assert used == {"bucket": "iree-oss-gh-runner-functions", "object": package.object_name}
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read(pack.TABLE))["project"] == "iree-oss"


def test_vms_are_told_the_urls_that_the_functions_expect_as_audience(prod):
    [template, *_] = prod.of_type("gcp:compute/regionInstanceTemplate:RegionInstanceTemplate")
    for role in ("broker", "deleter"):
        config = prod.named(f"{role}-function").inputs["serviceConfig"]
        told = template.inputs["metadata"][attribute_name(f"{role}_url")]
        assert config["environmentVariables"][f"{role.upper()}_AUDIENCE"] == told
    assert {"broker_url", "deleter_url"} <= RunnerMetadata.model_fields.keys()


def test_a_pool_waits_for_the_services_its_vms_call(prod):
    waits = prod.named("presubmit-cpu").dependencies
    assert {"broker-function", "deleter-function"} <= {urn.rpartition("::")[2] for urn in waits}


def test_a_packed_function_is_the_same_bytes_wherever_it_is_packed(tmp_path: Path):
    for name in ("one", "two"):
        folder = tmp_path / name / "f"
        (folder / "package").mkdir(parents=True)
        for file in ("main.py", "package/app.py", "requirements.txt", "requirements.in"):
            (folder / file).write_text(file)
            (folder / file).chmod(0o600 if name == "one" else 0o755)
    packages = [pack.build(tmp_path / name / "f", "{}") for name in ("one", "two")]
    assert packages[0] == packages[1]
    assert packages[0].files == ("fleet.json", "main.py", "package/app.py", "requirements.txt")
    written = bundle.write(packages[0], tmp_path / "build")
    assert (written.name, written.read_bytes()) == (packages[0].object_name, packages[0].data)


def test_a_folder_that_is_no_function_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no main\.py"):
        pack.build(tmp_path, "{}")
