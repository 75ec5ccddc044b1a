"""The operators' edits of configuration, each through one validated function."""
