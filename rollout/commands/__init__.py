"""The operators' command line, a command a file; scripts/rollout."""
