"""Runs the command line of `scripts/preview`."""

from rehearsal.cli import main

main(prog_name="scripts/preview")
