"""Every name that the fleet could make, in every region there is, is within the limit of the service that takes it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.catalog.regions import ZONES
from fleet.checks.names import FUNCTION_ACCOUNTS
from fleet.naming import (
    ACCOUNT_LIMIT,
    ACCOUNT_MINIMUM,
    BUCKET_LIMIT,
    COMPUTE_LIMIT,
    HASH_CHARACTERS,
    RUNNER_LIMIT,
    SCALE_SET_LIMIT,
    VM_SUFFIX,
    Names,
    short_hash,
)
from fleet.trust import LEVELS

PREFIXES = ("gh-runner", "gh-runner-testing")
POOLS = tuple(f"{use}-{kind}" for use in ("presubmit", "postsubmit") for kind in ("cpu", "gpu", "a100", "arm64"))
LONGEST_VERSION = "2026-11-02-99"
RFC1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ROLES = (*LEVELS, *FUNCTION_ACCOUNTS)


class Cell(NamedTuple):
    """One group of the full matrix."""

    names: Names
    pool: str
    region: str


def matrix() -> Iterator[Cell]:
    """Every prefix, pool and region together."""
    for prefix in PREFIXES:
        names = Names(prefix=prefix, project="iree-oss")
        yield from (Cell(names, pool, region) for pool in POOLS for region in ZONES)


def test_the_limits_are_those_of_google_and_github():
    assert (COMPUTE_LIMIT, ACCOUNT_MINIMUM, ACCOUNT_LIMIT, BUCKET_LIMIT, RUNNER_LIMIT) == (63, 6, 30, 63, 64)
    assert SCALE_SET_LIMIT == 45
    assert len("-xxxx") == VM_SUFFIX


def test_the_matrix_holds_the_longest_region_there_is():
    assert max(ZONES, key=len) == "northamerica-northeast1"
    assert len(list(matrix())) == len(PREFIXES) * len(POOLS) * len(ZONES)


def test_every_group_fits_and_is_a_name_of_rfc_1035():
    groups = [names.group(pool, region, ZONES[region]) for names, pool, region in matrix()]
    assert max(map(len, groups)) <= 63
    assert not [group for group in groups if not RFC1035.fullmatch(group)]


def test_every_vm_fits_with_the_suffix_that_its_group_adds():
    bases = [names.vm_base(pool, region) for names, pool, region in matrix()]
    assert max(map(len, bases)) <= 58
    assert max(map(len, bases)) + VM_SUFFIX <= 63
    assert not [base for base in bases if not RFC1035.fullmatch(base)]


def test_every_vm_name_fits_as_the_name_of_its_runner():
    assert max(len(names.vm_base(pool, region)) + VM_SUFFIX for names, pool, region in matrix()) <= 64


def test_every_template_and_image_fits_with_the_longest_version_id():
    templates = {names.template(pool, LONGEST_VERSION) for names, pool, _ in matrix()}
    images = {names.image(pool.rpartition("-")[2], LONGEST_VERSION) for names, pool, _ in matrix()}
    assert max(map(len, templates | images)) <= 63
    assert not [name for name in templates | images if not RFC1035.fullmatch(name)]


def test_every_scale_set_fits_and_no_two_share_a_name():
    sets = {names.scale_set(pool) for names, pool, _ in matrix()}
    assert len(sets) == len(PREFIXES) * len(POOLS)
    assert max(map(len, sets)) <= 45


def test_two_environments_of_one_project_count_apart():
    made = {Names(prefix=prefix, project="iree-oss").metric("jobs") for prefix in PREFIXES}
    assert made == {"gh-runner/jobs", "gh-runner-testing/jobs"}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("role", ROLES)
def test_every_account_id_fits(prefix: str, role: str):
    account = Names(prefix=prefix, project="iree-oss").account(role)
    assert 6 <= len(account) <= 30
    assert RFC1035.fullmatch(account)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_bucket_fits_and_begins_with_the_project(prefix: str):
    names = Names(prefix=prefix, project="iree-oss")
    buckets = [names.boot_bucket, *map(names.artifact_bucket, LEVELS), *map(names.cache_bucket, LEVELS)]
    assert len(set(buckets)) == len(buckets), "no two levels share one"
    assert max(map(len, buckets)) <= 63
    assert all(bucket.startswith(f"iree-oss-{prefix}-") for bucket in buckets), "bucket names are global"


def test_a_bucket_that_configuration_names_keeps_that_name():
    assert Names(prefix="gh-runner", project="iree-oss").artifact_bucket("basic", "given") == "given"


def test_no_two_groups_of_the_matrix_share_a_name():
    cells = list(matrix())
    for name_of in (Names.vm_base, lambda names, pool, region: names.group(pool, region, ZONES[region])):
        assert len({name_of(*cell) for cell in cells}) == len(cells)


def test_no_two_templates_share_a_name():
    made = [
        Names(prefix=prefix, project="iree-oss").template(pool, version)
        for prefix in PREFIXES
        for pool in POOLS
        for version in ("2026-11-02", "2026-11-02-1", LONGEST_VERSION)
    ]
    assert len(set(made)) == len(made)


def test_a_group_of_other_zones_has_another_name():
    # Google cannot change a group's zones; under one name the old group would be deleted first, with its jobs.
    names = Names(prefix="gh-runner", project="iree-oss")
    made = [names.group("presubmit-cpu", "us-west1", zones) for zones in ((), ("a",), ("b",), ("a", "b"))]
    assert len(set(made)) == len(made)


def test_the_order_of_zones_changes_no_name():
    names = Names(prefix="gh-runner", project="iree-oss")
    zones = ZONES["us-central1"]
    assert names.group("presubmit-cpu", "us-central1", zones) == names.group(
        "presubmit-cpu", "us-central1", tuple(reversed(zones))
    )


def test_zones_change_a_groups_name_and_no_vms():
    names = Names(prefix="gh-runner", project="iree-oss")
    group = names.group("presubmit-cpu", "us-west1", ["us-west1-a"])
    assert group.startswith("gh-runner-presubmit-cpu-us-west1-")
    assert names.vm_base("presubmit-cpu", "us-west1") == "gh-runner-presubmit-cpu-us-west1"


def test_a_groups_name_is_the_same_in_every_run():
    # Another name would replace every group of a running fleet.
    assert short_hash(["us-west1-a", "us-west1-b"]) == short_hash(["us-west1-b", "us-west1-a"]) == "ypf1"


@given(st.lists(st.text(), max_size=5))
def test_a_hash_is_four_characters_that_any_name_may_end_in(parts: list[str]):
    assert re.fullmatch(r"[a-z0-9]{4}", short_hash(parts))
    assert HASH_CHARACTERS == 4
