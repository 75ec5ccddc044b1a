"""Hardware that must be refused: machine types, GPUs, disks, platforms, and the zones that offer none of it."""

from __future__ import annotations

from typing import Final

from refusal_row import Row

CPU, GPU, A100, ARM64 = (f"machine_classes.{name}" for name in ("cpu", "gpu", "a100", "arm64"))
T4: Final = {"type": "nvidia-tesla-t4", "count": 1}

ROWS: Final = (
    Row("a GPU class that migrates", {f"{GPU}.maintenance": "migrate"}, f"{GPU}.maintenance", ("GPU", "terminate")),
    Row(
        "a built-in GPU that migrates",
        {f"{A100}.maintenance": "migrate"},
        f"{A100}.maintenance",
        ("GPU", "write terminate"),
    ),
    Row(
        "a spot class that migrates",
        {f"{CPU}.provisioning": "spot", f"{CPU}.maintenance": "migrate"},
        f"{CPU}.maintenance",
        ("spot", "write terminate"),
    ),
    Row("a maintenance nobody has", {f"{CPU}.maintenance": "MIGRATE"}, f"{CPU}.maintenance", ("migrate or terminate",)),
    Row("a provisioning nobody has", {f"{CPU}.provisioning": "flex"}, f"{CPU}.provisioning", ("standard or spot",)),
    Row("a shape nobody has", {f"{CPU}.shape": "any"}, f"{CPU}.shape", ('"any"', "even or balanced")),
    Row(
        "a machine type nobody has",
        {f"{CPU}.machine_type": "n1-standrad-96"},
        f"{CPU}.machine_type",
        ('"n1-standrad-96"', "did you mean n1-standard-96?"),
    ),
    Row(
        "a size the series lacks",
        {f"{CPU}.machine_type": "n1-standard-48"},
        f"{CPU}.machine_type",
        ('"n1-standard-48"', "fleet/catalog/machine_types.py"),
    ),
    Row("an architecture nobody has", {f"{CPU}.arch": "x86"}, f"{CPU}.arch", ('"x86"', "did you mean x64?")),
    Row("an x64 class on Arm", {f"{ARM64}.arch": "x64"}, f"{ARM64}.arch", ("t2a-standard-8 is", "write arm64")),
    Row(
        "a built-in GPU left unsaid",
        {f"{A100}.accelerator": None},
        f"{A100}.accelerator",
        ("saw nothing", "write {type: nvidia-tesla-a100, count: 1}"),
    ),
    Row(
        "a built-in GPU of another kind",
        {f"{A100}.accelerator.type": "nvidia-l4"},
        f"{A100}.accelerator",
        ("nvidia-l4", "a2-highgpu-1g has built in"),
        also=("pools.presubmit-a100.regions.us-central1.zones",),  # its zone f has none of the L4
    ),
    Row("two of one built-in GPU", {f"{A100}.accelerator.count": 2}, f"{A100}.accelerator", ('"count": 2', "count: 1")),
    Row(
        "a GPU on a machine type that takes none",
        {f"{GPU}.machine_type": "n2-standard-16"},
        f"{GPU}.accelerator",
        ("n2-standard-16", "n1 machine types only"),
    ),
    Row(
        "one T4 with 96 vCPUs",
        {f"{CPU}.accelerator": T4, "pools.presubmit-cpu.regions.us-west1.zones": ["a", "b"]},
        f"{CPU}.accelerator.count",
        ("saw 1", "4 of nvidia-tesla-t4 on n1-standard-96"),
    ),
    Row("three T4s", {f"{GPU}.accelerator.count": 3}, f"{GPU}.accelerator.count", ("saw 3", "1, 2, 4")),
    Row("no GPU at all", {f"{GPU}.accelerator.count": 0}, f"{GPU}.accelerator.count", ("1 to 16",)),
    Row(
        "a GPU nobody has",
        {f"{GPU}.accelerator.type": "nvidia-tesla-t5"},
        f"{GPU}.accelerator.type",
        ("no such GPU", "did you mean nvidia-tesla-t4?"),
    ),
    Row(
        "a built-in GPU attached to n1",
        {f"{GPU}.accelerator.type": "nvidia-l4"},
        f"{GPU}.accelerator.type",
        ("comes only built into a machine type",),
    ),
    Row(
        "a disk type nobody has",
        {f"{CPU}.disk_type": "pd-sdd"},
        f"{CPU}.disk_type",
        ("n1-standard-96 takes", "write pd-ssd"),
    ),
    Row(
        "pd-ssd where only Hyperdisk boots",
        {f"{CPU}.machine_type": "n4-standard-80"},
        f"{CPU}.disk_type",
        ('"pd-ssd"', "n4-standard-80", "write hyperdisk-balanced"),
    ),
    Row("a disk of nothing", {f"{CPU}.disk_gb": 0}, f"{CPU}.disk_gb", ("saw 0", "10 to 65536")),
    Row("a disk above the limit", {f"{CPU}.disk_gb": 65537}, f"{CPU}.disk_gb", ("10 to 65536",)),
    Row(
        "a number of local SSDs that n1 lacks",
        {f"{CPU}.local_ssd_count": 9},
        f"{CPU}.local_ssd_count",
        ("saw 9", "8, 16, 24 on n1-standard-96"),
    ),
    Row(
        "a local SSD where there is none",
        {f"{ARM64}.local_ssd_count": 1},
        f"{ARM64}.local_ssd_count",
        ("0 on t2a-standard-8",),
    ),
    Row("a negative number of local SSDs", {f"{CPU}.local_ssd_count": -1}, f"{CPU}.local_ssd_count", ("0 to 32",)),
    Row(
        "a CPU platform nobody has",
        {f"{CPU}.min_cpu_platform": "Intel Skylate"},
        f"{CPU}.min_cpu_platform",
        ("did you mean Intel Skylake?",),
    ),
    Row("three threads a core", {f"{CPU}.threads_per_core": 3}, f"{CPU}.threads_per_core", ("1 or 2",)),
    Row("threads on Arm", {f"{ARM64}.threads_per_core": 1}, f"{ARM64}.threads_per_core", ("leave it out",)),
    Row(
        "T2A where Google has none",
        {"pools.presubmit-arm64.regions": {"us-west1": {"zones": ["a"], "max": 5}}},
        "pools.presubmit-arm64.regions.us-west1.zones",
        ('"a"', "t2a-standard-8 is not offered", "t2a-standard-8 is in asia-southeast1, europe-west4, us-central1"),
    ),
    Row(
        "T4 where Google has none",
        {"pools.presubmit-gpu.regions.us-west1.zones": ["a", "c"]},
        "pools.presubmit-gpu.regions.us-west1.zones",
        ('"c"', "nvidia-tesla-t4 is not offered", "choose out of a, b"),
    ),
    Row(
        "A100 where Google has none",
        {"pools.presubmit-a100.regions.us-east1.zones": ["c"]},
        "pools.presubmit-a100.regions.us-east1.zones",
        ('"c"', "nvidia-tesla-a100 is not offered", "choose out of b"),
    ),
)
