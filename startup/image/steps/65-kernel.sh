# shellcheck shell=bash
# Kernel settings that jobs need. There is one.
# Caller: provision.
# Inputs: none.
# Safe: only on x86-64, for which the fault is known.

# Sanitizers fail at random where addresses are spread over 32 bits, as Ubuntu 24.04 does: google/sanitizers#1614 and
# #1716 (ThreadSanitizer takes 30 at most, older ones 28), bitcoin/bitcoin#30674 (in containers newer ones fail, too).
if [[ $ARCHITECTURE == amd64 ]]; then
  put /etc/sysctl.d/60-runner-fleet.conf <<<'vm.mmap_rnd_bits = 28'
  within sysctl --quiet --load "$ROOT/etc/sysctl.d/60-runner-fleet.conf"
fi
