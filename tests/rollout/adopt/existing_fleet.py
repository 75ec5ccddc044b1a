"""A fleet as scripts made it, in the words of `gcloud … list --format=json`."""

from __future__ import annotations

from typing import Any

API = "https://www.googleapis.com/compute/v1"
PROJECT = "iree-oss"
CPU_IMAGE = f"{API}/projects/{PROJECT}/global/images/github-runner-cpu-2023-06-02-1685725199"


def template(group: str, kind: str, version: str = "52b7e2ecd5-5hh", **edits: Any) -> dict[str, Any]:
    gpus = {"gpu": "nvidia-tesla-t4", "a100": "nvidia-tesla-a100"}
    machines = {"cpu": "n1-standard-96", "gpu": "n1-standard-16", "a100": "a2-highgpu-1g", "arm64": "t2a-standard-8"}
    trust = {"presubmit": "minimal", "postsubmit": "basic"}[group]
    metadata = {
        "github-runner-group": group,
        "github-runner-type": kind,
        "github-runner-trust": trust,
        "github-runner-version": "2.319.1",
    }
    properties: dict[str, Any] = {
        "machineType": machines[kind],
        "disks": [
            {
                "boot": True,
                "initializeParams": {"diskSizeGb": "1000", "diskType": "pd-ssd", "sourceImage": CPU_IMAGE},
            }
        ],
        "serviceAccounts": [{"email": f"github-runner-{trust}-trust@{PROJECT}.iam.gserviceaccount.com"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in (metadata | edits).items()]},
    }
    if kind in gpus:
        properties["guestAccelerators"] = [{"acceleratorType": gpus[kind], "acceleratorCount": 1}]
    name = f"gh-runner-{group}-{kind}-{version}"
    return {"kind": "compute#instanceTemplate", "name": name, "properties": properties}


def group(
    runner_group: str,
    kind: str,
    region: str = "us-west1",
    zones: str = "abc",
    bounds: tuple[int, int] | None = (1, 10),
    **edits: Any,
) -> dict[str, Any]:
    """A regional group; `bounds` None: without autoscaler, of two VMs."""
    name = f"gh-runner-{runner_group}-{kind}-{region}"
    where = f"{API}/projects/{PROJECT}/regions/{region}"
    link = f"{API}/projects/{PROJECT}/global/instanceTemplates/{template(runner_group, kind)['name']}"
    document: dict[str, Any] = {
        "kind": "compute#instanceGroupManager",
        "name": name,
        "selfLink": f"{where}/instanceGroupManagers/{name}",
        "region": where,
        "baseInstanceName": name,
        "targetSize": 2,
        "distributionPolicy": {
            "zones": [{"zone": f"{API}/projects/{PROJECT}/zones/{region}-{zone}"} for zone in zones],
            "targetShape": "BALANCED" if kind == "a100" else "EVEN",
        },
        "instanceTemplate": link,
        "versions": [{"name": "base", "instanceTemplate": link}],
    }
    if bounds is not None:
        document["autoscaled"] = "yes"
        document["autoscaler"] = {
            "kind": "compute#autoscaler",
            "name": f"{name}-x7k2",
            "target": document["selfLink"],
            "autoscalingPolicy": {
                "minNumReplicas": bounds[0],
                "maxNumReplicas": bounds[1],
                "coolDownPeriodSec": 60,
                "cpuUtilization": {"utilizationTarget": 0.6},
                "mode": "ONLY_SCALE_OUT",
            },
        }
    return document | edits


def fleet() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Its templates and its groups."""
    templates = [
        template(name, kind) for name in ("presubmit", "postsubmit") for kind in ("cpu", "gpu", "arm64", "a100")
    ]
    groups = [
        group("presubmit", "cpu"),
        group("presubmit", "cpu", "us-central1", "abcf", (2, 6)),
        group("postsubmit", "cpu"),
        group("presubmit", "gpu", zones="ab", bounds=(2, 2)),
        group("postsubmit", "arm64", "us-central1", "abf", (1, 5)),
        group("postsubmit", "a100", "us-central1", "abcf", None, targetSize=1),
    ]
    return templates, groups
