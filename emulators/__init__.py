"""Stand-ins for Google Cloud and GitHub on loopback, as badly behaved as the real ones; for tests and benchmarks."""
