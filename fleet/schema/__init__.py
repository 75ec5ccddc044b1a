"""The shape of the YAML, one noun a module. Only shape and range live here; rules that span nouns are `fleet.checks`."""
