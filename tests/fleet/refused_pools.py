"""Pools that must be refused: references, regions and zones, sizes, canaries, scaling, and overlapping labels."""

from __future__ import annotations

from typing import Any, Final

from fleet_configuration import CANARY, DELETE, valid
from refusal_row import Row

POOL: Final = "pools.presubmit-cpu"
WEST: Final = f"{POOL}.regions.us-west1"
GPU_WEST: Final = "pools.presubmit-gpu.regions.us-west1"
A100: Final = "pools.presubmit-a100"
WORKDAY: Final = "pools.postsubmit-cpu.scaling.schedules.workday"

ARM: Final = "pools.presubmit-arm64"
JOBS: Final[dict[str, Any]] = {
    f"{POOL}.scaling": {"signal": "jobs"},
    **{f"{POOL}.regions.{region}.min": 0 for region in ("us-central1", "us-west1")},
}
"""What makes the pool follow jobs."""

GPU: Final = "pools.presubmit-gpu"
GPU_JOBS: Final[dict[str, Any]] = {
    f"{GPU}.scaling": {"signal": "jobs"},
    **{f"{GPU}.regions.{region}.min": 0 for region in valid()["pools"]["presubmit-gpu"]["regions"]},
}

_TWIN: Final[dict[str, Any]] = {**valid()["pools"]["presubmit-cpu"], "labels": []}

