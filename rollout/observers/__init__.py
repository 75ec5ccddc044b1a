"""Who hears of a run: people on a terminal or in CI's log, files, a timing report."""
