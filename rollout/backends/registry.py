"""Backends by name. What one is made of is imported when it is first asked for, and checked then.

A backend comes from a list of ours, or from an installed package, by an entry point of the group `GROUP`:

    [project.entry-points."runner_fleet.backends"]
    slurm = "site_backends.slurm:Slurm"
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, cast

from rollout.engine.backend import Backend

GROUP: Final = "runner_fleet.backends"
BUILT_IN: Final[Mapping[str, str]] = {
    "local": "rollout.backends.local:LocalProcesses",
    "google": "rollout.backends.google:GoogleOperations",
    "github": "rollout.backends.github:GitHubWorkflows",
    "fake": "rollout.backends.fake:Fake",
}
_PATH: Final = re.compile(r"(\w+\.)*\w+:(\w+\.)*\w+")
_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("attempt",),
    "reattach": ("attempt", "external_id"),
    "cancel": ("attempt",),
    "close": (),
}
"""The protocol `Backend`: every one is a coroutine function that takes so much."""


class BackendError(Exception):
    """A name that leads to no backend. Its text is for people."""


class Registry:
    """Names, and where what they mean is found."""

    def __init__(self, places: Mapping[str, str] = BUILT_IN) -> None:
        """`places` are "package.module:attribute"."""
        self._places: dict[str, str | Callable[..., Backend]] = {}
        for name, place in places.items():
            self.register(name, place)

    def register(self, name: str, place: str | Callable[..., Backend]) -> None:
        """Add a name: a path "package.module:attribute" to a class or a function, or one of these.

        Raises BackendError for a name that is taken, and for a path that is none. A path is not followed here.
        """
        if name in self._places:
            raise BackendError(f"backend {name!r} is {_told(self._places[name])} and cannot be {_told(place)} as well")
        if isinstance(place, str) and not _PATH.fullmatch(place):
            raise BackendError(f"backend {name!r}: {place!r} is no path; write it as package.module:Class")
        self._places[name] = place

    def names(self) -> tuple[str, ...]:
        """In the order of registration."""
        return tuple(self._places)

    def create(self, name: str, *arguments: Any, **keywords: Any) -> Backend:
        """A backend of that name, made with the arguments. Raises BackendError, which says what is wrong with it."""
        if name not in self._places:
            close = difflib.get_close_matches(name, self._places, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise BackendError(f"there is no backend {name!r}{meant} (there are {', '.join(self._places)})")
        place = self._places[name]
        make = _imported(name, place) if isinstance(place, str) else place
        if inspect.isclass(make):
            _check(name, place, make)
        backend = make(*arguments, **keywords)
        _check(name, place, backend)
        return backend


def with_plugins() -> Registry:
    """Ours, and those of installed packages. Raises BackendError where two of them claim one name."""
    registry = Registry()
    for point in entry_points(group=GROUP):
        registry.register(point.name, f"{point.module}:{point.attr}")
    return registry


def _imported(name: str, place: str) -> Callable[..., Backend]:
    module_name, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise BackendError(f"backend {name!r} ({place}) cannot be imported: {error}") from error
    except AttributeError as error:
        raise BackendError(f"backend {name!r} ({place}) is not there: {error}") from error
    if not callable(found):
        raise BackendError(f"backend {name!r} ({place}) is a {type(found).__name__}, not a class or a function")
    return cast("Callable[..., Backend]", found)


def _check(name: str, place: str | Callable[..., Backend], backend: object) -> None:
    """Every call of the protocol is there, is a coroutine function, and takes what it is given; all faults at once."""
    faults: list[str] = []
    for call, takes in _CALLS.items():
        function = getattr(backend, call, None)
        if function is None:
            faults.append(f"has no {call}")
        elif not inspect.iscoroutinefunction(function):
            faults.append(f"{call} is no coroutine function (async def)")
        elif not _takes(function, (None, *takes) if inspect.isclass(backend) else takes):
            faults.append(f"{call} does not take ({', '.join(takes)})")
    if faults:
        raise BackendError(f"backend {name!r} ({_told(place)}) is none: {'; '.join(faults)}")


def _takes(function: Callable[..., Any], arguments: tuple[object, ...]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    return True


def _told(place: str | Callable[..., Backend]) -> str:
    return place if isinstance(place, str) else f"{place.__module__}:{place.__qualname__}"
