"""The reconciler: finds what GitHub, the groups and our records disagree about, and mends what is proved."""
