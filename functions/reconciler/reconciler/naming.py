"""Whose runner a registration is: by what its labels say, else by its name. Pure.

A runner that was registered by the REST call carries `instance-id=` and `zone=`. One of a scale set has no labels of
its own, so its name ends in the instance's id in base 36: NAME-ID, NAME cut off where both would be longer than 64.
A group's VMs are called as it says (`baseInstanceName`), by our names as itself without its last part, a hash; each has
a suffix of four characters of Google's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from .fleet_table import Fleet, Group

NAME_LIMIT: Final = 64
SUFFIX_LIMIT: Final = 13
"""2^64 - 1 has so many characters in base 36."""

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LABELLED_ID: Final = re.compile(r"instance-id=([1-9][0-9]{0,19})")
_LABELLED_ZONE: Final = re.compile(r"zone=([a-z]+-[a-z]+[0-9]+-[a-z0-9]{1,8})")
_SUFFIX: Final = re.compile(r"[1-9a-z][0-9a-z]{0,12}")
_INSTANCE: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


def base36(instance_id: str) -> str:
    """An instance's id as a runner's name carries it."""
    number, text = int(instance_id), ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


def labelled_id(labels: Iterable[str]) -> str:
    """The instance id that labels name; empty where none, or several do."""
    return _only(_LABELLED_ID, labels)


def labelled_zone(labels: Iterable[str]) -> str:
    """The zone that labels name; empty where none, or several do."""
    return _only(_LABELLED_ZONE, labels)


def suffixed_id(name: str) -> str:
    """The instance id that a name ends in, if it is a scale set runner's; empty where it cannot be one."""
    suffix = name.rpartition("-")[2]
    if not _SUFFIX.fullmatch(suffix) or int(suffix, 36) >= 1 << 64:
        return ""
    return str(int(suffix, 36))


def instance_name(runner_name: str) -> str:
    """The instance that a scale set runner's name begins with; empty where it was cut off."""
    stem, _, suffix = runner_name.rpartition("-")
    cut_off = len(stem) >= NAME_LIMIT - 1 - len(suffix)
    return stem if not cut_off and _INSTANCE.fullmatch(stem) else ""


class Names:
    """Which groups a VM's or a runner's name may belong to."""

    def __init__(self, fleet: Fleet, said: Mapping[str, str]) -> None:
        """`said` is what groups say that their VMs are called; of one that says nothing its name tells it."""
        bases: dict[str, list[Group]] = {}
        for group in fleet.groups.values():
            for base in {group.name.rpartition("-")[0], said.get(group.name, "")} - {""}:
                bases.setdefault(base, []).append(group)
        self._bases: Mapping[str, list[Group]] = bases

    def groups(self, name: str, *, labelled: bool) -> tuple[Group, ...]:
        """The groups that a runner of that name can be of; none where it is not the fleet's, or of a pool no more.

        `labelled` runners are called as their VM is. A name that was cut off may fit several.
        """
        vm = name if labelled else name.rpartition("-")[0]
        exact = self._bases.get(vm.rpartition("-")[0])
        if exact is not None:
            return tuple(exact)
        if labelled or len(name) < NAME_LIMIT - SUFFIX_LIMIT:
            return ()
        return tuple(group for base, groups in self._bases.items() if f"{base}-".startswith(vm) for group in groups)


def _only(form: re.Pattern[str], labels: Iterable[str]) -> str:
    found = [match[1] for label in labels if (match := form.fullmatch(label.lower()))]
    return found[0] if len(found) == 1 else ""
