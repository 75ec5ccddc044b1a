"""Where a VM's runner is made: in its organisation by the REST call, or in its pool's scale set.

Which of the two, and every name in it, follows from the fleet's table. What an attempt does with a place is the same
for both; `decide` says in which order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from . import decide
from .clients.github import GitHub
from .clients.scale_set import ScaleSets
from .clients.session import Deadline
from .decide import Result, Runner
from .fleet_table import Group
from .identity import Caller


class NoPlaceError(Exception):
    """There is nowhere to make the runner. `code` is what the VM is told; the text is for the log."""

    def __init__(self, code: str, cause: str) -> None:
        super().__init__(cause)
        self.code = code


class Place(Protocol):
    """One VM's place. All methods but `forget` raise UpstreamError and AppKeyError."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What the grant says of it, for whoever clears up."""
        ...

    def seek(self, deadline: Deadline) -> None:
        """Look the place up, which is to be done before `create`. Raises NoPlaceError."""
        ...

    def create(self, deadline: Deadline) -> tuple[Result, tuple[int, str] | None]:
        """One try to make the runner: how it ended, and where it did well the runner's id and configuration."""
        ...

    def renew(self, deadline: Deadline) -> None:
        """Have another token, where the last one was not accepted."""
        ...

    def find(self, deadline: Deadline) -> Sequence[Runner]:
        """Who has the runner's name."""
        ...

    def remove(self, runner_id: int, deadline: Deadline) -> Result:
        """Remove a runner: DONE also where it was gone, ALIVE while it has a job."""
        ...

    def forget(self) -> None:
        """Look things up anew next time: GitHub has refused what is known of them."""
        ...


class OrganizationPlace:
    """A runner of the organisation itself. It is named as its VM; its labels tell whose it is."""

    def __init__(self, github: GitHub, caller: Caller, group: Group) -> None:
        self._github = github
        self._name = caller.name
        self._group = group
        self._group_id = 0
        self._labels = decide.runner_labels(group, caller)

    @property
    def record(self) -> Mapping[str, Any]:
        """As of every place."""
        return {"runner_name": self._name}

    def seek(self, deadline: Deadline) -> None:
        """As of every place: its runner group."""
        group_id = self._github.group_id(self._group.runner_group, deadline)
        if group_id is None:
            raise NoPlaceError("github_refused", "the organisation has no such runner group")
        self._group_id = group_id

    def create(self, deadline: Deadline) -> tuple[Result, tuple[int, str] | None]:
        """As of every place."""
        return self._github.create(self._name, self._group_id, self._labels, deadline)

    def renew(self, deadline: Deadline) -> None:
        """As of every place."""
        self._github.renew(deadline)

    def find(self, deadline: Deadline) -> Sequence[Runner]:
        """As of every place."""
        return self._github.runners_named(self._name, deadline)

    def remove(self, runner_id: int, deadline: Deadline) -> Result:
        """As of every place."""
        return self._github.remove(runner_id, deadline)

    def forget(self) -> None:
        """As of every place."""
        self._github.forget_groups()


class ScaleSetPlace:
    """A runner of the pool's scale set. It has the set's labels and none of its own, so its name tells whose it is."""

    def __init__(self, scale_sets: ScaleSets, caller: Caller, group: Group) -> None:
        self._scale_sets = scale_sets
        self._caller = caller
        self._group = group
        self._scale_set_id = 0
        self._name = decide.runner_name(caller.name, caller.instance_id)

    @property
    def record(self) -> Mapping[str, Any]:
        """As of every place."""
        return {"runner_name": self._name, "scale_set_id": self._scale_set_id}

    def seek(self, deadline: Deadline) -> None:
        """As of every place: its runner group, and the scale set in it, which the demand listener makes."""
        group_id = self._scale_sets.group_id(self._group.runner_group, deadline)
        if group_id is None:
            raise NoPlaceError("github_refused", "the organisation has no such runner group")
        found = self._scale_sets.find(group_id, self._group.scale_set, deadline)
        if found is None:
            raise NoPlaceError("scale_set_missing", "the runner group has no such scale set")
        self._scale_set_id = found

    def create(self, deadline: Deadline) -> tuple[Result, tuple[int, str] | None]:
        """As of every place."""
        return self._scale_sets.create(self._scale_set_id, self._name, deadline)

    def renew(self, deadline: Deadline) -> None:
        """As of every place."""
        self._scale_sets.admin(deadline)

    def find(self, deadline: Deadline) -> Sequence[Runner]:
        """As of every place."""
        return decide.agents_of(self._scale_sets.runners_named(self._name, deadline), self._name, self._caller)

    def remove(self, runner_id: int, deadline: Deadline) -> Result:
        """As of every place."""
        return self._scale_sets.remove(runner_id, deadline)

    def forget(self) -> None:
        """As of every place."""
        self._scale_sets.forget()
