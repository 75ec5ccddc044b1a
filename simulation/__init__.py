"""A fleet on one machine: the real functions and stand-ins, simulated VMs, and a clock that jumps."""
