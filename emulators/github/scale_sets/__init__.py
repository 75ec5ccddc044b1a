"""GitHub's runner scale sets: the service that a listener registers with, the message queue that it polls.

Nobody publishes the wire format; this follows GitHub's Go client (`actions/scaleset` v0.4.0), GitHub's documentation of
Actions Runner Controller, and what third parties measured against github.com and wrote down in issues (November 2026).
Where nothing is known, the module that decides says so.
"""

from emulators.github.scale_sets.exchange import ScaleSets
from emulators.github.scale_sets.job import QueuedJob
from emulators.github.scale_sets.options import Options
from emulators.github.scale_sets.scale_set import ScaleSet

__all__ = ["Options", "QueuedJob", "ScaleSet", "ScaleSets"]
