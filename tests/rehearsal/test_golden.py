"""The golden inventories: what a pull request shows of a change, and no more than that."""

from __future__ import annotations

import copy
import difflib

import pytest

from fleet.services import SERVICES
from rehearsal import golden


@pytest.mark.parametrize("stack", ["prod", "testing"])
def test_a_stack_registers_what_its_golden_inventory_says(stack, request, root):
    written = (root / "tests/stacks" / f"{stack}.yaml").read_text(encoding="utf-8")
    now = golden.text(request.getfixturevalue(stack))
    diff = "\n".join(difflib.unified_diff(written.splitlines(), now.splitlines(), "golden", "now", lineterm="", n=2))
    assert not diff, f"{diff}\n\nIf this is what you meant, run {golden.COMMAND} and commit the difference."


def lines_that_change(before, after):
    diff = difflib.ndiff(golden.text(before).splitlines(), golden.text(after).splitlines())
    return [line for line in diff if line[:2] in {"- ", "+ "}]


def test_a_new_machine_type_changes_the_lines_a_reviewer_expects(prod, prod_config, rehearse_edited):
    prod_config["runner-fleet:machine_classes"]["arm64"]["machine_type"] = "t2a-standard-16"
    changed = lines_that_change(prod, rehearse_edited(prod_config))
    # One template in each of the two arm64 pools; the group, its autoscaler and all other pools keep every line.
    assert [line.split() for line in changed if ".zip" not in line] == [
        ["-", "machineType:", "t2a-standard-8"],
        ["+", "machineType:", "t2a-standard-16"],
    ] * 2
    # The functions' table has the labels of every group, and the machine type is one.
    assert {line.split()[1] for line in changed if ".zip" in line} == {"asset:", "name:", "object:"}


def test_a_new_size_changes_one_line_of_an_autoscaler_and_what_the_functions_are_told(
    mixed, mixed_config, rehearse_edited
):
    edited = copy.deepcopy(mixed_config)
    edited["runner-fleet:pools"]["presubmit-cpu"]["regions"]["us-west1"]["max"] = 12
    changed = lines_that_change(mixed, rehearse_edited(edited))
    other = [line.split() for line in changed if ".zip" not in line]
    assert other == [["-", "maxReplicas:", "10"], ["+", "maxReplicas:", "12"]]


def test_a_new_size_of_a_pool_that_follows_jobs_changes_one_line_and_what_the_functions_are_told(
    prod, prod_config, rehearse_edited
):
    prod_config["runner-fleet:pools"]["presubmit-cpu"]["regions"]["us-west1"]["max"] = 12
    changed = lines_that_change(prod, rehearse_edited(prod_config))
    assert [line.split() for line in changed if ".zip" not in line] == [
        ["-", "us-west1:", "10"],
        ["+", "us-west1:", "12"],
    ]
    assert [line for line in changed if ".zip" in line]


def test_a_pool_inserted_in_the_middle_touches_no_other_pools_urn(prod, prod_config, rehearse_edited):
    pools = prod_config["runner-fleet:pools"]
    middle = {**copy.deepcopy(pools["presubmit-cpu"]), "labels": ["large"], "machine_class": "big"}
    classes = prod_config["runner-fleet:machine_classes"]
    classes["big"] = {**classes["cpu"], "machine_type": "n1-standard-64", "image": "cpu"}
    keys = list(pools)
    order = [*keys[:3], "middle-pool", *keys[3:]]
    prod_config["runner-fleet:pools"] = {key: pools.get(key, middle) for key in order}
    after = {resource.urn: resource for resource in rehearse_edited(prod_config).resources}
    before = {resource.urn: resource for resource in prod.resources}
    assert before.keys() <= after.keys()
    changed = {before[urn].name for urn in before if after[urn] != before[urn]}
    functions = {f"{service.role}-{what}" for service in SERVICES for what in ("source", "function")}
    assert changed == functions, "nothing but the functions, whose table lists every group"
    assert all("middle-pool" in urn for urn in after.keys() - before.keys())


def test_the_order_of_the_yaml_means_nothing(prod, prod_config, rehearse_edited):
    for section in ("pools", "machine_classes", "trust_levels", "versions"):
        key = f"runner-fleet:{section}"
        prod_config[key] = dict(reversed(prod_config[key].items()))
    assert not lines_that_change(prod, rehearse_edited(prod_config))


def test_long_text_stands_as_its_hash(prod):
    text = golden.text(prod)
    assert "startup-script: sha256 " in text
    assert max(len(line) for line in text.splitlines()) < 220


def test_testing_differs_from_prod_in_values_and_not_in_shape(prod, testing):
    assert [resource.key for resource in prod.resources] == [resource.key for resource in testing.resources]
