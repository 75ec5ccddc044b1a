"""GPUs that attach to N1 machine types. Source: Google Cloud documentation, "GPU machine types" (2026-04)."""

from __future__ import annotations

from typing import Final

ATTACHABLE: Final[dict[str, dict[int, int]]] = {
    "nvidia-tesla-t4": {1: 48, 2: 48, 4: 96},
}
"""Number of GPUs to the most vCPUs that a VM with so many may have. Older GPUs (P4, V100, P100) are left out."""

BUILT_IN: Final = frozenset({"nvidia-tesla-a100", "nvidia-a100-80gb", "nvidia-l4"})
"""GPUs that come only with their machine type (a2, g2)."""
