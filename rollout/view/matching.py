"""Which VM a registration at GitHub is of: by what its labels say, else by its name. Pure.

A runner that was registered with labels of its own carries `instance-id=`. One of a scale set has none, so its name
ends in a dash and the instance's id in base 36 (ADR 0032).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rollout.view.snapshot import RunnerSeen, VmSeen

_LABELLED: Final = re.compile(r"instance-id=([1-9][0-9]{0,19})")
_SUFFIX: Final = re.compile(r"[1-9a-z][0-9a-z]{0,12}")
"""2^64 - 1, the greatest id, has 13 characters in base 36."""


def instance_id(name: str, labels: Iterable[str]) -> str:
    """The numeric id of a registration's VM; empty where neither labels nor name can hold one."""
    labelled = [match[1] for label in labels if (match := _LABELLED.fullmatch(label.lower()))]
    if labelled:
        return labelled[0] if len(labelled) == 1 else ""
    suffix = name.lower().rpartition("-")[2]
    if not _SUFFIX.fullmatch(suffix) or int(suffix, 36) >= 1 << 64:
        return ""
    return str(int(suffix, 36))


class Registered:
    """GitHub's runners, by the VMs that they are of."""

    def __init__(self, runners: Iterable[RunnerSeen]) -> None:
        self._by_id: dict[str, list[RunnerSeen]] = {}
        self._by_name: dict[str, list[RunnerSeen]] = {}
        for runner in runners:
            self._by_id.setdefault(instance_id(runner.name, runner.labels), []).append(runner)
            self._by_name.setdefault(runner.name.lower(), []).append(runner)

    def of(self, vm: VmSeen) -> tuple[RunnerSeen, ...]:
        """The runners of a VM; more than one where GitHub has not dropped an earlier one."""
        by_id = self._by_id.get(vm.id, []) if vm.id else []
        named = [runner for runner in self._by_name.get(vm.name, []) if runner not in by_id]
        return (*by_id, *named)
