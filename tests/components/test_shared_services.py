"""What all pools share: network, health check, boot bundle, images, the App's key."""

from __future__ import annotations

from pathlib import Path

FIREWALL = "gcp:compute/firewall:Firewall"


def test_nothing_gets_in_but_health_probes_to_the_health_port(prod):
    allowed = [rule for rule in prod.of_type(FIREWALL) if rule.inputs.get("allows")]
    assert [rule.inputs["allows"] for rule in allowed] == [[{"protocol": "tcp", "ports": ["8080"]}]]
    assert allowed[0].inputs["sourceRanges"] == ["35.191.0.0/16", "130.211.0.0/22"]
    assert allowed[0].inputs["targetTags"] == ["gh-runner-vm"]
    denied = [rule for rule in prod.of_type(FIREWALL) if rule.inputs.get("denies")]
    assert denied[0].inputs["priority"] > allowed[0].inputs["priority"]
    assert denied[0].inputs["denies"] == [{"protocol": "all"}]


def test_every_runner_carries_the_tag_that_the_firewall_knows(prod):
    for template in prod.of_type("gcp:compute/regionInstanceTemplate:RegionInstanceTemplate"):
        assert template.inputs["tags"] == ["gh-runner-vm"]


def test_the_network_makes_no_subnets_by_itself_and_reaches_google_privately(prod):
    assert prod.named("network-vpc").inputs["autoCreateSubnetworks"] is False
    subnets = prod.of_type("gcp:compute/subnetwork:Subnetwork")
    assert {subnet.inputs["region"] for subnet in subnets} == {"us-central1", "us-east1", "us-west1", "us-west4"}
    assert all(subnet.inputs["privateIpGoogleAccess"] for subnet in subnets)


def test_the_health_check_asks_each_15_seconds_and_believes_three_failures(prod):
    inputs = prod.named("health-check").inputs
    assert inputs["checkIntervalSec"] == 15
    assert inputs["unhealthyThreshold"] == 3
    assert inputs["timeoutSec"] <= inputs["checkIntervalSec"]
    assert inputs["httpHealthCheck"] == {"port": 8080, "requestPath": "/healthz"}


def test_a_bundle_is_an_object_named_by_its_digest_and_outlives_its_resource(prod, tree_bundle):
    digest = tree_bundle.removeprefix("sha256:")
    bundle = prod.named(f"boot-{digest}.tar")
    assert bundle.inputs["name"] == f"boot-{digest}.tar"
    assert bundle.inputs["source"] == {"asset": f".build/boot-{digest}.tar"}
    assert bundle.options == {"retain_on_delete": True}


def test_the_file_that_is_uploaded_has_the_digest_it_is_named_by(prod, root, tree_bundle):
    import hashlib

    uploaded = prod.of_type("gcp:storage/bucketObject:BucketObject")[0].inputs["source"]["asset"]
    content = (root / Path(uploaded)).read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == tree_bundle


def test_what_cannot_be_rebuilt_is_protected_and_nothing_else(prod):
    protected = {resource.name for resource in prod.resources if resource.options.get("protect")}
    assert protected == {"app-key", "boot-bucket"}


def test_an_image_is_made_from_a_pinned_stock_image(prod):
    inputs = prod.named("cpu-v2026-11-25-image").inputs
    assert inputs["sourceImage"].startswith("projects/ubuntu-os-cloud/global/images/ubuntu-2404-noble-amd64-v")
    assert "sourceSnapshot" not in inputs
    assert inputs["name"] == "gh-runner-image-cpu-v2026-11-25"
    assert inputs["family"] == "gh-runner-image-cpu"


def test_an_image_is_made_from_the_snapshot_of_a_baked_disk(prod_config, rehearse_edited):
    snapshot = "projects/iree-oss/global/snapshots/gpu-baked"
    prod_config["runner-fleet:versions"]["2026-11-25"]["images"]["gpu"] = {"source_snapshot": snapshot}
    inputs = rehearse_edited(prod_config).named("gpu-v2026-11-25-image").inputs
    assert inputs["sourceSnapshot"] == snapshot
    assert "sourceImage" not in inputs


def test_classes_that_share_an_image_key_share_the_image(prod):
    images = {image.name for image in prod.of_type("gcp:compute/image:Image")}
    assert images == {"arm64-v2026-11-25-image", "cpu-v2026-11-25-image", "gpu-v2026-11-25-image"}
    a100 = prod.named("presubmit-a100-us-west1-template-v2026-11-25").inputs["disks"][0]["sourceImage"]
    assert a100 == "${gpu-v2026-11-25-image.id}"


def test_the_apps_key_is_a_container_without_a_value(prod):
    assert prod.named("app-key").inputs["secretId"] == "gh-runner-github-app-key"
    assert not [resource for resource in prod.resources if "SecretVersion" in resource.type]
