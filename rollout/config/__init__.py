"""Edits of the project's YAML: validated, shown as a rehearsed difference, written whole or not at all."""
