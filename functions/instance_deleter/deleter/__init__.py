"""The instance deleter: ends a VM through its group, and tells an idle one whether it is surplus."""
