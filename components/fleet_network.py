"""The fleet's own network: nothing gets in but Google's health probes, and only to the health port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_gcp import compute

from fleet.metadata import HEALTH_PORT
from fleet.naming import Names
from fleet.settings import Settings

HEALTH_PROBE_RANGES: Final = ("35.191.0.0/16", "130.211.0.0/22")
"""Where Google's health checks come from (Cloud Load Balancing documentation, health check concepts, IP ranges)."""

_LAST_PRIORITY: Final = 65534
"""The lowest priority that a rule can have above Google's implied ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNetworkArgs:
    """The settings say regions, ranges and egress."""

    settings: Settings


class FleetNetwork(pulumi.ComponentResource):
    """A VPC with one subnet per region, a Cloud NAT per region where asked for, and a closed firewall.

    It opens no SSH: an operator's way in is a decision of its own, with its own rule and its own review.
    """

    network_id: pulumi.Output[str]
    subnetwork_ids: Mapping[str, pulumi.Output[str]]
    """Region to subnetwork."""

    def __init__(self, name: str, args: FleetNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:FleetNetwork", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names, regions = args.settings.names, args.settings.network.regions
        network = compute.Network(
            f"{name}-vpc",
            name=names.network,
            auto_create_subnetworks=False,
            routing_mode="REGIONAL",
            opts=child,
        )
        subnetworks = {
            region: compute.Subnetwork(
                f"{name}-{region}-subnet",
                name=names.network,
                region=region,
                network=network.id,
                ip_cidr_range=regions[region],
                private_ip_google_access=True,
                opts=child,
            )
            for region in sorted(regions)
        }
        compute.Firewall(
            f"{name}-deny-ingress",
            name=names.of("deny-ingress"),
            network=network.id,
            direction="INGRESS",
            priority=_LAST_PRIORITY,
            source_ranges=["0.0.0.0/0"],
            denies=[compute.FirewallDenyArgs(protocol="all")],
            opts=child,
        )
        compute.Firewall(
            f"{name}-allow-health-checks",
            name=names.of("allow-health-checks"),
            network=network.id,
            direction="INGRESS",
            priority=1000,
            source_ranges=list(HEALTH_PROBE_RANGES),
            target_tags=[names.vm_tag],
            allows=[compute.FirewallAllowArgs(protocol="tcp", ports=[str(HEALTH_PORT)])],
            opts=child,
        )
        if args.settings.network.egress == "nat":
            for region in sorted(regions):
                self._nat(name, region, names, network, child)
        self.network_id = network.id
        self.subnetwork_ids = {region: subnetwork.id for region, subnetwork in subnetworks.items()}
        self.register_outputs({"network_id": self.network_id, "subnetwork_ids": self.subnetwork_ids})

    @staticmethod
    def _nat(name: str, region: str, names: Names, network: compute.Network, opts: pulumi.ResourceOptions) -> None:
        router = compute.Router(
            f"{name}-{region}-router", name=names.of("router"), region=region, network=network.id, opts=opts
        )
        compute.RouterNat(
            f"{name}-{region}-nat",
            name=names.of("nat"),
            region=region,
            router=router.name,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
            # A job opens thousands of connections to one host (package mirrors, caches): 64 ports a VM run out.
            enable_dynamic_port_allocation=True,
            min_ports_per_vm=64,
            max_ports_per_vm=4096,
            enable_endpoint_independent_mapping=False,
            opts=opts,
        )
