"""Taking over a fleet that was made by hand or by scripts: what is there becomes configuration and an import file."""
