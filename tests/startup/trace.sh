# shellcheck shell=bash
# Sourced by every bash that a test starts with BASH_ENV: writes which line of which script runs, and nothing else.
# Caller: tests/startup/vm.py, when RUNNER_FLEET_TRACE names a folder.
exec {BASH_XTRACEFD}>>"$RUNNER_FLEET_TRACE/$$.trace"
# The text of a command may hold a secret or a line break; only the mark in front of it is read.
PS4='+|${BASH_SOURCE[0]:-}|${LINENO}|'
set -x
