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
    if service.reads_app_key:
        expected.add(("SecretIamMember", "roles/secretmanager.secretAccessor"))
    assert granted == expected
    [records] = [grant for grant in grants_of(prod, f"{service.role}-account") if "bucket" in grant.inputs]
    assert records.inputs["bucket"] == f"iree-oss-gh-runner-{service.role}"


def test_the_broker_alone_reads_the_app_key(prod):
    assert [service.role for service in services.SERVICES if service.reads_app_key] == ["broker"]
    readers = [resource for resource in prod.resources if "secretId" in resource.inputs and "member" in resource.inputs]
    assert [reader.inputs["member"] for reader in readers] == ["${broker-account.member}"]


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


def test_runners_alone_may_call_a_function_and_from_the_projects_networks_alone(prod):
    for function in prod.of_type(FUNCTION):
        config = function.inputs["serviceConfig"]
        assert config["ingressSettings"] == "ALLOW_INTERNAL_ONLY"
        callers = [grant for grant in prod.of_type(INVOKER) if grant.inputs["name"] == function.inputs["name"]]
        assert {grant.inputs["member"] for grant in callers} == {f"${{{level}-account.member}}" for level in LEVELS}
        assert {grant.inputs["role"] for grant in callers} == {"roles/run.invoker"}


def test_nobody_else_is_granted_anything(prod):
    known = {f"${{{name}-account.member}}" for name in (*LEVELS, "broker", "deleter", "builds")}
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
