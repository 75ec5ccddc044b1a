"""Whatever must be refused is refused, one row a thing; and nothing that a preview lets through is forgotten.

The rows are in `refused_*.py`, by noun. Each edits the valid configuration and says where the fault must be and which
words its line must have; there must be no other fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
import refused_hardware
import refused_names_and_network
import refused_pools
import refused_trust_and_versions
from fleet_configuration import changed, faults, paths
from pydantic import BaseModel
from refusal_row import Row

from fleet.draft import MAPPINGS, SINGLES
from fleet.errors import dotted

ROWS: Final = (
    *refused_hardware.ROWS,
    *refused_pools.ROWS,
    *refused_trust_and_versions.ROWS,
    *refused_names_and_network.ROWS,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_this_is_refused(row: Row):
    found = faults(changed(row.edits))

    assert sorted(dotted(fault.path) for fault in found) == sorted((row.at, *row.also))
    line = next(str(fault) for fault in found if dotted(fault.path) == row.at)
    assert not [word for word in row.says if word not in line], line


def test_no_two_rows_have_one_id():
    ids = [row.id for row in ROWS]
    assert not {id_ for id_ in ids if ids.count(id_) > 1}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_refusal_is_one_line_with_all_four_parts(row: Row):
    for fault in faults(changed(row.edits)):
        assert re.fullmatch(r"\S.*: saw .+; allowed: .+; fix: .+", str(fault)), (
            "path, seen, allowed and fix, on one line"
        )


@pytest.mark.parametrize(("length", "refused"), [(36, []), (37, [f"pools.{'p' * 37}"])])
def test_a_pools_name_may_fill_a_compute_name_to_the_last_character(length: int, refused: list[str]):
    # gh-runner-…-us-central1-xxxx leaves 36 of 63.
    pool = {**changed({})["pools"]["presubmit-cpu"], "labels": ["another"]}
    assert paths(changed({f"pools.{'p' * length}": pool})) == refused


@pytest.mark.parametrize(("length", "refused"), [(19, []), (20, ["google.name_prefix"])])
def test_a_prefix_may_fill_an_account_id_to_the_last_character(length: int, refused: list[str]):
    # …-reconciler leaves 19 of 30.
    assert paths(changed({"google.name_prefix": "p" * length})) == refused


def _long_pool() -> dict[str, Any]:
    return changed(next(row.edits for row in ROWS if row.id == "a pool's name that is too long"))


def test_the_name_proposed_for_a_pool_loads():
    raw = _long_pool()
    [fault] = faults(raw)
    proposed = fault.fix.removeprefix("rename it to ")

    raw["pools"][proposed] = raw["pools"].pop(fault.path[1])

    assert paths(raw) == []


def test_the_prefix_proposed_for_accounts_loads():
    raw = changed({"google.name_prefix": "gh-runner-of-the-build-farm"})
    [fault] = faults(raw)

    raw["google"]["name_prefix"] = fault.fix.removeprefix("write ")

    assert paths(raw) == []


def test_the_name_proposed_for_an_upper_case_pool_loads():
    raw = changed({"pools.presubmit-cpu": changed({})["pools"]["presubmit-cpu"]})
    raw["pools"]["Presubmit_CPU"] = raw["pools"].pop("presubmit-cpu")
    [fault] = faults(raw)

    raw["pools"][fault.fix.removeprefix("write ")] = raw["pools"].pop("Presubmit_CPU")

    assert paths(raw) == []


def _free_range_is_free(edits: dict[str, str]) -> bool:
    raw = changed(edits)
    [fault] = faults(raw)
    raw["network"]["regions"][fault.path[-1]] = fault.fix.removeprefix("choose a range such as ")
    return paths(raw) == []


def test_the_range_proposed_for_an_overlap_is_free():
    assert _free_range_is_free({"network.regions.us-east1": "10.30.0.0/20"})


def test_the_range_proposed_for_an_overlap_is_free_of_later_regions_too():
    # us-west1 stands behind us-east1, and has just the range that is proposed.
    assert _free_range_is_free({"network.regions.us-east1": "10.30.0.0/20", "network.regions.us-west1": "10.0.0.0/20"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("pools.postsubmit-cpu.scaling.schedules.workday.cron", "0 8 * * 1-5\n", id="cron"),
        pytest.param("trust_levels.basic.artifacts.bucket", "acme-merged-artifacts\n", id="bucket"),
        pytest.param("trust_levels.basic.allowed_refs", ["refs/heads/main\n"], id="ref"),
        pytest.param("google.labels.cost-center", "ci\n", id="label"),
        pytest.param("pools.presubmit-cpu.labels", ["build-farm\n"], id="runner label"),
    ],
)
def test_a_value_that_ends_in_a_line_break_is_refused(path: str, value: Any):
    # YAML's `|` leaves one behind.
    assert faults(changed({path: value}))


def test_a_pool_may_be_parked_at_a_maximum_of_zero():
    # Google's autoscaler takes 0 (magic-modules#11083), and the testing environment lives on it.
    region = "pools.presubmit-cpu.regions.us-west1"
    assert paths(changed({f"{region}.min": 0, f"{region}.max": 0})) == []


# What a real preview lets through, although it fails or does harm at `up` ------------------------------------------

REFUSED_HERE: Final[dict[str, tuple[str, ...]]] = {
    "group: any text as target shape": ("a shape nobody has",),
    "group: two versions where the shape forbids them": (
        "two versions on BALANCED, by count",
        "two versions on BALANCED, by share",
    ),
    "group: a canary both fixed and in percent": ("two kinds of canary",),
    "group: 120 percent": ("a canary of 120 percent",),
    "group: two versions of one name": ("a canary that is stable",),
    "group: zones of another region": ("a zone of another region",),
    "group: zones of nonsense": ("a zone the region lacks", "no zone"),
    "group: a target size of -1": ("a negative minimum", "a negative maximum"),
    "group: upper-case names": ("an upper-case pool", "an upper-case class", "an upper-case prefix"),
    "group: names of 64 characters": ("a pool's name that is too long",),
    "group: healing delay above 3600": ("a healing delay above an hour",),
    "autoscaler: minimum above maximum": ("a minimum above the maximum",),
    "autoscaler: a negative maximum": ("a negative maximum",),
    "autoscaler: CPU target of 0": ("a CPU target of 0",),
    "autoscaler: CPU target of 1.5": ("a CPU target of 1.5",),
    "autoscaler: no signal": ("no signal", "a signal nobody has"),
    "autoscaler: nonsense cron": (
        "a cron of words",
        "a cron of six fields",
        "a cron of an hour no day has",
        "a cron of five words",
    ),
    "autoscaler: cool-down of 0": ("a cool-down of nothing",),
    "template: GPU with MIGRATE": ("a GPU class that migrates", "a built-in GPU that migrates"),
    "template: SPOT with MIGRATE": ("a spot class that migrates",),
    "template: a life of 5 s": ("a life of 5 seconds",),
    "template: nonsense provisioning model, and FLEX_START": ("a provisioning nobody has",),
    "template: nonsense maintenance": ("a maintenance nobody has",),
    "template: nonsense machine type": ("a machine type nobody has", "a size the series lacks"),
    "template: nonsense disk type": ("a disk type nobody has", "pd-ssd where only Hyperdisk boots"),
    "template: disk with neither source nor image": (
        "an image of no source",
        "a stable version without the class's image",
    ),
    "template: disk size 0": ("a disk of nothing",),
    "template: upper-case labels": ("an upper-case label", "an upper-case label's value"),
    "bucket: any name": (
        "an upper-case bucket",
        "a bucket of 64 characters",
        "a bucket named for Google",
        "a default bucket above 63",
    ),
    "bucket: any location": ("a bucket location nobody has",),
    "bucket: lifecycle rule with an empty condition": ("a lifecycle without days", "a cache kept for no day"),
    "secret: id with a slash": ("a secret id with a slash",),
    "network: nonsense ranges": ("a range of nonsense", "a range outside IPv4", "a range with host bits"),
    "image: no source": ("an image of no source",),
    "image: two sources": ("an image of two sources",),
}
"""What our configuration can say wrongly, and the rows that refuse it."""

CANNOT_BE_SAID: Final[dict[str, tuple[str, ...]]] = {
    "group: redistribution that conflicts with the shape": ("redistribution", "instance_redistribution_type"),
    "group: surge and unavailable figures that conflict": ("max_surge", "max_unavailable", "surge", "unavailable"),
    "group: RECREATE with surge": ("replacement_method", "update_policy"),
    "group: no version takes the rest, or three versions, or none": ("target_size", "version", "weights"),
    "group: named port 99999": ("named_port", "named_ports", "ports"),
    "autoscaler: any text as mode": ("mode",),
    "template: GPU with default maintenance": ("on_host_maintenance",),
    "template: spot without preemptible, or with automatic restart": ("preemptible", "automatic_restart"),
    "template: termination action without spot, or missing": ("termination_action", "instance_termination_action"),
    "template: two ends of life": ("termination_time",),
    "template: nonsense network card or scope": ("nic_type", "scopes"),
    "template: no network interface, no boot disk": ("network_interfaces", "disks", "network", "subnetwork"),
    "template: upper-case tags": ("tags", "network_tags"),
    "template: startup script given twice": ("startup_script", "metadata"),
    "bucket: nonsense storage class or access prevention": ("storage_class", "public_access_prevention"),
    "bucket: soft delete of 5 s": ("soft_delete", "soft_delete_seconds"),
    "function: memory, timeout, name, source": ("memory", "timeout", "timeout_seconds", "source", "functions"),
    "run service: counts, memory, containers": ("containers", "min_instances", "max_instances"),
    "scheduler: no or nonsense schedule, method, region": ("http_method", "method", "jobs"),
    "secret: a life of 1d": ("ttl",),
    "grants: nonsense roles, conditions, members": ("role", "roles", "members", "condition", "iam"),
    "firewall: egress with source ranges": ("source_ranges", "direction", "firewall"),
    "firewall: nonsense ports": ("port", "ports", "health_port"),
    "health check: timeout above interval, path without slash": (
        "interval",
        "interval_seconds",
        "path",
        "request_path",
    ),
    "alert: two kinds in one condition, odd durations": ("alerts", "alert"),
    "address translation: odd addresses or ports": ("nat_ips", "ports_per_vm", "min_ports_per_vm"),
}
"""What only code decides: the fields that would let a file say it, none of which exists."""


def _fields(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from _fields(field.annotation)
    for inside in get_args(annotation):
        yield from _fields(inside)


@pytest.mark.parametrize("item", REFUSED_HERE)
def test_what_a_preview_lets_through_has_a_row(item: str):
    known = {row.id for row in ROWS}
    assert REFUSED_HERE[item]
    assert not set(REFUSED_HERE[item]) - known


@pytest.mark.parametrize("item", CANNOT_BE_SAID)
def test_what_no_row_refuses_has_no_field(item: str):
    known = {field for model in (*SINGLES.values(), *MAPPINGS.values()) for field in _fields(model)}
    assert {"cool_down_seconds", "source_snapshot", "percent"} <= known, "unions are walked into"
    found = known & set(CANNOT_BE_SAID[item])
    assert not found, f"the file can say {found} now: move the item to REFUSED_HERE, with rows"
