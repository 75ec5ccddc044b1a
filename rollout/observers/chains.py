"""What is still to come after each step: the longest way to the end, by the plan's weights."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """A chain of steps: its weight in expected seconds, and how many steps it has."""

    seconds: float
    steps: int


def members(need: str, ordered: list[str]) -> list[str]:
    """What a need means among the given ids, which are sorted: `NAME/*` is NAME and all that lies below it."""
    if not need.endswith("/*"):
        return [need]
    prefix = need[:-1]
    at = bisect_left(ordered, prefix)
    end = bisect_left(ordered, prefix[:-1] + chr(ord("/") + 1), at)
    return [need[:-2], *ordered[at:end]]


def ways(described: Mapping[str, Mapping[str, Any]]) -> dict[str, Way]:
    """By id, the longest way that begins with this step, itself included. Takes steps as RUN_STARTED describes them.

    Linear in steps and needs, without recursion: a `NAME/*` is a node of its own. A need of an unknown step counts for
    nothing.
    """
    ordered = sorted(described)
    needs: dict[str, list[str]] = {step: list(facts.get("needs", ())) for step, facts in described.items()}
    for need in {need for listed in needs.values() for need in listed if need.endswith("/*")}:
        needs[need] = members(need, ordered)
    followers: defaultdict[str, list[str]] = defaultdict(list)
    missing = dict.fromkeys(needs, 0)
    for step, listed in needs.items():
        for need in listed:
            if need in needs:
                followers[need].append(step)
                missing[step] += 1
    order = [step for step, count in missing.items() if count == 0]
    for step in order:  # grows while it is read
        for follower in followers[step]:
            missing[follower] -= 1
            if missing[follower] == 0:
                order.append(follower)
    found: dict[str, Way] = {}
    for step in reversed(order):
        after = max((found[follower] for follower in followers[step] if follower in found), default=Way(0, 0))
        facts = described.get(step)
        found[step] = Way(after.seconds + float(facts.get("weight", 1)), after.steps + 1) if facts else after
    return {step: found[step] for step in described if step in found}
