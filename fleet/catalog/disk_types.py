"""Boot disk types, in the sets that machine series take.

Source: Google Cloud documentation, the pages of the general-purpose and accelerator-optimized families (2026-04).
"""

from __future__ import annotations

from typing import Final

PERSISTENT: Final = frozenset({"pd-standard", "pd-balanced", "pd-ssd"})
PERSISTENT_SSD: Final = PERSISTENT - {"pd-standard"}
LOCAL_SSD_GB: Final = 375
"""What one local SSD holds."""

HYPERDISK: Final = frozenset({"hyperdisk-balanced"})
