"""How far the reconciler may go: it removes what two independent sources prove dead, or it only reports."""

from __future__ import annotations

from pydantic import Field

from fleet.schema.base import Model


class ReconcilerSettings(Model):
    """A dry run is the default: what a fleet's reconciler would do is read for a while before it does it."""

    dry_run: bool = Field(default=True, description="true, or false where the reconciler may act")
    most_percent: int = Field(default=20, ge=1, le=100, description="percent of a pool's VMs in one run, 1 to 100")
