"""The shape of the YAML, one noun a module. Only shape and range; rules that span nouns are in `fleet.checks`."""
