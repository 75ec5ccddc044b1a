"""One thing that must be refused: the edits that bring it about, where the fault is, and words its line must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """`also` are further faults that the same edits bring about; without them there must be exactly one."""

    id: str
    edits: Mapping[str, Any]
    at: str
    says: tuple[str, ...]
    also: tuple[str, ...] = ()
