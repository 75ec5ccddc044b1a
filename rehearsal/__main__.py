"""Runs the command line of `scripts/preview`."""

import gc

# A preview ends in seconds and gives everything back then; collecting while the SDKs are imported is a fifth of it.
gc.disable()

from rehearsal.cli import main  # noqa: E402 - the imports are what takes so long

main(prog_name="scripts/preview")
