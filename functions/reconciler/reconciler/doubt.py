"""Which sources are not to be believed in this run, and why. Pure.

A query that failed is known to `gather`. Here are those that succeeded and said too little: a list that is empty, or
less than half of what is expected, while another source still shows things that belong to it. The expectation is what
the last runs saw; disappointed, it halves with each run, so a change that is real is believed after a few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .observation import Observation

RUNNERS = "GitHub's list of runners"
GRANTS = "the broker's list of grants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """By source: why it is not believed."""

    runners: str = ""
    grants: str = ""
    groups: Mapping[str, str]

    def all(self) -> dict[str, str]:
        """All of them, by the source's name."""
        said = {RUNNERS: self.runners, GRANTS: self.grants}
        said |= {f"group {name}": why for name, why in self.groups.items()}
        return {source: why for source, why in said.items() if why}


def doubts(seen: Observation, expected: Mapping[str, int]) -> Doubts:
    """What not to believe."""
    return Doubts(runners=_runners(seen, expected), grants=_grants(seen, expected), groups=_groups(seen, expected))


def expectations(seen: Observation, expected: Mapping[str, int]) -> dict[str, int]:
    """What the next run expects. Of a source that was not seen, what this one did."""
    counts: dict[str, int | None] = {
        "runners": None if seen.listings is None else min(map(len, seen.listings)),
        "grants": None if seen.grants is None else len(seen.grants),
    }
    counts |= {f"group/{name}": None if look is None else len(look.members) for name, look in seen.groups.items()}
    return {
        name: expected.get(name, 0) if count is None else max(count, expected.get(name, 0) // 2)
        for name, count in counts.items()
    }


def _runners(seen: Observation, expected: Mapping[str, int]) -> str:
    if seen.listings is None:
        return seen.failures.get("runners", "it was not read")
    vms = sum(len(look.vms) for look in seen.groups.values() if look is not None)
    return _shrunk(min(map(len, seen.listings)), expected.get("runners", 0), vms, "VMs")


def _grants(seen: Observation, expected: Mapping[str, int]) -> str:
    if seen.grants is None:
        return seen.failures.get("grants", "it was not read")
    if seen.listings is None:
        return ""
    alive = {vm.id for look in seen.groups.values() if look is not None for vm in look.vms}
    # Most VMs that live have one: few of them boot at any moment.
    registered = {runner.instance_id for runner in seen.listings[0].values()} & alive
    known = registered & seen.grants.keys()
    if not seen.grants and alive:
        return f"it lists nothing, and there are {len(alive)} VMs"
    # Every registered VM had its grant first. A list that does not know them is another list.
    if len(known) * 2 < len(registered):
        return f"it knows {len(known)} of {len(registered)} VMs that are registered"
    return _shrunk(len(seen.grants), expected.get("grants", 0), len(alive), "VMs")


def _groups(seen: Observation, expected: Mapping[str, int]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, look in seen.groups.items():
        if look is None:
            found[name] = seen.failures.get(f"group/{name}", "it was not read")
        elif not look.members and look.target:
            found[name] = f"it lists nothing, and its target size is {look.target}"
        else:
            found[name] = _shrunk(len(look.members), expected.get(f"group/{name}", 0), look.target, "VMs wanted")
    return {name: why for name, why in found.items() if why}


def _shrunk(count: int, expected: int, others: int, what: str) -> str:
    if count * 2 >= min(expected, others):
        return ""
    return f"it has {count} entries where {expected} are expected, and there are {others} {what}"
