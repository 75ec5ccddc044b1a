"""A limit's provider, as the engine asks it: one that raises does no harm."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

from rollout.engine.limits import Limits, Provider


class Cautious:
    """Where the provider raises, it answers what that last answered; at first no limit, so that the run goes on.

    A number that makes no sense, one below nought or none at all, is taken for a fault, too.
    """

    def __init__(self, name: str, provider: Provider, fault: Callable[[str], None]) -> None:
        self._name = name
        self._provider = provider
        self._fault = fault
        self._last: int | None = None

    def units(self) -> int | None:
        """Raises nothing; a fault is told each time."""
        try:
            units = self._provider.units()
            if units is not None and (type(units) is not int or units < 0):
                raise ValueError(f"{units!r} is no number of units")  # noqa: TRY301 - told like what it raises itself
        except Exception as error:  # noqa: BLE001 - a provider's fault must not become the run's
            self._fault(f"limit {self._name}: its provider raised {type(error).__name__}: {error}")
        else:
            self._last = units
        return self._last

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Raises nothing; what is given back does not either."""
        try:
            end = self._provider.subscribe(changed)
        except Exception as error:  # noqa: BLE001 - the same
            self._fault(f"limit {self._name}: its provider raised {type(error).__name__}: {error}")
            return lambda: None

        def unsubscribe() -> None:
            try:
                end()
            except Exception as error:  # noqa: BLE001 - the same
                self._fault(f"limit {self._name}: its provider raised {type(error).__name__}: {error}")

        return unsubscribe


def cautious(limits: Limits, fault: Callable[[str], None]) -> Limits:
    """The same limits, with providers that raise nothing."""
    resources = {
        name: units if isinstance(units, int) else Cautious(f"resources.{name}", units, fault)
        for name, units in limits.resources.items()
    }
    return replace(limits, resources=resources)


@contextmanager
def subscribed(limits: Limits, changed: Callable[[str], None]) -> Generator[None]:
    """Within it `changed` is called with the name of every limit whose provider says that its units are others."""
    ends = [provider.subscribe(lambda name=name: changed(name)) for name, provider in limits.providers()]
    try:
        yield
    finally:
        for end in ends:
            end()