ROWS: Final = (
    Row("an unknown trust level", {f"{POOL}.trust": "minimial"}, f"{POOL}.trust", ("did you mean minimal?",)),
    Row("a level without settings", {f"{POOL}.trust": "releaser"}, f"{POOL}.trust", ("basic, minimal",)),
    Row("an unknown class", {f"{POOL}.machine_class": "cpus"}, f"{POOL}.machine_class", ("did you mean cpu?",)),
    Row(
        "a region not in the network",
        {f"{POOL}.regions.us-west4": {"zones": ["a"], "min": 1, "max": 1}},
        f"{POOL}.regions.us-west4",
        ('"us-west4"', "network.regions", "us-central1, us-east1, us-west1"),
    ),
    Row(
        "a zone of another region",
        {f"{WEST}.zones": ["us-central1-a"]},
        f"{WEST}.zones",
        ('"us-central1-a"', "a zone of us-west1: a, b, c"),
    ),
    Row("a zone the region lacks", {f"{WEST}.zones": ["a", "f"]}, f"{WEST}.zones", ('"f"', "choose out of a, b, c")),
    Row("one zone twice", {f"{WEST}.zones": ["a", "a"]}, f"{WEST}.zones", ("us-west1-a twice", "remove one")),
    Row(
        "one zone written in two ways",
        {f"{WEST}.zones": ["a", "us-west1-a"]},
        f"{WEST}.zones",
        ("us-west1-a twice",),
    ),
    Row(
        "a group that two places take over",
        {f"{WEST}.group": "gh-runner-old", f"{POOL}.regions.us-central1.group": "gh-runner-old"},
        f"{WEST}.group",
        ('"gh-runner-old"', "pools.presubmit-cpu.regions.us-central1 does"),
    ),
    Row("a group that cannot be one", {f"{WEST}.group": "Old_Group"}, f"{WEST}.group", ("1 to 63 of a-z",)),
    Row("no zone", {f"{WEST}.zones": []}, f"{WEST}.zones", ("zone letters",)),
    Row("a minimum above the maximum", {f"{WEST}.min": 11}, f"{WEST}.min", ("saw 11", "write 10 or less")),
    Row("a fixed pool of two sizes", {f"{GPU_WEST}.min": 1}, f"{GPU_WEST}.min", ("one size", "write min: 2")),
    Row("a negative minimum", {f"{WEST}.min": -1}, f"{WEST}.min", ("saw -1", "0 to 2000")),
    Row("a negative maximum", {f"{WEST}.max": -1}, f"{WEST}.max", ("saw -1", "0 to 2000")),
    Row("a size above a group's limit", {f"{WEST}.max": 2001}, f"{WEST}.max", ("0 to 2000",)),
    Row("a maximum left out", {f"{WEST}.max": DELETE}, f"{WEST}.max", ("saw nothing", "add max")),
    Row("a canary of 0 percent", {f"{POOL}.canary": {"percent": 0}}, f"{POOL}.canary.percent", ("1 to 50",)),
    Row("a canary of 51 percent", {f"{POOL}.canary": {"percent": 51}}, f"{POOL}.canary.percent", ("1 to 50",)),
    Row("a canary of 120 percent", {f"{POOL}.canary": {"percent": 120}}, f"{POOL}.canary.percent", ("1 to 50",)),
    Row("a canary of no VM", {f"{POOL}.canary": {"instances": 0}}, f"{POOL}.canary.instances", ("1 to 2000",)),
    Row(
        "a canary larger than its group",
        {f"{POOL}.canary": {"instances": 11}},
        f"{POOL}.canary.instances",
        ("saw 11", "us-central1's max, 10"),
        also=(f"{POOL}.canary.instances",),
    ),
    Row(
        "two kinds of canary",
        {f"{POOL}.canary": {"instances": 1, "percent": 10}},
        f"{POOL}.canary",
        ('"percent": 10',),
    ),
    Row(
        "two versions on BALANCED, by count",
        {f"{A100}.canary": {"instances": 1}},
        f"{A100}.canary",
        ("BALANCED group holds one version", "write {regions: [us-central1]}"),
    ),
    Row(
        "two versions on BALANCED, by share",
        {f"{A100}.canary": {"percent": 10}},
        f"{A100}.canary",
        ("BALANCED group holds one version",),
    ),
    Row(
        "a canary in a region the pool lacks",
        {f"{A100}.canary": {"regions": ["us-west1"]}},
        f"{A100}.canary.regions",
        ('"us-west1"', "us-central1, us-east1"),
    ),
    Row(
        "a canary in every region",
        {f"{A100}.canary": {"regions": ["us-central1", "us-east1"]}},
        f"{A100}.canary.regions",
        ("not all", "leave one region out"),
    ),
    Row(
        "a signal nobody has",
        {f"{POOL}.scaling": {"signal": "cpus"}},
        f"{POOL}.scaling.signal",
        ("jobs, cpu, fixed, schedule", "did you mean cpu?"),
    ),
    Row(
        "a CPU signal where there may be no VM to measure",
        {f"{POOL}.regions.us-west1.min": 0},
        f"{POOL}.regions.us-west1.min",
        ("would never grow", "write min: 1"),
    ),
    Row("no signal", {f"{POOL}.scaling": {}}, f"{POOL}.scaling", ("signal: jobs | cpu | fixed | schedule",)),
    Row("a CPU target of 0", {f"{POOL}.scaling.target": 0}, f"{POOL}.scaling.target", ("above 0, at most 1",)),
    Row("a CPU target of 1.5", {f"{POOL}.scaling.target": 1.5}, f"{POOL}.scaling.target", ("saw 1.5", "at most 1")),
    Row(
        "a cool-down of nothing",
        {f"{POOL}.scaling.cool_down_seconds": 0},
        f"{POOL}.scaling.cool_down_seconds",
        ("saw 0", "15 to 3600"),
    ),
    Row(
        "more idle VMs than the pool may have",
        {"pools.presubmit-arm64.scaling.idle": 6},
        "pools.presubmit-arm64.scaling.idle",
        ("saw 6", "maximum, 5"),
    ),
    Row(
        "more idle VMs than a pool of two regions may have",
        {**JOBS, f"{POOL}.scaling.idle": 21},
        f"{POOL}.scaling.idle",
        ("saw 21", "maximum, 20"),
    ),
    Row(
        "a minimum where jobs size the group",
        {f"{ARM}.regions.us-central1.min": 2},
        f"{ARM}.regions.us-central1.min",
        ("saw 2", "0 with the jobs signal", "write min: 0, and 2 as the pool's scaling.idle"),
    ),
    Row(
        "a minimum above the maximum where jobs size the group",
        {f"{ARM}.regions.us-central1.min": 6},
        f"{ARM}.regions.us-central1.min",
        ("saw 6", "at most max, which is 5"),
    ),
    Row(
        "a region that the pool lacks in the order of growth",
        {**JOBS, f"{POOL}.scaling.region_order": ["us-wset1"]},
        f"{POOL}.scaling.region_order",
        ('"us-wset1"', "region of this pool: us-central1, us-west1", "did you mean us-west1?"),
    ),
    Row(
        "one region twice in the order of growth",
        {**JOBS, f"{POOL}.scaling.region_order": ["us-west1", "us-central1", "us-west1"]},
        f"{POOL}.scaling.region_order",
        ("us-west1 twice", "each region once", "remove one"),
    ),
    Row(
        "an order of growth without the jobs signal",
        {f"{POOL}.scaling.region_order": ["us-west1"]},
        f"{POOL}.scaling.region_order",
        ("the unknown key region_order",),
    ),
    Row(
        "a reserve where no job sizes the group",
        {f"{POOL}.standby": {"stopped": 1}},
        f"{POOL}.standby",
        ("none with the cpu signal", "choose the signal jobs"),
    ),
    Row(
        "a reserve of VMs with a GPU",
        {**GPU_JOBS, f"{GPU}.standby": {"stopped": 1}},
        f"{GPU}.standby",
        ('"stopped": 1', "none for a class with a GPU", "remove standby"),
    ),
    Row(
        "a reserve of VMs with Local SSDs",
        {**JOBS, "machine_classes.cpu.local_ssd_count": 1, f"{POOL}.standby": {"stopped": 1}},
        f"{POOL}.standby",
        ("none for a class with Local SSDs", "remove standby"),
    ),
    Row(
        "suspended VMs with more memory than can be suspended",
        {**JOBS, f"{POOL}.standby": {"suspended": 2, "stopped": 1}},
        f"{POOL}.standby.suspended",
        ("saw 2 VMs of 360 GB", "up to 208 GB", "write them as stopped"),
    ),
    Row(
        "a reserve larger than its group ever gets",
        {f"{ARM}.standby": {"suspended": 3, "stopped": 3}},
        f"{ARM}.standby",
        ("us-central1's max, 5, in all", "write 5 or less"),
    ),
    Row(
        "a reserve of less than nothing",
        {f"{ARM}.standby": {"suspended": -1}},
        f"{ARM}.standby.suspended",
        ("saw -1", "VMs of each group, 0 to 2000"),
    ),
    Row(
        "a reserve of a kind nobody knows",
        {f"{ARM}.standby": {"hibernated": 1}},
        f"{ARM}.standby.hibernated",
        ("unknown key",),
    ),
    Row("a reserve without its kind", {f"{ARM}.standby": 2}, f"{ARM}.standby", ("{suspended: n, stopped: n}",)),
    Row("a cron of words", {f"{WORKDAY}.cron": "every weekday"}, f"{WORKDAY}.cron", ("five cron fields", "minute")),
    Row("a cron of six fields", {f"{WORKDAY}.cron": "0 0 8 * * 1-5"}, f"{WORKDAY}.cron", ("five cron fields",)),
    Row(
        "a cron of an hour no day has",
        {f"{WORKDAY}.cron": "0 25 * * 1-5"},
        f"{WORKDAY}.cron",
        ("0 25",),
    ),
    Row(
        "a cron of five words",
        {f"{WORKDAY}.cron": "at eight on each weekday"},
        f"{WORKDAY}.cron",
        ("five cron fields",),
    ),
    Row(
        "a time zone nobody has",
        {f"{WORKDAY}.time_zone": "America/Los_Angelos"},
        f"{WORKDAY}.time_zone",
        ("did you mean America/Los_Angeles?",),
    ),
    Row(
        "a schedule shorter than 5 minutes",
        {f"{WORKDAY}.duration_seconds": 299},
        f"{WORKDAY}.duration_seconds",
        ("saw 299", "300 to"),
    ),
    Row("a schedule above the maximum", {f"{WORKDAY}.min": 9}, f"{WORKDAY}.min", ("saw 9", "write 8 or less")),
    Row(
        "a schedule that Google cannot name",
        {
            "pools.postsubmit-cpu.scaling.schedules.Work Day": valid()["pools"]["postsubmit-cpu"]["scaling"][
                "schedules"
            ]["workday"]
        },
        "pools.postsubmit-cpu.scaling.schedules.Work Day",
        ("lower-case",),
    ),
    Row(
        "trust and class twice",
        {"pools.presubmit-more": {**_TWIN, "labels": ["build-farm"]}},
        "pools.presubmit-more.labels",
        ("every label of presubmit-cpu", "merge the two pools"),
    ),
    Row(
        "labels that another pool's contain",
        {"pools.presubmit-more": _TWIN},
        "pools.presubmit-more.labels",
        ("every label of presubmit-cpu but build-farm",),
    ),
    Row(
        "labels that differ in case only",
        {"pools.presubmit-more": {**_TWIN, "labels": ["Build-Farm"]}},
        "pools.presubmit-more.labels",
        ("every label of presubmit-cpu",),
    ),
    Row("a label with a comma", {f"{POOL}.labels": ["a,b"]}, f"{POOL}.labels", ('"a,b"', "without comma")),
    Row(
        "more labels than a runner takes",
        {f"{POOL}.labels": [f"label-{number}" for number in range(90)]},
        f"{POOL}.labels",
        ("90 further labels", "100 labels in all"),
    ),
    Row(
        "a canary version without the class's image",
        {f"versions.{CANARY}.images.arm64": DELETE},
        f"versions.{CANARY}.images",
        ("images for cpu, gpu", "pools.presubmit-arm64 needs", "add images.arm64"),
    ),
)
