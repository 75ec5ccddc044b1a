"""The network and the services' place: regions that exist, ranges that are ranges and do not overlap."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from fleet.catalog.regions import ZONES
from fleet.draft import Draft
from fleet.errors import Fault, not_in_the_world, show

PRIVATE: Final = tuple(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
SMALLEST_PREFIX: Final = 29
"""Google takes no primary range smaller than /29 (VPC documentation, subnets)."""


def network_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of regions and address ranges."""
    if draft.google and draft.google.services_region not in ZONES:
        region = draft.google.services_region
        yield not_in_the_world(("google", "services_region"), region, ZONES, "a Google Cloud region such as us-west1")
    if draft.network is None:
        return
    ranges = {region: found for region, text in draft.network.regions.items() if (found := _range(text))}
    checked: dict[str, ipaddress.IPv4Network] = {}
    for region, text in sorted(draft.network.regions.items()):
        at = ("network", "regions", region)
        if region not in ZONES:
            yield not_in_the_world(at, region, ZONES, "a Google Cloud region such as us-west1")
        network = ranges.get(region)
        if network is None:
            fix = _mend(text) or "write a range in that form"
            yield Fault(at, show(text), "an IPv4 range such as 10.10.0.0/20", fix)
            continue
        if not any(network.subnet_of(private) for private in PRIVATE) or network.prefixlen > SMALLEST_PREFIX:
            allowed = f"a private range (10/8, 172.16/12 or 192.168/16) of /{SMALLEST_PREFIX} or larger"
            yield Fault(at, show(text), allowed, f"choose a range such as {_free(20, ranges.values())}")
            continue
        for other, taken in checked.items():
            if network.overlaps(taken):
                free = _free(network.prefixlen, ranges.values())
                yield Fault(at, show(text), f"a range apart from {other}'s {taken}", f"choose a range such as {free}")
        checked[region] = network


def _range(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        return None


def _mend(text: str) -> str | None:
    try:
        return f"write {ipaddress.IPv4Network(text, strict=False)}, whose host bits are zero"
    except ValueError:
        return None


def _free(prefix: int, taken: Iterable[ipaddress.IPv4Network]) -> str:
    """The first range of 10.0.0.0/8 of that size that overlaps no other."""
    others = list(taken)
    candidates = PRIVATE[0].subnets(new_prefix=max(prefix, PRIVATE[0].prefixlen))
    free = (str(range_) for range_ in candidates if not any(range_.overlaps(other) for other in others))
    return next(free, "a smaller one")
