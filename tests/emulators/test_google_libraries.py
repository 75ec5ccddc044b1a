"""Google's own client libraries against the stand-in: they must not notice."""

from __future__ import annotations

from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import pytest
from google.api_core import exceptions, retry
from google.api_core.client_options import ClientOptions
from google.auth.compute_engine import _metadata, credentials
from google.cloud import compute_v1, secretmanager_v1, storage
from google.oauth2 import id_token

from emulators.google.bucket import crc32c

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


# Google's own client libraries


@pytest.fixture
def signed_in(site, monkeypatch):
    """Credentials as they are found on Google Cloud; the library reads where its metadata server is at import."""
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", site.metadata_host)
    monkeypatch.setenv("GCE_METADATA_IP", site.metadata_host)
    # It asks iamcredentials.googleapis.com beside every request, at an address that cannot be set.
    monkeypatch.setattr(credentials.Credentials, "_is_regional_access_boundary_lookup_required", lambda _: False)
    return credentials.Credentials()


def test_google_auth_finds_its_account_and_a_token(site, signed_in):
    ask = google.auth.transport.requests.Request()
    assert _metadata.ping(ask)
    signed_in.refresh(ask)
    assert signed_in.service_account_email == site.google.function_account
    assert signed_in.valid
    identity = credentials.IDTokenCredentials(ask, "https://deleter", use_metadata_identity_endpoint=True)
    identity.refresh(ask)
    assert id_token.verify_token(str(identity.token), ask, audience="https://deleter", certs_url=site.certs_url)


