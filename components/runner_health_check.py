"""The one health check that every group shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_gcp import compute

from fleet.metadata import HEALTH_PORT
from fleet.settings import Settings

HEALTH_PATH: Final = "/healthz"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHealthCheckArgs:
    """The settings give the fleet's name."""

    settings: Settings


class RunnerHealthCheck(pulumi.ComponentResource):
    """Asks every VM each 15 s and calls it unhealthy after three failures, as the original fleet did."""

    health_check_id: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerHealthCheckArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:RunnerHealthCheck", name, None, opts)
        check = compute.HealthCheck(
            f"{name}-check",
            name=args.settings.names.of("health"),
            check_interval_sec=15,
            timeout_sec=5,
            healthy_threshold=1,
            unhealthy_threshold=3,
            http_health_check=compute.HealthCheckHttpHealthCheckArgs(port=HEALTH_PORT, request_path=HEALTH_PATH),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.health_check_id = check.id
        self.register_outputs({"health_check_id": self.health_check_id})
