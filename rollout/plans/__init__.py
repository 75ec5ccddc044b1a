"""Plans for the engine, made by pure functions from a fleet and its configuration."""
