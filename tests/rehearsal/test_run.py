"""The rehearsal refuses what an engine would, and hides nothing."""

from __future__ import annotations

import os

import pulumi
import pytest
from pulumi_gcp import compute, storage

from rehearsal.monitor import UNKNOWN, LookupRefusedError
from rehearsal.run import ProgramError, rehearse


def test_everything_is_drained_before_the_inventory_is_read():
    def program():
        first = storage.Bucket("first", location="US", name="one")
        second = storage.Bucket("second", location="US", name=first.name.apply(lambda name: f"{name}-and-two"))
        storage.Bucket("third", location="US", name=second.name.apply(lambda name: f"{name}-and-three"))

    assert rehearse(program, "prod", {}).named("third").inputs["name"] == "one-and-two-and-three"


def test_what_a_cloud_computes_stands_as_a_reference():
    def program():
        network = compute.Network("net", name="n")
        compute.Subnetwork("sub", network=network.id, ip_cidr_range="10.0.0.0/20", description=network.self_link)

    inputs = rehearse(program, "prod", {}).named("sub").inputs
    assert inputs["network"] == "${net.id}"
    assert inputs["description"] == "${net.self_link}"


def test_a_number_that_only_a_cloud_knows_stays_unknown():
    def program():
        bucket = storage.Bucket("b", location="US")
        storage.Bucket("c", location="US", labels={"number": bucket.project_number.apply(str)})

    assert rehearse(program, "prod", {}).named("c").inputs["labels"]["number"] == UNKNOWN


def test_a_secret_is_never_shown():
    def program():
        storage.Bucket("b", location="US", name=pulumi.Output.secret("hush"))

    inventory = rehearse(program, "prod", {})
    assert inventory.named("b").inputs["name"] == "[secret]"
    assert "hush" not in str(inventory.to_json())


def test_whole_numbers_stay_whole():
    def program():
        compute.HealthCheck("h", timeout_sec=5, http_health_check=compute.HealthCheckHttpHealthCheckArgs(port=80))

    inputs = rehearse(program, "prod", {}).named("h").inputs
    assert repr(inputs["timeoutSec"]) == "5"


def test_a_look_up_is_refused():
    def program():
        compute.get_image(family="x")

    with pytest.raises(LookupRefusedError, match="getImage"):
        rehearse(program, "prod", {})


def test_a_look_up_of_an_existing_resource_is_refused():
    def program():
        compute.Network.get("n", "id")

    with pytest.raises(LookupRefusedError, match="read"):
        rehearse(program, "prod", {})


def test_two_resources_of_one_urn_are_refused():
    def program():
        storage.Bucket("same", location="US")
        storage.Bucket("same", location="EU")

    with pytest.raises(ProgramError, match="same"):
        rehearse(program, "prod", {})


def test_an_output_that_becomes_text_is_refused():
    def program():
        bucket = storage.Bucket("b", location="US")
        storage.Bucket("c", location="US", name=f"{bucket.name}-copy")

    with pytest.raises(Exception, match="__str__ on an Output"):
        rehearse(program, "prod", {})
    assert "PULUMI_ERROR_OUTPUT_STRING" not in os.environ, "the run leaves the environment as it was"


def test_an_error_in_an_apply_nobody_waits_for_is_heard():
    def program():
        storage.Bucket("b", location="US").name.apply(lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        rehearse(program, "prod", {})


def test_exports_do_not_leak_into_the_next_run():
    first = rehearse(lambda: pulumi.export("said", "once"), "prod", {})
    second = rehearse(lambda: None, "prod", {})
    assert first.exports == {"said": "once"}
    assert second.exports == {}


def test_configuration_does_not_leak_into_the_next_run():
    seen = []
    rehearse(lambda: seen.append(pulumi.Config().get("key")), "prod", {"runner-fleet:key": "value"})
    rehearse(lambda: seen.append(pulumi.Config().get("key")), "prod", {})
    assert seen == ["value", None]


def test_parents_providers_and_options_are_recorded():
    def program():
        import pulumi_gcp as gcp

        provider = gcp.Provider("mine", project="p")
        parent = pulumi.ComponentResource("a:index:B", "parent")
        options = pulumi.ResourceOptions(parent=parent, provider=provider, protect=True, ignore_changes=["location"])
        storage.Bucket("b", location="US", opts=options)

    bucket = rehearse(program, "prod", {}).named("b")
    assert bucket.parent.endswith("a:index:B::parent")
    assert bucket.provider.endswith("pulumi:providers:gcp::mine")
    assert bucket.options == {"protect": True, "ignore_changes": ["location"]}


def test_the_project_makes_no_look_ups_so_it_previews_without_an_engine(prod, testing):
    # The monitor raises on the first one; that both inventories exist is the proof.
    assert len(prod.resources) == len(testing.resources)


def test_a_program_that_ends_before_it_registers_anything_ends_the_run():
    def program():
        raise pulumi.RunError("no fleet")

    with pytest.raises(pulumi.RunError, match="no fleet"):
        rehearse(program, "prod", {})


def test_progress_counts_registrations():
    def program():
        for letter in "abc":
            storage.Bucket(letter, location="US")

    counts = []
    rehearse(program, "prod", {}, counts.append)
    assert sorted(counts) == [1, 2, 3]


def test_an_inventory_survives_json(prod):
    import json

    from rehearsal.inventory import Inventory

    assert Inventory.from_json(json.loads(json.dumps(prod.to_json()))) == prod