def test_the_storage_library_creates_once_reads_changes_and_deletes(site, signed_in):
    client = storage.Client("iree-oss", signed_in, client_options={"api_endpoint": site.storage_url})
    blob = client.bucket("grants").blob("instances/1.json")
    blob.metadata = {"group": "presubmit"}
    blob.upload_from_string('{"a": 1}', content_type="application/json", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        client.bucket("grants").blob("instances/1.json").upload_from_string("{}", if_generation_match=0)
    found = client.bucket("grants").get_blob("instances/1.json")
    assert found
    assert (found.generation, found.content_type, found.metadata) == (
        blob.generation,
        "application/json",
        blob.metadata,
    )
    assert found.download_as_bytes() == b'{"a": 1}'
    assert [each.name for each in client.list_blobs("grants", prefix="instances/")] == ["instances/1.json"]
    found.metadata = {"group": "postsubmit"}
    found.patch(if_metageneration_match=1)
    assert site.google.objects["grants", "instances/1.json"].metadata == {"group": "postsubmit"}
    found.delete(if_generation_match=blob.generation)
    assert client.bucket("grants").get_blob("instances/1.json") is None
    client.close()


def test_the_storage_library_signed_out_is_unauthorized(site):
    client = storage.Client.create_anonymous_client()
    client = storage.Client("iree-oss", client._credentials, client_options={"api_endpoint": site.storage_url})
    with pytest.raises(google.auth.exceptions.InvalidOperation, match="Anonymous credentials cannot be refreshed"):
        client.bucket("grants").get_blob("x")
    assert [request.status for request in site.asked("storage.get")] == [401]
    client.close()


def test_the_compute_library_reads_and_deletes(site, group, vm, signed_in):
    options = ClientOptions(api_endpoint=site.compute_url)
    where = {"project": "iree-oss", "region": "us-west1"}
    instances = compute_v1.InstancesClient(credentials=signed_in, client_options=options)
    shown = instances.get(project="iree-oss", zone=vm.zone, instance=vm.name)
    assert (str(shown.id), shown.status) == (vm.id, "RUNNING")
    assert {item.key: item.value for item in shown.metadata.items}["created-by"] == group.created_by

    scalers = compute_v1.RegionAutoscalersClient(credentials=signed_in, client_options=options)
    assert "recommended_size" not in scalers.get(autoscaler=group.name, project="iree-oss", region="us-west1")
    group.autoscaler.recommended = 3
    assert scalers.get(autoscaler=group.name, project="iree-oss", region="us-west1").recommended_size == 3

    groups = compute_v1.RegionInstanceGroupManagersClient(credentials=signed_in, client_options=options)
    # It looks at operations by a client of its own, which does not get these options.
    operations = compute_v1.RegionOperationsClient(credentials=signed_in, client_options=options)
    groups.transport._extended_operations_services["region_operations"] = operations
    target = {**where, "instance_group_manager": group.name}
    assert groups.get(**target).status.is_stable
    listed = list(groups.list_managed_instances(**target))
    assert [(str(each.id), each.current_action) for each in listed] == [(vm.id, "NONE")]

    chosen = compute_v1.RegionInstanceGroupManagersDeleteInstancesRequest(instances=[reference(vm)])
    wanted = {**target, "region_instance_group_managers_delete_instances_request_resource": chosen}
    site.google.fail_operation("compute.delete_instances", message="no resources")
    site.google.compute.operation_seconds = 0.02
    failing = groups.delete_instances(**wanted)
    assert not failing.done()
    with pytest.raises(exceptions.ServiceUnavailable, match="no resources"):
        failing.result(retry=AT_ONCE)
    assert vm.action == "NONE"
    groups.delete_instances(**wanted).result(retry=AT_ONCE)
    assert vm.action == "DELETING"
    site.clock.advance(30)
    with pytest.raises(exceptions.NotFound):
        instances.get(project="iree-oss", zone=vm.zone, instance=vm.name)


def test_the_compute_library_lists_groups_and_changes_their_versions(site, group, vm, signed_in):
    options = ClientOptions(api_endpoint=site.compute_url)
    template = site.google.add_template("v2", labels={"version": "v2"})
    everywhere = compute_v1.InstanceGroupManagersClient(credentials=signed_in, client_options=options)
    found = dict(everywhere.aggregated_list(project="iree-oss"))
    assert [each.name for each in found["regions/us-west1"].instance_group_managers] == [group.name]

    groups = compute_v1.RegionInstanceGroupManagersClient(credentials=signed_in, client_options=options)
    operations = compute_v1.RegionOperationsClient(credentials=signed_in, client_options=options)
    groups.transport._extended_operations_services["region_operations"] = operations
    versions = [
        compute_v1.InstanceGroupManagerVersion(
            name="canary", instance_template=template.link, target_size={"fixed": 1}
        ),
        compute_v1.InstanceGroupManagerVersion(name="stable", instance_template=template.link),
    ]
    where: dict[str, Any] = {"project": "iree-oss", "region": "us-west1", "instance_group_manager": group.name}
    body = compute_v1.InstanceGroupManager(versions=versions)
    groups.patch(**where, instance_group_manager_resource=body).result(retry=AT_ONCE)
    shown = groups.get(**where)
    assert [(each.name, each.target_size.calculated) for each in shown.versions] == [("canary", 1), ("stable", 1)]
    assert not shown.status.version_target.is_reached
    assert vm.template != template.link

    templates = compute_v1.RegionInstanceTemplatesClient(credentials=signed_in, client_options=options)
    assert templates.get(project="iree-oss", region="us-west1", instance_template="v2").properties.labels == {
        "version": "v2"
    }


def test_the_compute_library_bakes(site, signed_in):
    options = ClientOptions(api_endpoint=site.compute_url)
    where: dict[str, Any] = {"project": "iree-oss", "zone": "us-west1-a"}
    site.google.compute.stop_seconds = 0

    def client(kind):
        made = kind(credentials=signed_in, client_options=options)
        for name, service in (("zone_operations", compute_v1.ZoneOperationsClient),
                              ("global_operations", compute_v1.GlobalOperationsClient)):  # fmt: skip
            made.transport._extended_operations_services[name] = service(credentials=signed_in, client_options=options)
        return made

    instances, disks = client(compute_v1.InstancesClient), client(compute_v1.DisksClient)
    snapshots = client(compute_v1.SnapshotsClient)
    made = compute_v1.Instance(name="builder", disks=[compute_v1.AttachedDisk(auto_delete=True, boot=True)])
    instances.insert(**where, instance_resource=made).result(retry=AT_ONCE)
    vm = instances.get(**where, instance="builder")
    changed = compute_v1.Metadata(fingerprint=vm.metadata.fingerprint, items=[compute_v1.Items(key="a", value="1")])
    instances.set_metadata(**where, instance="builder", metadata_resource=changed).result(retry=AT_ONCE)
    with pytest.raises(exceptions.PreconditionFailed):
        instances.set_metadata(**where, instance="builder", metadata_resource=changed)
    site.google.write_serial(site.google.compute.instance("us-west1-a", "builder"), "done\n")
    assert instances.get_serial_port_output(**where, instance="builder").contents == "done\n"
    instances.stop(**where, instance="builder").result(retry=AT_ONCE)
    assert instances.get(**where, instance="builder").status == "TERMINATED"
    snapshot = compute_v1.Snapshot(name="snap")
    disks.create_snapshot(**where, disk="builder", snapshot_resource=snapshot).result(retry=AT_ONCE)
    assert snapshots.get(project="iree-oss", snapshot="snap").status == "READY"
    instances.delete(**where, instance="builder").result(retry=AT_ONCE)
    assert [each.name for each in instances.list(**where)] == []
    with pytest.raises(exceptions.NotFound):
        disks.get(**where, disk="builder")
    snapshots.delete(project="iree-oss", snapshot="snap").result(retry=AT_ONCE)
    with pytest.raises(exceptions.NotFound):
        snapshots.get(project="iree-oss", snapshot="snap")


def test_the_secret_manager_library_reads_and_is_refused(site, signed_in):
    site.google.put_secret("github-app-key", site.github.app_key_pem)
    options = ClientOptions(api_endpoint=site.secrets_url)
    client = secretmanager_v1.SecretManagerServiceClient(
        credentials=signed_in, transport="rest", client_options=options
    )
    name = "projects/iree-oss/secrets/github-app-key/versions/latest"
    answer = client.access_secret_version(name=name)
    assert answer.payload.data.decode() == site.github.app_key_pem
    assert answer.payload.data_crc32c == crc32c(answer.payload.data)
    site.google.deny("secrets.access")
    with pytest.raises(exceptions.Forbidden):
        client.access_secret_version(name=name)
    with pytest.raises(exceptions.Forbidden):
        client.access_secret_version(name=name.replace("latest", "1"))
