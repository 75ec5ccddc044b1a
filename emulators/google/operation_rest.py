"""Compute Engine's operations of regions, of zones and global ones: looked at and waited for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from emulators.google.caller import PROJECT, REGION, ZONE, Caller
from emulators.google.operation import Operation
from emulators.route import Call, Reply, Route

if TYPE_CHECKING:
    from emulators.google.cloud import Google

WAIT_SECONDS: Final = 120
"""After which operations.wait answers, done or not."""


def routes(google: Google) -> Iterable[Route]:
    """All of them need a token."""
    calls = OperationRest(google)
    for place in (REGION, ZONE, PROJECT + "/global"):
        path = place + "/operations/{operation}"
        yield Route(name="compute.operation", method="GET", path=path, handler=calls.operation)
        yield Route(name="compute.wait_operation", method="POST", path=f"{path}/wait", handler=calls.wait_operation)


class OperationRest(Caller):
    """The handlers."""

    def operation(self, call: Call) -> Reply:
        """operations.get"""
        return self.shown(self._operation(call))

    def wait_operation(self, call: Call) -> Reply | None:
        """operations.wait"""
        operation = self._operation(call)
        until = call.notes["until"] = min(operation.done, call.at + WAIT_SECONDS)
        return self.shown(operation) if self._compute.clock.now() >= until else None

    def _operation(self, call: Call) -> Operation:
        operation = self._compute.operations.get(call.parameters["operation"])
        scope = "global"
        for kind in ("region", "zone"):
            scope = f"{kind}s/{call.parameters[kind]}" if kind in call.parameters else scope
        if operation is None or (operation.project, operation.scope) != (call.parameters["project"], scope):
            raise self.missing(call)
        return operation
