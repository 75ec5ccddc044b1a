#!/bin/bash
# The floor of benchmarks/boot.py: what any runner VM must do, and nothing else. No digest, no check, no user, no units.
# Caller: benchmarks/boot.py, with the archive's URL and a folder to unpack into.
# Inputs: the archive; the runner's configuration, which lies in the folder already.
# Exits: as the listener does.
# Safe: not at all; nobody should boot a VM like this.
set -eEuo pipefail

main() {
  curl -sSf "$1" | tar -xz -C "$2"
  exec "$2/run.sh"
}

main "$@"
