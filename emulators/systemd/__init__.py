"""A stand-in of systemd: reads the boot bundle's units as they are and plays what they say, with real processes."""
