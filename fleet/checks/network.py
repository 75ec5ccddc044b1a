"""The network: regions that exist, ranges that are ranges and do not overlap."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from fleet.catalog.regions import ZONES
from fleet.draft import Draft
from fleet.errors import Fault, show, unknown_name

SMALLEST_PREFIX: Final = 29
"""Google takes no primary range smaller than /29 (VPC documentation, subnets)."""


def network_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of regions and address ranges."""
    if draft.network is None:
        return
    ranges: dict[str, ipaddress.IPv4Network] = {}
    for region, text in sorted(draft.network.regions.items()):
        at = ("network", "regions", region)
        if region not in ZONES:
            yield unknown_name(at, region, ZONES, "Google Cloud region")
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError as error:
            yield Fault(at, show(text), "an IPv4 range such as 10.10.0.0/20", _mend(text) or f"correct it ({error})")
            continue
        if not network.is_private or network.prefixlen > SMALLEST_PREFIX:
            allowed = f"a private range of /{SMALLEST_PREFIX} or larger, such as 10.10.0.0/20"
            yield Fault(at, show(text), allowed, "choose such a range")
            continue
        for other, taken in ranges.items():
            if network.overlaps(taken):
                allowed = f"a range apart from {other}'s {taken}"
                yield Fault(at, show(text), allowed, f"choose a range such as {_free(network, list(ranges.values()))}")
        ranges[region] = network


def _mend(text: str) -> str | None:
    try:
        return f"write {ipaddress.IPv4Network(text, strict=False)}, whose host bits are zero"
    except ValueError:
        return None


def _free(wanted: ipaddress.IPv4Network, taken: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first range of the same size in 10.0.0.0/8 that overlaps no other."""
    candidates = ipaddress.IPv4Network("10.0.0.0/8").subnets(new_prefix=max(wanted.prefixlen, 8))
    return next((free for free in candidates if not any(free.overlaps(other) for other in taken)), wanted)
