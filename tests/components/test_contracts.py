"""Every component keeps every rule, and every rule is able to fail."""

from __future__ import annotations

import contracts
import pulumi
import pytest
from bad_components import Bad, Silent, Talkative
from pulumi_gcp import storage

from rehearsal.run import rehearse


@pytest.mark.parametrize("cls", contracts.component_classes(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("rule", contracts.CLASS_RULES, ids=lambda rule: rule.__name__)
def test_every_component_keeps_the_rules_about_classes(rule, cls):
    assert list(rule(cls)) == []


@pytest.mark.parametrize("stack", ["prod", "testing"])
@pytest.mark.parametrize("rule", contracts.INVENTORY_RULES, ids=lambda rule: rule.__name__)
def test_every_registration_keeps_the_rules_about_resources(rule, stack, request):
    assert list(rule(request.getfixturevalue(stack))) == []


@pytest.mark.parametrize("cls", contracts.component_classes(), ids=lambda cls: cls.__name__)
def test_every_component_registers_just_its_public_attributes(cls, prod):
    assert list(contracts.attributes_are_the_registered_outputs(cls, prod)) == []


@pytest.mark.parametrize("rule", contracts.SOURCE_RULES, ids=lambda rule: rule.__name__)
def test_every_source_file_keeps_the_rules_about_text(rule):
    assert [breach for name, source in contracts.sources().items() for breach in rule(name, source)] == []


def test_every_component_is_part_of_prod_so_that_the_rules_see_it(prod):
    seen = {resource.type.rpartition(":")[2] for resource in prod.resources if not resource.custom}
    assert {cls.__name__ for cls in contracts.component_classes()} == seen


def test_discovery_finds_the_components_at_all():
    assert len(contracts.component_classes()) >= 7


@pytest.fixture(scope="module")
def bad():
    """What a program of bad components registers."""

    def program():
        Bad("bad")
        Silent("silent")
        Talkative("talkative")
        storage.Bucket("silent", location="US")
        storage.Bucket("bad-twin", location="US", opts=None)
        storage.BucketObject("bad-twin", bucket="b", content="c")

    return rehearse(program, "prod", {})


@pytest.mark.parametrize("rule", contracts.CLASS_RULES, ids=lambda rule: rule.__name__)
def test_each_rule_about_classes_can_fail(rule):
    assert list(rule(Bad))


@pytest.mark.parametrize(
    "rule",
    [rule for rule in contracts.INVENTORY_RULES if rule is not contracts.short_names_are_unique],
    ids=lambda rule: rule.__name__,
)
def test_each_rule_about_resources_can_fail(rule, bad):
    assert list(rule(bad))


def test_the_rule_about_unique_names_can_fail():
    def program():
        for owner in (Silent("one"), Talkative("two")):
            storage.Bucket("same", location="US", opts=pulumi.ResourceOptions(parent=owner))

    assert list(contracts.short_names_are_unique(rehearse(program, "prod", {})))


def test_the_rule_about_outputs_can_fail(bad):
    assert list(contracts.attributes_are_the_registered_outputs(Talkative, bad))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (contracts.components_are_deaf, "import os\nx = os.environ['HOME']"),
        (contracts.components_are_deaf, "import pulumi\nconfig = pulumi.Config()"),
        (contracts.components_are_deaf, "import random"),
        (contracts.callers_options_are_never_merged_into_children, "o = pulumi.ResourceOptions.merge(opts, mine)"),
        (contracts.nothing_is_made_inside_an_apply, "bucket.name.apply(lambda name: storage.Bucket(name))"),
        (contracts.names_are_made_elsewhere, "storage.Bucket('b', name=f'{prefix}-x')"),
        (contracts.nested_inputs_are_typed, "compute.Firewall('f', allows={'protocol': 'tcp'})"),
    ],
)
def test_each_rule_about_text_can_fail(rule, source):
    assert list(rule("bad.py", source))
