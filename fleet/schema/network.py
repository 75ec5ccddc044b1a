"""The fleet's own network: how VMs reach out, and one address range per region."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fleet.schema.base import Model

Egress = Literal["external_ip", "nat"]


class NetworkSettings(Model):
    """`external_ip` gives each VM an ephemeral address; `nat` gives none, and a Cloud NAT per region instead."""

    egress: Egress = Field(description="external_ip or nat")
    regions: dict[str, str] = Field(description="region: IPv4 range in CIDR form")
