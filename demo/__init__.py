"""The demo: real VM scripts and both functions as processes, against the stand-ins, in a live table."""
