"""Minimum CPU platforms. Source: Google Cloud documentation, "CPU platforms", read 2026-11-22."""

from __future__ import annotations

from typing import Final

CPU_PLATFORMS: Final = frozenset(
    {
        "Intel Sandy Bridge",
        "Intel Ivy Bridge",
        "Intel Haswell",
        "Intel Broadwell",
        "Intel Skylake",
        "Intel Cascade Lake",
        "Intel Ice Lake",
        "Intel Sapphire Rapids",
        "Intel Emerald Rapids",
        "AMD Rome",
        "AMD Milan",
        "AMD Genoa",
        "Ampere Altra",
        "Google Axion",
    }
)
